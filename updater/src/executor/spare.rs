//! The one way to write into a slot.

use super::Executor;
use crate::error::{Error, Kind, Result};
use coracle_block::{Disk, Partition};
use coracle_slots::Slot;

/// The slot that does not run. There is no other way to write into a slot, and none to make one of these for the slot
/// that runs.
#[derive(Debug)]
pub struct Spare<'a> {
    executor: &'a Executor,
    slot: Slot,
    partition: Partition,
}

impl<'a> Spare<'a> {
    pub(super) fn of(executor: &'a Executor) -> Result<Self> {
        let slot = executor.running().other();
        let partition = executor.partition(slot).ok_or_else(|| {
            let message = format!("cannot write slot {slot}: the disk has no such partition");
            Error::new(Kind::NotFound, message)
                .hint("first boot makes it; look for `phase=layout` on the console")
        })?;
        if let Some(running) = executor.partition(executor.running())
            && overlap(&running, &partition)
        {
            let message = format!("cannot write slot {slot}: its partition overlaps the one that runs");
            return Err(Error::new(Kind::Internal, message));
        }
        Ok(Self { executor, slot, partition })
    }

    /// Which slot it is.
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// Bytes of its partition.
    pub fn bytes(&self) -> u64 {
        self.partition.bytes
    }

    /// Its partition.
    pub(super) fn partition(&self) -> &Partition {
        &self.partition
    }

    /// The disk that both slots are on.
    pub(super) fn disk(&self) -> &'a Disk {
        &self.executor.disk
    }

    /// Writes at an offset of the slot. Not durable before [`Spare::sync`].
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        Ok(self.executor.disk.write_within(&self.partition, offset, bytes)?)
    }

    /// Reads at an offset of the slot, possibly from memory.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        Ok(self.executor.disk.read_within(&self.partition, offset, buffer)?)
    }

    /// Returns when everything written is on the disk.
    pub fn sync(&self) -> Result<()> {
        Ok(self.executor.disk.sync()?)
    }
}

fn overlap(one: &Partition, other: &Partition) -> bool {
    one.offset < other.offset.saturating_add(other.bytes)
        && other.offset < one.offset.saturating_add(one.bytes)
}
