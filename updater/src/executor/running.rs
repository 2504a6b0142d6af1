//! Which disk and which slot the running system came from, and what is in that slot.

use super::{Executor, layout};
use crate::error::{Error, Kind, Result};
use coracle_block::{Access, Devices, Disk, Doing, Partition};
use coracle_format::bundle::Part;
use coracle_format::device::SYSTEM;
use coracle_format::layout::Role;
use coracle_format::slot::Descriptor;
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

/// The parts of the slot that runs, for reading. Nothing vouches for what is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Running<'a> {
    disk: &'a Disk,
    partition: Partition,
    descriptor: Descriptor,
}

impl<'a> Running<'a> {
    /// `None` if the slot's descriptor cannot be read: nobody knows then where its parts are.
    pub(super) fn of(executor: &'a Executor) -> Option<Self> {
        let descriptor = executor.descriptor(executor.running())?;
        let partition = executor.partition(executor.running())?;
        Some(Self { disk: &executor.disk, partition, descriptor })
    }

    /// Its partition.
    pub(super) const fn partition(&self) -> Partition {
        self.partition
    }

    /// Where some bytes of a part are in the partition, if the part has them.
    pub(super) fn place(&self, part: Part, offset: u64, bytes: u64) -> Option<u64> {
        layout::place(&self.descriptor, (part, offset, bytes))
    }

    /// Fills the buffer from an offset of a part; `false` if the part has no such bytes or they cannot be read.
    pub(super) fn read(&self, part: Part, offset: u64, buffer: &mut [u8]) -> bool {
        let bytes = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
        self.place(part, offset, bytes)
            .is_some_and(|at| self.disk.read_within(&self.partition, at, buffer).is_ok())
    }
}
