//! What is known about the running release: which disk and slot, whether it is on trial. The job `system` finds out and
//! leaves it in a file for PID 1, the updater and everybody else.

use crate::fault::{Attempt, Fault};
use crate::hex;
use coracle_block::meta::{self, ChangeError, Current, Others};
use coracle_block::{Access, Devices, Disk, Partition, PathError};
use coracle_format::gpt::Table;
use coracle_format::layout::Role;
use coracle_format::slot::{DESCRIPTOR_BYTES, Descriptor};
use coracle_slots::{Record, RefusedTransition, Release, Slot, SlotState};
use std::path::Path;

/// The file.
const PATH: &str = "/run/coracle/boot";
/// More than it can hold.
const BYTES_MAX: usize = 4096;

/// What the running system was started from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Kernel name of the disk.
    pub disk: String,
    /// The slot.
    pub slot: Slot,
    /// Whether the release is on trial.
    pub trial: bool,
    /// Whether the release is committed: good, and not merely the only one that could be started.
    pub committed: bool,
    /// Boots of this trial that were begun, this one included; 0 without a trial.
    pub starts: u8,
    /// The release.
    pub release: Release,
    /// Whether both copies of the record were unreadable and it was made anew.
    pub rebuilt: bool,
}

impl Running {
    /// What a record says about the running slot. A trial counts only if the selector says that it started it.
    pub fn of(disk: &str, slot: Slot, current: &Current) -> Self {
        let record: &Record = &current.found.record;
        let starts = match record.state(slot) {
            SlotState::Trial { starts } if record.booting() == slot => Some(starts),
            SlotState::Trial { .. }
            | SlotState::Empty
            | SlotState::Written
            | SlotState::Good
            | SlotState::Failed(_)
            | SlotState::Damaged => None,
        };
        Self {
            disk: disk.to_owned(),
            slot,
            trial: starts.is_some(),
            committed: record.state(slot) == SlotState::Good,
            starts: starts.unwrap_or(0),
            release: record.release(slot),
            rebuilt: current.rebuilt.is_some(),
        }
    }

    fn encode(&self) -> String {
        format!(
            "disk={}\nslot={}\ntrial={}\ncommitted={}\nstarts={}\nrelease={}\nrecord={}\n",
            self.disk,
            self.slot,
            yes_or_no(self.trial),
            yes_or_no(self.committed),
            self.starts,
            hex::encode(&self.release),
            if self.rebuilt { "rebuilt" } else { "ok" }
        )
    }

    fn parse(text: &str) -> Option<Self> {
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        Some(Self {
            disk: value("disk")?.to_owned(),
            slot: match value("slot")? {
                "A" => Slot::A,
                "B" => Slot::B,
                _ => return None,
            },
            trial: value("trial")? == "yes",
            committed: value("committed")? == "yes",
            starts: value("starts")?.parse().ok()?,
            release: hex::decode(value("release")?)?.try_into().ok()?,
            rebuilt: value("record")? == "rebuilt",
        })
    }

    /// Leaves it for others.
    pub fn publish(&self) -> Result<(), Fault> {
        Ok(coracle_block::replace_file(Path::new(PATH), self.encode().as_bytes(), 0o644)?)
    }

    /// Reads what was left. The file is in memory: this does not block.
    pub fn read() -> Result<Self, Fault> {
        let bytes = coracle_block::read_limited(Path::new(PATH), BYTES_MAX)?;
        Self::parse(&String::from_utf8_lossy(&bytes)).ok_or("it is incomplete").attempt("use", PATH)
    }

    /// Opens the disk it runs from.
    pub fn open(&self) -> Result<Opened, Fault> {
        let disk = Devices::default().open(&self.disk, Access::Write)?;
        let table = disk.read_table()?;
        let meta = meta::partition(&disk, &table)?;
        Ok(Opened { disk, table, meta })
    }
}

const fn yes_or_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

/// The disk of the running system, for a job that works with its record.
#[derive(Debug)]
pub struct Opened {
    /// The disk.
    pub disk: Disk,
    /// Its partition table.
    pub table: Table,
    /// The partition with the record.
    pub meta: Partition,
}

impl Opened {
    /// The record as it is now.
    pub fn record(&self, running: Slot) -> Result<Record, PathError> {
        Ok(meta::read_or_rebuild(&self.disk, &self.table, Some(running))?.found.record)
    }

    /// Changes the record by a transition; gives the one that is then on the disk.
    pub fn change(
        &self,
        running: Slot,
        others: Others,
        transition: impl FnOnce(Record) -> Result<Record, RefusedTransition>,
    ) -> Result<Record, ChangeError> {
        meta::change(&self.disk, &self.table, Some(running), others, transition)
    }

    /// What a slot says about itself, if that can be read.
    pub fn descriptor(&self, slot: Slot) -> Option<Descriptor> {
        let place = Disk::partition(&self.table, meta::role(slot))?;
        let mut block = [0; DESCRIPTOR_BYTES];
        self.disk.read_within(&place, Descriptor::offset_in(place.bytes)?, &mut block).ok()?;
        Descriptor::parse(&block, place.bytes).ok()
    }
}

/// The slot of a partition role.
pub const fn slot_of(role: Role) -> Option<Slot> {
    match role {
        Role::SlotA => Some(Slot::A),
        Role::SlotB => Some(Slot::B),
        Role::Esp | Role::Meta | Role::State => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coracle_slots::Found;

    fn current(record: &Record) -> Current {
        Current { found: Found { record: *record, copy: 0 }, rebuilt: None }
    }

    /// B holds release 8, is armed, and was started by the selector.
    fn on_trial() -> Record {
        let record =
            Record::shipped([7; 32], 1, 0).written(Slot::B, [8; 32], 2, 0).unwrap().arm(Slot::B).unwrap();
        record.begin_boot(record.choose(&[]))
    }

    #[test]
    fn what_is_published_is_read_back() {
        let running = Running::of("vda", Slot::B, &current(&on_trial()));
        assert_eq!(Running::parse(&running.encode()), Some(running.clone()));
        assert_eq!((running.trial, running.starts, running.release), (true, 1, [8; 32]));
        assert_eq!(Running::parse("disk=vda\n"), None);
    }

    #[test]
    fn a_slot_that_the_selector_did_not_start_is_not_on_trial() {
        let armed =
            Record::shipped([7; 32], 1, 0).written(Slot::B, [8; 32], 2, 0).unwrap().arm(Slot::B).unwrap();
        assert!(!Running::of("vda", Slot::B, &current(&armed)).trial);
        assert!(!Running::of("vda", Slot::A, &current(&on_trial())).trial);
    }
}
