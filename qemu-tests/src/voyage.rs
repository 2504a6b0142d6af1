//! A machine that is updated: what most tests of updates begin with.

use crate::{Guest, Operator, Release, Server, Setup, Variant, scratch};
use anyhow::{Context as _, Result, ensure};
use coracle::{
    launch,
    machine::{Firmware, Outside},
};
use coracle_format::slot::Arch;
use serde_json::Value;
use std::{fs, path::PathBuf};

/// The version that machines ship with, and the one that they are updated to.
pub const OLD: &str = "1.0.0";
/// See [`OLD`].
pub const NEW: &str = "2.0.0";
/// Bytes of its disk.
const DISK_BYTES: u64 = 1 << 30;

/// A machine with the old release, and what it needs to be updated.
#[derive(Debug)]
pub struct Voyage {
    /// The machine.
    pub guest: Guest,
    old: Release,
    setup: Setup,
    name: String,
}

impl Voyage {
    /// Boots the old release on a new disk; `name` names its files.
    pub fn begin(firmware: Firmware, arch: Arch, name: &str) -> Result<Self> {
        Self::begin_with(firmware, arch, name, |_, _| Ok(()))
    }

    /// The same machine with something beside it: `change` sees its first release and may change how it is set up.
    pub fn begin_with(
        firmware: Firmware,
        arch: Arch,
        name: &str,
        change: impl FnOnce(&Release, &mut Setup) -> Result<()>,
    ) -> Result<Self> {
        Self::begin_from(Variant::new("v1", OLD, arch).build()?, firmware, name, change)
    }

    /// The same with another first release.
    pub fn begin_from(
        old: Release,
        firmware: Firmware,
        name: &str,
        change: impl FnOnce(&Release, &mut Setup) -> Result<()>,
    ) -> Result<Self> {
        let dir = scratch("voyages")?.join(format!("{name}-{firmware}-{}", old.image.arch().name()));
        let options = launch::Options { disk_bytes: DISK_BYTES, ..launch::Options::new(&old.image) };
        fs::create_dir_all(&dir)?;
        let disk = dir.join("disk.raw");
        launch::make_disk(&old.image, &options, &disk)?;
        let mut setup = Setup {
            disk: Some(disk),
            outside: Outside::Reachable,
            log: Some(dir.join("console.log")),
            ..Setup::new(firmware, &[])
        };
        change(&old, &mut setup)?;
        let mut guest = Guest::boot(&old.image, name, &setup)?;
        guest.phase("container-ledger")?;
        setup.log = Some(dir.join("console-again.log"));
        Ok(Self { guest, old, setup, name: name.to_owned() })
    }

    /// Who gives it orders.
    pub fn operator(&self) -> Result<Operator> {
        Operator::of(&self.guest)
    }

    /// Has the machine apply a release and reboot into it.
    pub fn update(&self, release: &Release) -> Result<()> {
        let server = Server::start([release.served()].into())?;
        server.order(&self.guest, release).carry_out()
    }

    /// Waits for the selector to say that it starts this slot, and why.
    pub fn starts(&mut self, slot: &str, reason: &str) -> Result<()> {
        let line = self.guest.line("coracle: slot ")?;
        ensure!(line.contains(&format!("coracle: slot {slot} ({reason})")), "the selector chose: {line}");
        Ok(())
    }

    /// What the machine says about a slot: state, verdict, version.
    pub fn slot(&self, slot: &str) -> Result<(String, Option<String>, String)> {
        let status = self.operator()?.status()?;
        let slots = status["slots"].as_array().context("a status without slots")?;
        let found = slots.iter().find(|one| one["slot"] == slot).context("no such slot")?;
        let text = |field: &str| found[field].as_str().map(str::to_owned);
        Ok((text("state").unwrap_or_default(), text("verdict"), text("version").unwrap_or_default()))
    }

    /// The whole status.
    pub fn status(&self) -> Result<Value> {
        self.operator()?.status()
    }

    /// Cuts the power, and starts the machine again over the disk that is left.
    pub fn cut_power(&mut self) -> Result<()> {
        self.guest.vm().cut_power();
        self.guest = Guest::boot(&self.old.image, &self.name, &self.setup)?;
        Ok(())
    }

    /// The disk.
    pub fn disk(&self) -> PathBuf {
        self.guest.disk()
    }

    /// Tries a release that must fail, until the machine is back in the old one; checks what it says then.
    pub fn falls_back(&mut self, release: &Release, verdict: &str) -> Result<Fall> {
        let running = self.status()?["running"].as_str().context("nothing runs")?.to_owned();
        let spare = if running == "A" { "B" } else { "A" };
        self.update(release)?;
        self.starts(spare, "on trial")?;
        let (again, back) =
            (format!("coracle: slot {spare} (on trial)"), format!("coracle: slot {running} (last good)"));
        let (mut trials, mut console) = (1, Vec::new());
        self.guest.scan("the old release after the trial", |line| {
            console.push(line.to_owned());
            trials += u32::from(line.contains(&again));
            line.contains(&back).then_some(())
        })?;
        // The words of a release that left none itself are found by the one that takes over, which says so.
        let (mut runs, mut tells) = (false, false);
        self.guest.scan("the old release and its story", |line| {
            runs |= line.contains("coracle: phase=container-ledger ok");
            tells |= line.contains("coracle: fallback");
            (runs && tells).then_some(())
        })?;
        let (state, found, version) = self.slot(spare)?;
        let expected = ("failed".to_owned(), Some(verdict.to_owned()), release.version().to_owned());
        ensure!(
            (state.clone(), found.clone(), version.clone()) == expected,
            "slot {spare} is {state} ({found:?}) with {version} after {trials} starts, not {expected:?}"
        );
        self.is_not_taken_again(release)?;
        let words = self.status()?["last_words"].clone();
        ensure!(words["slot"] == spare && words["verdict"] == verdict, "the last words: {words}");
        Ok(Fall { trials, console, words, text: self.operator()?.status_text()? })
    }

    fn is_not_taken_again(&self, release: &Release) -> Result<()> {
        let server = Server::start([release.served()].into())?;
        let reply = self.operator()?.apply(&server.url(&release.served().0))?;
        ensure!(reply.code == 3, "a release that failed was taken again: {reply:?}");
        Ok(())
    }
}

/// How a release on trial has failed, and what the one that took over tells of it.
#[derive(Debug)]
pub struct Fall {
    /// How often it was started.
    pub trials: u32,
    /// What the console has shown from its first start to the old release's.
    pub console: Vec<String>,
    /// Its last words.
    pub words: Value,
    /// The status, as a person reads it.
    pub text: String,
}

impl Fall {
    /// A field of the last words.
    pub fn word(&self, name: &str) -> &str {
        self.words[name].as_str().unwrap_or_default()
    }

    /// Why it failed, to programs and to people.
    pub fn says_why(&self, reason: &str) -> Result<()> {
        ensure!(
            self.word("reason").contains(reason),
            "the reason is {:?}, not {reason:?}",
            self.word("reason")
        );
        ensure!(self.text.contains(reason), "a person reads no {reason:?} in:\n{}", self.text);
        Ok(())
    }

    /// The last words are kernel lines of the failed starts, one of which has `line`, and the stage is one they came to.
    pub fn keeps(&self, line: &str) -> Result<()> {
        let reached = format!("coracle: phase={} ", self.word("stage"));
        ensure!(self.shown(&reached).next().is_some(), "it never came to {:?}", self.word("stage"));
        let kept: Vec<&str> = self.word("log").lines().map(without_level).collect();
        let real = kept.iter().filter(|kept| !kept.is_empty() && self.shown(kept).next().is_some());
        let real: Vec<&&str> = real.collect();
        ensure!(
            real.len() >= LINES_KEPT && real.iter().any(|kept| kept.contains(line)),
            "{} lines with no {line:?} among them were on the console:\n{}",
            real.len(),
            kept.join("\n")
        );
        Ok(())
    }

    /// Lines of the console with this text.
    pub fn shown<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a String> {
        self.console.iter().filter(move |line| line.contains(text))
    }
}

/// Fewer lines tell nothing about a failure.
const LINES_KEPT: usize = 5;

/// A kernel line as the console shows it: recorders put the level before it.
fn without_level(line: &str) -> &str {
    line.strip_prefix('<').and_then(|rest| rest.split_once('>')).map_or(line, |(_, rest)| rest).trim()
}
