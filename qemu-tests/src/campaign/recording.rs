//! Recordings of machines at work.

use super::{Campaign, ledger::Line};
use crate::{
    Guest, MILESTONE, Setup,
    powercut::{Log, recorded},
};
use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use coracle::{
    launch,
    machine::{Outside, Phase},
};
use serde::{Deserialize, Serialize};
use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Instant,
};

/// Bytes of the machines' disks.
pub(super) const DISK_BYTES: u64 = 1 << 30;
/// How many records a machine makes before it is left alone.
const RECORDS: u64 = 3;
/// How many records a machine makes when its update is committed.
const RECORDS_AFTER: u64 = 2;

/// What is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Name {
    /// A new machine, until it has made its first records.
    FirstBoot,
    /// An update: applied, rebooted into, committed.
    Update,
}

impl Name {
    /// As an argument and a directory.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::FirstBoot => "first-boot",
            Self::Update => "update",
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FirstBoot => "first boot",
            Self::Update => "update",
        })
    }
}

/// Something that was durable when the recording had so many entries.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Acknowledged {
    record: u64,
    entries: u64,
}

/// Everything a machine wrote, and what it said meanwhile.
#[derive(Debug)]
pub(super) struct Recording {
    pub(super) name: Name,
    pub(super) dir: PathBuf,
    pub(super) log: Log,
    acknowledged: Vec<Acknowledged>,
}

impl Recording {
    /// Makes a recording in `dir`, or reads the one that is there.
    pub(super) fn make(campaign: &Campaign, name: Name, dir: &Path) -> Result<Self> {
        if !campaign.options.again {
            let session = Session::new(campaign, dir);
            let acknowledged = match name {
                Name::FirstBoot => session.first_boot(),
                Name::Update => session.update(),
            };
            let acknowledged = acknowledged.with_context(|| format!("cannot record: {name}"))?;
            coracle::files::replace(&dir.join("records.json"), &serde_json::to_vec(&acknowledged)?)?;
        }
        let records = dir.join("records.json");
        let text = fs::read(&records).with_context(|| format!("cannot read {}", records.display()))?;
        let log = Log::open(&dir.join("write.log"))?;
        Ok(Self { name, dir: dir.to_owned(), log, acknowledged: serde_json::from_slice(&text)? })
    }

    /// The disk that the recording began with.
    pub(super) fn begin(&self) -> PathBuf {
        begin(&self.dir)
    }

    /// How many records were acknowledged before the recording had so many entries.
    pub(super) fn acknowledged(&self, entries: u64) -> u64 {
        let before = self.acknowledged.iter().filter(|one| one.entries <= entries);
        before.map(|one| one.record).max().unwrap_or(0)
    }
}

fn begin(dir: &Path) -> PathBuf {
    dir.join("begin.raw")
}

/// A machine that is recorded.
struct Session<'c> {
    campaign: &'c Campaign,
    dir: &'c Path,
    acknowledged: Vec<Acknowledged>,
    /// Whether what it writes is recorded. What it said before that holds from the beginning of the recording.
    recorded: bool,
}

impl<'c> Session<'c> {
    const fn new(campaign: &'c Campaign, dir: &'c Path) -> Self {
        Self { campaign, dir, acknowledged: Vec::new(), recorded: false }
    }

    fn first_boot(mut self) -> Result<Vec<Acknowledged>> {
        let image = &self.campaign.releases[0].image;
        let options = launch::Options { disk_bytes: DISK_BYTES, ..launch::Options::new(image) };
        launch::make_disk(image, &options, &begin(self.dir))?;
        let mut guest = self.boot()?;
        guest.phase("state-mount")?;
        self.records(&mut guest, RECORDS)?;
        guest.cut_power();
        Ok(self.acknowledged)
    }

    fn update(mut self) -> Result<Vec<Acknowledged>> {
        let [old, ..] = &self.campaign.releases;
        let begin = begin(self.dir);
        let options = launch::Options { disk_bytes: DISK_BYTES, ..launch::Options::new(&old.image) };
        launch::make_disk(&old.image, &options, &begin)?;
        let setup = Setup { disk: Some(begin), ..setup(self.campaign) };
        let mut guest = Guest::boot(&old.image, "settle", &setup)?;
        self.records(&mut guest, RECORDS)?;
        guest.power_off()?;
        let mut guest = self.boot()?;
        self.records(&mut guest, RECORDS)?;
        let order = self.campaign.order(&guest, 0, 1);
        thread::scope(|scope| {
            let (send, applied) = mpsc::channel();
            // The container goes on while the update is written: what it says must not wait for the end of that.
            scope.spawn(move || drop(send.send(order.carry_out())));
            self.committed(&mut guest, &applied)
        })?;
        self.records(&mut guest, RECORDS_AFTER)?;
        guest.cut_power();
        Ok(self.acknowledged)
    }

    /// Boots a copy of the disk of the beginning and records what is written to it.
    fn boot(&mut self) -> Result<Guest> {
        self.recorded = true;
        let disk = self.dir.join("recorded.raw");
        launch::copy_disk(&begin(self.dir), &disk, DISK_BYTES)?;
        let write_log = Some(self.dir.join("write.log"));
        let setup = Setup { disk: Some(disk), write_log, ..setup(self.campaign) };
        Guest::boot(&self.campaign.releases[0].image, "recording", &setup)
    }

    /// Waits for so many records more.
    fn records(&mut self, guest: &mut Guest, more: u64) -> Result<()> {
        let mut left = more;
        self.watch(guest, "records of the container", |line| {
            left -= u64::from(matches!(Line::parse(line), Some(Line::Record(_))));
            Ok(left == 0)
        })
    }

    /// Waits until the machine has committed a release, or cannot apply it.
    fn committed(&mut self, guest: &mut Guest, applied: &mpsc::Receiver<Result<()>>) -> Result<()> {
        self.watch(guest, "the commit of the update", |line| {
            applied.try_recv().unwrap_or(Ok(()))?;
            Ok(Phase::parse(line).is_some_and(|phase| phase.name == "commit" && phase.failed.is_none()))
        })
    }

    /// Reads the console until `last`; notes what is acknowledged meanwhile.
    fn watch(
        &mut self,
        guest: &mut Guest,
        what: &str,
        mut last: impl FnMut(&str) -> Result<bool>,
    ) -> Result<()> {
        let deadline = Instant::now() + MILESTONE;
        loop {
            let line = guest.vm().console.line(deadline)?;
            let line = line.with_context(|| format!("the machine ended before {what}"))?;
            if let Some(Line::Record(record)) = Line::parse(&line) {
                let entries = if self.recorded { recorded(&self.dir.join("write.log"))? } else { 0 };
                self.acknowledged.push(Acknowledged { record, entries });
            }
            if last(&line)? {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{what} did not come");
        }
    }
}

/// The machine of every boot.
pub(super) fn setup(campaign: &Campaign) -> Setup {
    Setup {
        disk_bytes: DISK_BYTES,
        cpus: 1,
        outside: Outside::Reachable,
        ..Setup::new(campaign.options.backend.firmware(), &[])
    }
}
