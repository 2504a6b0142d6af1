//! Block devices as sysfs shows them.

use crate::disk::{Access, Disk};
use crate::error::{Doing, PathError, invalid};
use std::path::{Path, PathBuf};

/// Where the kernel shows block devices. Tests point it at a directory of their own.
#[derive(Clone, Debug)]
pub struct Devices {
    sys: PathBuf,
    dev: PathBuf,
}

/// A partition and the disk it is on, by kernel name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// `vda`
    pub disk: String,
    /// `vda3`
    pub partition: String,
}

impl Default for Devices {
    fn default() -> Self {
        Self::new(Path::new("/sys"), Path::new("/dev"))
    }
}

impl Devices {
    /// Devices below the given sysfs and devtmpfs.
    pub fn new(sys: &Path, dev: &Path) -> Self {
        Self { sys: sys.to_owned(), dev: dev.to_owned() }
    }

    /// Names of all disks that may hold a partition table, ordered by where they are plugged in (the path of their
    /// device in sysfs), which does not depend on the order in which drivers found them.
    pub fn disks(&self) -> Result<Vec<String>, PathError> {
        const NOT_DISKS: [&str; 6] = ["loop", "ram", "zram", "dm-", "sr", "fd"];
        let directory = self.sys.join("block");
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&directory).doing("list", &directory)? {
            let entry = entry.doing("list", &directory)?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if NOT_DISKS.iter().any(|prefix| name.starts_with(prefix)) {
                continue;
            }
            let place = std::fs::canonicalize(entry.path()).unwrap_or_else(|_| entry.path());
            found.push((place, name));
        }
        found.sort();
        Ok(found.into_iter().map(|(_, name)| name).collect())
    }

    /// Opens a disk by kernel name.
    pub fn open(&self, name: &str, access: Access) -> Result<Disk, PathError> {
        let sectors_512 = self.number(&["block", name, "size"])?;
        let sector_bytes = self.number(&["block", name, "queue", "logical_block_size"])?;
        let path = self.dev.join(name);
        let bytes = sectors_512
            .checked_mul(512)
            .ok_or_else(|| invalid("its size does not fit in 64 bits"))
            .doing("measure", &path)?;
        Disk::open(&path, access, sector_bytes, bytes)
    }

    /// The kernel's name of partition `number` of a disk: a `p` goes between when the disk's name ends in a digit.
    pub fn partition_name(disk: &str, number: u32) -> String {
        let separator = if disk.ends_with(|last: char| last.is_ascii_digit()) { "p" } else { "" };
        format!("{disk}{separator}{number}")
    }

    /// The device node of a block device.
    pub fn node(&self, name: &str) -> PathBuf {
        self.dev.join(name)
    }

    /// Offset and length in bytes of a partition as the kernel knows it; `None` if it does not know it.
    pub fn kernel_partition(&self, disk: &str, number: u32) -> Result<Option<(u64, u64)>, PathError> {
        let name = Self::partition_name(disk, number);
        if !self.sys.join("block").join(disk).join(&name).exists() {
            return Ok(None);
        }
        let start = self.number(&["block", disk, &name, "start"])?;
        let size = self.number(&["block", disk, &name, "size"])?;
        Ok(Some((start.saturating_mul(512), size.saturating_mul(512))))
    }

    /// `major:minor` of a block device.
    pub fn number_pair(&self, name: &str) -> Result<String, PathError> {
        self.text(&["class", "block", name, "dev"])
    }

    /// The partition behind the block device `major:minor`, through at most one mapping (dm-verity) on the way.
    pub fn origin(&self, number_pair: &str) -> Result<Origin, PathError> {
        let device = self.sys.join("dev/block").join(number_pair);
        let slaves = device.join("slaves");
        let below = std::fs::read_dir(&slaves)
            .ok()
            .and_then(|mut entries| entries.next())
            .transpose()
            .doing("list", &slaves)?;
        let link = below.map_or(device, |entry| entry.path());
        let place = std::fs::canonicalize(&link).doing("resolve", &link)?;
        let name = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
        let origin = place
            .join("partition")
            .exists()
            .then(|| Some(Origin { disk: name(place.parent()?)?, partition: name(&place)? }));
        origin.flatten().ok_or_else(|| invalid("it is not a partition")).doing("find the disk of", &place)
    }

    fn text(&self, parts: &[&str]) -> Result<String, PathError> {
        let path = parts.iter().fold(self.sys.clone(), |path, part| path.join(part));
        let text = std::fs::read_to_string(&path).doing("read", &path)?;
        Ok(text.trim_end().to_owned())
    }

    fn number(&self, parts: &[&str]) -> Result<u64, PathError> {
        let text = self.text(parts)?;
        text.parse()
            .map_err(|error| invalid(format!("{text:?} is not a number: {error}")))
            .doing("read", &self.sys.join(parts.join("/")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{File, create_dir_all};
    use std::io::Write;
    use std::os::unix::fs::symlink;

    fn put(path: &Path, text: &str) {
        create_dir_all(path.parent().unwrap()).unwrap();
        writeln!(File::create(path).unwrap(), "{text}").unwrap();
    }

    /// A sysfs with two disks of which the later-named one is plugged in first, and a mapping over `vda3`.
    fn sysfs() -> (tempfile::TempDir, Devices) {
        let directory = tempfile::tempdir().unwrap();
        let sys = directory.path().join("sys");
        for (slot, disk) in [("05", "vda"), ("04", "vdb")] {
            let device = sys.join(format!("devices/pci/{slot}/block/{disk}"));
            put(&device.join("size"), "2048");
            put(&device.join("queue/logical_block_size"), "512");
            let part = device.join(format!("{disk}3"));
            put(&part.join("partition"), "3");
            put(&part.join("start"), "64");
            put(&part.join("size"), "128");
            put(&part.join("dev"), "254:3");
            create_dir_all(sys.join("block")).unwrap();
            symlink(&device, sys.join("block").join(disk)).unwrap();
        }
        create_dir_all(sys.join("block/loop0")).unwrap();
        create_dir_all(sys.join("block/dm-0/slaves")).unwrap();
        create_dir_all(sys.join("dev/block")).unwrap();
        symlink(sys.join("devices/pci/05/block/vda/vda3"), sys.join("block/dm-0/slaves/vda3")).unwrap();
        symlink(sys.join("block/dm-0"), sys.join("dev/block/253:0")).unwrap();
        let devices = Devices::new(&sys, &directory.path().join("dev"));
        (directory, devices)
    }

    #[test]
    fn disks_come_in_the_order_of_their_places_without_loops_and_mappings() {
        let (_keep, devices) = sysfs();
        assert_eq!(devices.disks().unwrap(), ["vdb", "vda"]);
    }

    #[test]
    fn the_root_mapping_leads_to_its_partition_and_disk() {
        let (_keep, devices) = sysfs();
        let origin = devices.origin("253:0").unwrap();
        assert_eq!((origin.disk.as_str(), origin.partition.as_str()), ("vda", "vda3"));
    }

    #[test]
    fn partition_names_follow_the_kernels_rule() {
        assert_eq!(Devices::partition_name("vda", 3), "vda3");
        assert_eq!(Devices::partition_name("nvme0n1", 3), "nvme0n1p3");
        assert_eq!(Devices::partition_name("mmcblk0", 1), "mmcblk0p1");
    }

    #[test]
    fn the_kernels_view_of_a_partition_is_in_bytes() {
        let (_keep, devices) = sysfs();
        let known = devices.kernel_partition("vda", 3).unwrap();
        assert_eq!(known, Some((64 * 512, 128 * 512)));
        assert_eq!(devices.kernel_partition("vda", 4).unwrap(), None);
    }
}
