//! Disks that are plugged in, and whether one brings a channel.

use crate::error::{Error, Kind, Result};
use coracle_block::{Access, Devices, Disk, Doing as _};
use coracle_format::layout::STICK_TYPE;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recvfrom, socket_with};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

/// Bytes of the longest message of the kernel; of a longer one the end is not looked at.
const MESSAGE_BYTES: usize = 8 << 10;
/// The group of messages that the kernel itself sends.
const KERNEL_GROUP: u32 = 1;
/// Names of devices that are none of them.
const NOT_PLUGGED: [&str; 6] = ["loop", "ram", "zram", "dm-", "sr", "fd"];
/// Sectors of a stick in a file.
const SECTOR_BYTES: u64 = 512;

/// What the kernel says of devices.
#[derive(Debug)]
pub struct Events(OwnedFd);

impl Events {
    /// Listens from now on.
    pub fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let protocol = Some(netlink::KOBJECT_UEVENT);
        let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, protocol)?;
        bind(&socket, &SocketAddrNetlink::new(0, KERNEL_GROUP))?;
        Ok(Self(socket))
    }

    /// The name of the next disk that was plugged in or got another medium; `None` if there is no more for now.
    pub fn next(&self) -> Option<String> {
        let mut buffer = [0; MESSAGE_BYTES];
        loop {
            let (length, _, from) = match recvfrom(&self.0, &mut buffer[..], RecvFlags::DONTWAIT) {
                Err(rustix::io::Errno::INTR | rustix::io::Errno::NOBUFS) => continue,
                Err(_) => return None,
                Ok(received) => received,
            };
            let is_kernel = from
                .and_then(|from| SocketAddrNetlink::try_from(from).ok())
                .is_some_and(|sender| sender.pid() == 0);
            if is_kernel && let Some(disk) = buffer.get(..length).and_then(disk) {
                return Some(disk);
            }
        }
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The disk that a message of the kernel speaks of: `action@path`, then `KEY=value`, each ended by a NUL.
pub fn disk(message: &[u8]) -> Option<String> {
    let mut fields = message.split(|byte| *byte == 0).map(|field| str::from_utf8(field).unwrap_or_default());
    let (action, _) = fields.next()?.split_once('@')?;
    let (mut is_block, mut is_disk, mut name) = (false, false, None);
    for field in fields {
        match field.split_once('=') {
            Some(("SUBSYSTEM", value)) => is_block = value == "block",
            Some(("DEVTYPE", value)) => is_disk = value == "disk",
            Some(("DEVNAME", value)) => name = Some(value).filter(|name| is_name(name)),
            Some(_) | None => {}
        }
    }
    let is_new = action == "add" || action == "change";
    name.filter(|_| is_new && is_block && is_disk).map(str::to_owned)
}

/// Whether it is the name of a device that may be plugged in.
fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=32).contains(&name.len())
        && name.bytes().all(plain)
        && !NOT_PLUGGED.iter().any(|prefix| name.starts_with(prefix))
}

/// Disks that are there already.
pub fn present() -> Vec<String> {
    Devices::default().disks().unwrap_or_default().into_iter().filter(|name| is_name(name)).collect()
}

/// Where the archive begins on a disk, or on the image of one in a file; `None` if there is none.
pub fn find(path: &Path) -> Result<Option<u64>> {
    let kind = std::fs::metadata(path).doing("inspect", path)?;
    let disk = if kind.file_type().is_block_device() {
        let name = path.file_name().and_then(|name| name.to_str()).filter(|name| is_name(name));
        let name = name.ok_or_else(|| {
            Error::new(Kind::Usage, format!("{} is no disk that can be plugged in", path.display()))
        })?;
        Devices::default().open(name, Access::Read)?
    } else {
        Disk::open(path, Access::Read, SECTOR_BYTES, kind.len())?
    };
    // A disk that has no partition table is none of ours, and so is one that cannot be read.
    let Ok(table) = disk.read_table() else {
        return Ok(None);
    };
    let found = table.partitions.iter().find(|partition| partition.kind == STICK_TYPE);
    Ok(found.map(|partition| partition.first.saturating_mul(u64::from(table.block_bytes))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_plugged_in_is_understood_and_nothing_else() {
        let message = |action: &str, kind: &str, name: &str| {
            format!("{action}@/devices/x\0ACTION={action}\0SUBSYSTEM=block\0DEVTYPE={kind}\0DEVNAME={name}\0")
        };
        assert_eq!(disk(message("add", "disk", "sdb").as_bytes()).as_deref(), Some("sdb"));
        assert_eq!(disk(message("change", "disk", "sdb").as_bytes()).as_deref(), Some("sdb"));
        for (action, kind, name) in [
            ("remove", "disk", "sdb"),
            ("add", "partition", "sdb1"),
            ("add", "disk", "../sdb"),
            ("add", "disk", "dm-0"),
            ("add", "disk", ""),
        ] {
            assert_eq!(disk(message(action, kind, name).as_bytes()), None, "{action} {kind} {name}");
        }
        assert_eq!(disk(b"libudev\0\xfe\xed\xca\xfe"), None);
    }

    #[test]
    fn a_file_without_a_partition_table_is_no_stick() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("stick.raw");
        coracle_block::replace_file(&path, &vec![0; 1 << 20], 0o600).unwrap();
        assert_eq!(find(&path).unwrap(), None);
    }
}
