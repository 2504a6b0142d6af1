//! Which disk and which slot the running system came from.

use crate::error::{Error, Kind, Result};
use coracle_block::{Access, Devices, Disk, Doing};
use coracle_format::device::SYSTEM;
use coracle_format::layout::Role;
use coracle_slots::Slot;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// The disk behind the mounted root image, and its slot.
pub(super) fn find(access: Access) -> Result<(Disk, Slot)> {
    let devices = Devices::default();
    let system = Path::new(SYSTEM);
    let number = std::fs::metadata(system).doing("inspect", system)?.dev();
    let pair = format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number));
    let origin = devices.origin(&pair).map_err(|error| {
        Error::from(error).hint("the root image is not mounted from a slot: is this a Coracle machine?")
    })?;
    let disk = devices.open(&origin.disk, access)?;
    let table = disk.read_table()?;
    let slot = [(Slot::A, Role::SlotA), (Slot::B, Role::SlotB)].into_iter().find(|(_, role)| {
        Disk::partition(&table, *role).is_some_and(|partition| {
            Devices::partition_name(&origin.disk, partition.number) == origin.partition
        })
    });
    let (slot, _) = slot.ok_or_else(|| {
        let message = format!("cannot tell which slot runs: {} is no slot", origin.partition);
        Error::new(Kind::NotFound, message)
    })?;
    Ok((disk, slot))
}

/// Seconds since 1970 as the machine's clock has them, set or not.
pub(super) fn clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
