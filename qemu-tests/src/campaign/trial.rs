//! One cut's disk, booted and judged.

use super::{
    Campaign,
    ledger::{self, Line},
    recording::{Recording, setup},
    report::Outcome,
};
use crate::{Guest, MILESTONE, Setup, powercut::Cut};
use anyhow::{Context as _, Result, bail, ensure};
use coracle::{launch, machine::Phase};
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How long a machine may be silent from its start. Firmware under emulation was once seen to hang before its first
/// word; such a start says nothing about the disk. It is repeated, and counted.
const FIRST_WORD: Duration = Duration::from_secs(90);
/// How often a machine is started for its first word.
const STARTS: u32 = 3;
/// Phases whose failure does not matter here: the network may come later.
const MAY_FAIL: [&str; 2] = ["network", "service-network"];

/// What the disk of a cut holds, seen from outside.
#[derive(Clone, Debug, Default)]
struct Seen {
    slot: Option<String>,
    root: bool,
    kept: Option<u64>,
    /// The release has been committed since its start.
    committed: bool,
}

impl Seen {
    /// Waits for the commit, unless it was there already: the container may say what it has kept before that or after.
    fn commit(&self, guest: &mut Guest) -> Result<()> {
        if !self.committed {
            guest.phase("commit")?;
        }
        Ok(())
    }
}

/// A disk that a cut has left.
pub(super) struct Left<'c> {
    pub(super) campaign: &'c Campaign,
    pub(super) recording: &'c Recording,
    pub(super) cut: &'c Cut,
    pub(super) disk: PathBuf,
}

impl Left<'_> {
    /// Boots it, checks what must hold, and removes the disk unless something did not.
    pub(super) fn judge(&self) -> Outcome {
        let begun = Instant::now();
        let log = self.recording.dir.join(format!("cut-{}.log", self.cut.number));
        let mut outcome = Outcome {
            number: self.cut.number,
            entries: self.cut.entries,
            cached: self.cut.cached,
            kept: self.cut.kept.len(),
            torn: self.cut.torn(&self.recording.log),
            acknowledged: self.recording.acknowledged(self.cut.entries),
            log: log.clone(),
            ..Outcome::default()
        };
        if let Err(error) = self.check(&log, &mut outcome) {
            outcome.failure = Some(format!("{error:#}"));
        } else {
            self.remove(&log);
        }
        outcome.ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        outcome
    }

    /// Removes what a failure would have to be looked into with. A file that cannot be removed stops nothing.
    fn remove(&self, log: &Path) {
        drop(fs::remove_file(&self.disk));
        drop(fs::remove_file(launch::vars_of(&self.disk)));
        drop(fs::remove_dir_all(self.parts()));
        drop(fs::remove_file(log));
        drop(fs::remove_file(log.with_extension("log.qemu")));
    }

    fn parts(&self) -> PathBuf {
        self.disk.with_extension("parts")
    }

    fn check(&self, log: &Path, outcome: &mut Outcome) -> Result<()> {
        let mut guest = self.start(log, outcome)?;
        let mut seen = Seen { slot: outcome.slot.clone(), ..Seen::default() };
        up(&mut guest, &mut seen, outcome.acknowledged)?;
        outcome.records = seen.kept;
        if self.campaign.options.no_update {
            return Ok(());
        }
        if outcome.slot.as_ref().is_some_and(|slot| slot.contains("trial")) {
            seen.commit(&mut guest).context("the trial that was cut")?;
        }
        // The update goes to slot B: what runs there is the release that the recorded update leads to.
        let runs = usize::from(seen.slot.as_ref().is_some_and(|slot| slot.starts_with('B')));
        let order = self.campaign.order(&guest, runs, 2);
        order.carry_out().context("the next update")?;
        let mut after = Seen::default();
        up(&mut guest, &mut after, seen.kept.unwrap_or(0)).context("after the next update")?;
        after.commit(&mut guest).context("the next update")?;
        ensure!(
            after.slot.as_ref().is_some_and(|slot| slot.contains("trial")),
            "the next update was applied, but another slot was started: {:?}",
            after.slot
        );
        Ok(())
    }

    /// Starts the machine until it says which slot it takes.
    fn start(&self, log: &Path, outcome: &mut Outcome) -> Result<Guest> {
        let image = &self.campaign.releases[0].image;
        loop {
            let setup = Setup {
                disk: Some(self.disk.clone()),
                log: Some(log.to_owned()),
                dir: Some(self.parts()),
                ..setup(self.campaign)
            };
            let mut guest = Guest::boot(image, "cut", &setup)?;
            outcome.boots += 1;
            match guest.vm().console.expect("its choice of a slot", FIRST_WORD, slot) {
                Ok(slot) => {
                    outcome.slot = Some(slot);
                    return Ok(guest);
                }
                Err(error) if outcome.boots == STARTS => return Err(error.into()),
                Err(_) => outcome.silent += 1,
            }
        }
    }
}

/// Waits until the machine has its root and its container tells what it has kept.
fn up(guest: &mut Guest, seen: &mut Seen, acknowledged: u64) -> Result<()> {
    let deadline = Instant::now() + MILESTONE;
    while !(seen.root && seen.kept.is_some()) {
        let line = guest.vm().console.line(deadline)?.context("the machine ended")?;
        if let Some(chosen) = slot(&line) {
            // A reboot: nothing of what was before counts.
            *seen = Seen { slot: Some(chosen), ..Seen::default() };
        }
        if let Some(phase) = Phase::parse(&line) {
            match phase.failed {
                Some(why) if !MAY_FAIL.contains(&phase.name.as_str()) => {
                    bail!("phase {} failed: {why}", phase.name)
                }
                Some(_) => {}
                None => {
                    seen.root |= phase.name == "root-mount";
                    seen.committed |= phase.name == "commit";
                }
            }
        }
        if let Some(Line::Kept { records, sha256 }) = Line::parse(&line) {
            ledger::judge(records, &sha256, acknowledged)?;
            seen.kept = Some(records);
        }
    }
    Ok(())
}

/// What the selector says it starts: `B (on trial)`.
fn slot(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("coracle: slot ")?;
    let chosen = rest.strip_suffix(')').is_some_and(|rest| rest.get(1..3) == Some(" ("));
    chosen.then(|| rest.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selectors_choice_is_told_from_what_else_it_says_of_slots() {
        assert_eq!(slot("coracle: slot B (on trial)").as_deref(), Some("B (on trial)"));
        assert_eq!(slot("coracle: slot A is good, cannot be started"), None);
        assert_eq!(slot("coracle: slot B cannot be started: (why)"), None);
    }
}
