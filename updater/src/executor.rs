//! The only code that changes a disk, and the only code that knows the order of its syncs.
//!
//! Every change of the record is on the disk when the call that makes it returns. The slot that runs is never written:
//! see [`Spare`].

mod accepted;
mod delta;
mod filling;
mod frames;
mod layout;
mod leftovers;
mod readback;
mod running;
mod spare;
mod stream;
mod update;

use crate::engine::Machine;
use crate::error::{Error, Kind, Result};
use coracle_block::meta::{self, ChangeError, Others};
use coracle_block::{Access, Disk, Partition};
use coracle_format::gpt::Table;
use coracle_format::slot::{Arch, DESCRIPTOR_BYTES, Descriptor};
use coracle_format::version::Version;
use coracle_slots::history::{self, Entry};
use coracle_slots::words::LastWords;
use coracle_slots::{Floors, NotARecord, Record, RefusedTransition, Release, Slot, Verdict};

pub use leftovers::PATH as LEFTOVERS_PATH;
pub use spare::Spare;
pub use update::{Observer, Recheck, Settings, Supply, Survey, Tally, Tools, Vouching, trusted_time};

/// The disk that the running system came from, and the record on it.
#[derive(Debug)]
pub struct Executor {
    disk: Disk,
    table: Table,
    running: Slot,
    epoch: Option<u32>,
}

/// How a trial failed.
#[derive(Clone, Copy, Debug)]
pub struct Failure<'a> {
    /// Why.
    pub verdict: Verdict,
    /// How far it had come: a phase, a container, a check.
    pub stage: &'a str,
    /// The reason in words.
    pub reason: &'a str,
    /// The clock of this boot, milliseconds.
    pub boot_ms: u64,
    /// The last kernel lines.
    pub log: &'a [u8],
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
        Ok(Self { disk, table, running, epoch: None })
    }

    /// With the security epoch of the running release, as its own configuration has it: a record that was made anew does
    /// not know it.
    pub fn of_epoch(mut self, epoch: u32) -> Self {
        self.epoch = Some(epoch);
        self
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
        Disk::partition(&self.table, meta::role(slot))
    }

    /// The slot that does not run, for writing.
    pub fn spare(&self) -> Result<Spare<'_>> {
        Spare::of(self)
    }

    /// The record as it is on the disk now; made anew from what the slots hold if both copies are unreadable.
    pub fn record(&self) -> Result<Record> {
        Ok(self.inspect()?.0)
    }

    /// The record, and why both copies are unreadable if they are.
    pub fn inspect(&self) -> Result<(Record, Option<[NotARecord; 2]>)> {
        let current = meta::read_or_rebuild(&self.disk, &self.table, Some(self.running))?;
        Ok((self.with_epoch(current.found.record), current.rebuilt))
    }

    /// What the slot's descriptor says, if it is readable.
    pub fn descriptor(&self, slot: Slot) -> Option<Descriptor> {
        let partition = self.partition(slot)?;
        let mut block = [0; DESCRIPTOR_BYTES];
        self.disk.read_within(&partition, Descriptor::offset_in(partition.bytes)?, &mut block).ok()?;
        Descriptor::parse(&block, partition.bytes).ok()
    }

    /// What the engine has to know about this machine.
    pub fn machine(&self, image: &str, arch: Arch) -> Result<Machine> {
        Ok(Machine {
            image: image.to_owned(),
            arch,
            record: self.record()?,
            running: self.running,
            spare_bytes: self.partition(self.running.other()).map(|partition| partition.bytes),
        })
    }

    /// Makes the running release the good one, raises the floors of version and security epoch to it, and tells the
    /// history, also of a release of a lower epoch that is retired by it. Nothing is written when it is good already.
    pub fn commit(&self) -> Result<Record> {
        let before = self.record()?;
        let running = self.running;
        let record = self.change(|record| {
            let floors = Floors { version: record.version(running), ..Floors::default() };
            Ok(record.commit()?.raise_floors(floors))
        })?;
        if before.state(running) != record.state(running) {
            self.tell(Entry::new(history::Event::Committed, running, record.release(running)))?;
        }
        let other = running.other();
        if before.state(other) != record.state(other) {
            let mut entry = Entry::new(history::Event::Retired, other, before.release(other));
            let (was, floor) = (before.epoch(other), record.floors().epoch);
            entry.detail = coracle_slots::Text::cut(&format!("security epoch {was} is below {floor}"));
            self.tell(entry)?;
        }
        Ok(record)
    }

    /// Writes the verdict on the running release, which is on trial.
    pub fn fail(&self, verdict: Verdict) -> Result<Record> {
        self.fail_with(&Failure { verdict, stage: "", reason: "", boot_ms: 0, log: &[] })
    }

    /// Writes the verdict on the running release, which is on trial: first its last words, then the verdict, then the
    /// history. What cannot be told does not keep the verdict from being written.
    pub fn fail_with(&self, failure: &Failure<'_>) -> Result<Record> {
        let running = self.running;
        let release = self.record()?.release(running);
        let words = LastWords::new(running, release, failure.verdict, failure.stage, failure.reason)
            .at_ms(failure.boot_ms)
            .with_log(failure.log);
        let told = meta::write_words(&self.disk, &self.meta()?, &words);
        let record = self.change(|record| record.fail(running, failure.verdict))?;
        let mut entry = Entry::new(history::Event::Failed, running, release);
        entry.verdict = Some(failure.verdict);
        entry.detail = coracle_slots::Text::cut(failure.reason);
        self.tell(entry)?;
        told?;
        Ok(record)
    }

    /// By hand: the other slot boots next, and nothing is armed until [`Executor::retry`].
    pub fn roll_back(&self) -> Result<Record> {
        let record = self.change(Record::roll_back)?;
        let to = self.running.other();
        self.tell(Entry::new(history::Event::RolledBack, to, record.release(to)))?;
        Ok(record)
    }

    /// By hand: the release that is armed is not booted, and nothing is armed until [`Executor::retry`].
    pub fn disarm(&self) -> Result<Record> {
        let record = self.change(Record::disarm)?;
        let other = self.running.other();
        self.tell(Entry::new(history::Event::Dropped, other, record.release(other)))?;
        Ok(record)
    }

    /// By hand: releases the hold, and allows `release`, which failed, to be tried again.
    pub fn retry(&self, release: Option<&Release>) -> Result<Record> {
        let before = self.record()?;
        let record = self.change(|record| {
            let free = record.release_hold();
            Ok(release.map_or(free, |release| free.retry(release)))
        })?;
        if before.hold() {
            let running = self.running;
            self.tell(Entry::new(history::Event::HoldReleased, running, record.release(running)))?;
        }
        if let Some(release) = release {
            self.tell(Entry::new(history::Event::Retried, self.running.other(), *release))?;
        }
        Ok(record)
    }

    /// The last words of the release that failed last.
    pub fn words(&self) -> Result<Option<LastWords>> {
        Ok(meta::read_words(&self.disk, &self.meta()?)?)
    }

    /// What happened to both slots, oldest first.
    pub fn history(&self) -> Result<Vec<Entry>> {
        Ok(meta::read_history(&self.disk, &self.meta()?)?)
    }

    /// Changes the record, alone, and gives what is on the disk afterwards.
    fn change(&self, transition: impl FnOnce(Record) -> Result<Record, RefusedTransition>) -> Result<Record> {
        self.try_change(transition)?.map_err(|refused| {
            Error::new(Kind::Policy, refused.to_string()).hint("coracle-update status shows both slots")
        })
    }

    fn try_change(
        &self,
        transition: impl FnOnce(Record) -> Result<Record, RefusedTransition>,
    ) -> Result<Result<Record, RefusedTransition>> {
        let transition = |record| transition(self.with_epoch(record));
        match meta::change(&self.disk, &self.table, Some(self.running), Others::Wait, transition) {
            Ok(record) => Ok(Ok(record)),
            Err(ChangeError::Refused(refused)) => Ok(Err(refused)),
            Err(ChangeError::Disk(error)) => Err(error.into()),
        }
    }

    fn with_epoch(&self, record: Record) -> Record {
        self.epoch.map_or(record, |epoch| record.running_epoch(self.running, epoch))
    }

    /// Adds an entry to the history, with the version from the slot's descriptor and the time where they are known.
    fn tell(&self, mut entry: Entry) -> Result<()> {
        if let Some(descriptor) = self.descriptor(entry.slot)
            && descriptor.boot_digest == entry.release
        {
            entry.version = coracle_slots::Text::cut(descriptor.version.as_str());
        }
        entry.at = running::clock();
        Ok(meta::append_history(&self.disk, &self.meta()?, entry)?)
    }

    fn meta(&self) -> Result<Partition> {
        Ok(meta::partition(&self.disk, &self.table)?)
    }
}

/// The version of a slot for people: as its maker wrote it, or as the record has it.
pub fn version_text(descriptor: Option<&Descriptor>, record: &Record, slot: Slot) -> String {
    match (descriptor, record.version(slot)) {
        (Some(descriptor), _) if descriptor.boot_digest == record.release(slot) => {
            descriptor.version.as_str().to_owned()
        }
        (_, 0) => String::new(),
        (_, version) => Version::from_u64(version).to_string(),
    }
}
