//! What somebody plugs into a machine: the archive on a stick, and what the kernel says of it.

use super::ignore;
use coracle_update::channel::{archive, sticks};
use std::io;

/// The files of an archive, and the kernel's message about a device.
pub(super) fn stick(data: &[u8]) {
    let files = archive::list(|offset, buffer| {
        let from = usize::try_from(offset).ok().and_then(|offset| data.get(offset..)?.get(..buffer.len()));
        buffer.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    });
    if let Ok(files) = files {
        assert!(files.len() <= archive::ENTRIES_MAX, "an archive has no more files than allowed");
    }
    ignore(sticks::disk(data));
}

pub(super) fn stick_seeds() -> Vec<Vec<u8>> {
    let mut archive = Vec::new();
    for (name, bytes) in [("metadata/timestamp.json", &b"{}"[..]), ("TRAILER!!!", b"")] {
        let mut fields = [0; 13];
        (fields[6], fields[11]) = (bytes.len(), name.len() + 1);
        archive.extend_from_slice(b"070701");
        for field in fields {
            archive.extend(format!("{field:08x}").into_bytes());
        }
        archive.extend_from_slice(name.as_bytes());
        archive.push(0);
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend_from_slice(bytes);
        archive.resize(archive.len().next_multiple_of(4), 0);
    }
    let event = b"add@/devices/x\0ACTION=add\0SUBSYSTEM=block\0DEVTYPE=disk\0DEVNAME=sdb\0";
    vec![archive, event.to_vec()]
}
