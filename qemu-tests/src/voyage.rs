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
        let old = Variant::new("v1", OLD, arch).build()?;
        let dir = scratch("voyages")?.join(format!("{name}-{firmware}-{}", arch.name()));
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
    pub fn falls_back(&mut self, release: &Release, verdict: &str) -> Result<()> {
        self.update(release)?;
        self.starts("B", "on trial")?;
        let mut trials = 1;
        self.guest.scan("the old release after the trial", |line| {
            trials += u32::from(line.contains("coracle: slot B (on trial)"));
            line.contains("coracle: slot A (last good)").then_some(())
        })?;
        self.guest.phase("container-ledger").context("the old release")?;
        let (state, found, version) = self.slot("B")?;
        let expected = ("failed".to_owned(), Some(verdict.to_owned()), NEW.to_owned());
        ensure!(
            (state.clone(), found.clone(), version.clone()) == expected,
            "slot B is {state} ({found:?}) with {version} after {trials} starts, not {expected:?}"
        );
        self.is_not_taken_again(release)
    }

    fn is_not_taken_again(&self, release: &Release) -> Result<()> {
        let server = Server::start([release.served()].into())?;
        let reply = self.operator()?.apply(&server.url(&release.served().0))?;
        ensure!(reply.code == 3, "a release that failed was taken again: {reply:?}");
        Ok(())
    }
}
