//! The only code that changes a disk, and the only code that knows the order of its syncs.
//!
//! Every change of the record is on the disk when the call that makes it returns. The slot that runs is never written:
//! see [`Spare`].

mod running;
mod spare;

use crate::error::{Error, Kind, Result};
use coracle_block::{Access, Disk, Partition, meta};
use coracle_format::layout::Role;
use coracle_slots::{Found, Record, RefusedTransition, Slot, Verdict};

pub use spare::Spare;

/// The disk that the running system came from, and the record on it.
#[derive(Debug)]
pub struct Executor {
    disk: Disk,
    meta: Partition,
    slots: [Option<Partition>; 2],
    running: Slot,
}

impl Executor {
    /// The disk that `/system` is on, opened for `access`: never another one with the same labels.
    pub fn open_running(access: Access) -> Result<Self> {
        let (disk, running) = running::find(access)?;
        Self::on(disk, running)
    }

    /// A disk on which `running` is the slot that runs.
    pub fn on(disk: Disk, running: Slot) -> Result<Self> {
        let table = disk.read_table()?;
        let meta = Disk::partition(&table, Role::Meta).ok_or_else(|| {
            let message = format!("cannot find the slot record: {} has no meta partition", disk.path().display());
            Error::new(Kind::NotFound, message)
        })?;
        let slots = [Role::SlotA, Role::SlotB].map(|role| Disk::partition(&table, role));
        Ok(Self { disk, meta, slots, running })
    }

    /// The slot that runs.
    pub fn running(&self) -> Slot {
        self.running
    }

    /// The disk.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// The partition of a slot; `None` if first boot has not laid it out.
    pub fn partition(&self, slot: Slot) -> Option<Partition> {
        match slot {
            Slot::A => self.slots[0],
            Slot::B => self.slots[1],
        }
    }

    /// The record as it is on the disk now.
    pub fn record(&self) -> Result<Record> {
        Ok(self.found()?.record)
    }

    /// Makes the running release the good one. Nothing is written when it is already.
    pub fn commit(&self) -> Result<Record> {
        self.change(Record::commit)
    }

    /// Writes the verdict on the running release, which is on trial.
    pub fn fail(&self, verdict: Verdict) -> Result<Record> {
        let slot = self.running;
        self.change(|record| record.fail(slot, verdict))
    }

    /// Reads the record, changes it, and writes it if that changed anything.
    pub fn change(
        &self,
        transition: impl FnOnce(Record) -> Result<Record, RefusedTransition>,
    ) -> Result<Record> {
        let found = self.found()?;
        let next = transition(found.record).map_err(|refused| {
            Error::new(Kind::Policy, refused.to_string()).hint("coracle-update status shows both slots")
        })?;
        if next != found.record {
            meta::write(&self.disk, &self.meta, &found, &next)?;
        }
        Ok(next)
    }

    fn found(&self) -> Result<Found> {
        meta::read(&self.disk, &self.meta).map_err(|error| {
            Error::from(error).hint("both copies of the slot record are unreadable: the next boot makes a new one")
        })
    }
}
