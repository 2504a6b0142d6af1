//! `confirm`, `rollback` and `retry`: what a person decides.

use crate::error::{Error, Kind, Result};
use crate::executor::Executor;
use crate::report::{Object, Report, Style, hex, short};
use coracle_slots::{Record, Release, SlotState};

/// Commits the release on trial that runs.
pub(super) fn confirm(executor: &Executor, report: &mut Report<'_>) -> Result<()> {
    let running = executor.running();
    let before = executor.record()?;
    if !matches!(before.state(running), SlotState::Trial { .. }) {
        let message = format!(
            "cannot confirm the release in slot {running}: it is not on trial, it is {}",
            before.state(running)
        );
        return Err(Error::new(Kind::Policy, message).hint("coracle-update status shows both slots"));
    }
    let record = executor.commit()?;
    let release = record.release(running);
    let text = format!("release {} in slot {running} is committed\n", short(&release));
    let object =
        Object::event("confirmed").text("slot", &running.to_string()).text("release", &hex(&release));
    say(report, &text, object)
}

/// Takes back the release that is armed, or goes back to the other slot; and holds what is then booted.
pub(super) fn roll_back(executor: &Executor, report: &mut Report<'_>) -> Result<()> {
    let other = executor.running().other();
    if let SlotState::Trial { .. } = executor.record()?.state(other) {
        return disarm(executor, report);
    }
    let record = executor.roll_back()?;
    let slot = record.last_good();
    let release = record.release(slot);
    let text = format!(
        "slot {slot} (release {}) boots next, and no update is armed until coracle-update retry\n",
        short(&release)
    );
    let object = Object::event("rolled-back").text("slot", &slot.to_string()).text("release", &hex(&release));
    say(report, &text, object)
}

fn disarm(executor: &Executor, report: &mut Report<'_>) -> Result<()> {
    let (record, slot) = (executor.disarm()?, executor.running().other());
    let release = record.release(slot);
    let text = format!(
        "release {} in slot {slot} is not armed any more, and no update is armed until coracle-update retry\n",
        short(&release)
    );
    let object = Object::event("dropped").text("slot", &slot.to_string()).text("release", &hex(&release));
    say(report, &text, object)
}

/// Releases the hold, and lets a failed release be applied again: the one named by a prefix of its digest, or the one
/// that failed last.
pub(super) fn retry(executor: &Executor, prefix: Option<&str>, report: &mut Report<'_>) -> Result<()> {
    let before = executor.record()?;
    let release = choose(&before, prefix)?;
    if release.is_none() && !before.hold() {
        let message = "cannot retry: no release has failed here, and nothing is held";
        return Err(Error::new(Kind::Policy, message).hint("coracle-update apply SOURCE applies an update"));
    }
    executor.retry(release.as_ref())?;
    let freed = release.map(|release| format!("release {} may be applied again\n", short(&release)));
    let held = before.hold().then_some("the hold is released\n");
    let text = format!("{}{}", held.unwrap_or_default(), freed.unwrap_or_default());
    let object = Object::event("retried")
        .maybe_text("release", release.map(|release| hex(&release)).as_deref())
        .flag("hold_released", before.hold());
    say(report, &text, object)
}

fn choose(record: &Record, prefix: Option<&str>) -> Result<Option<Release>> {
    let Some(prefix) = prefix else {
        // A machine that is held is held back from nothing else: a release that failed has to be named.
        return Ok(record.all_blocked().next().map(|(release, _)| release).filter(|_| !record.hold()));
    };
    let prefix = prefix.to_ascii_lowercase();
    let mut found = record.all_blocked().filter(|(release, _)| hex(release).starts_with(&prefix));
    match (found.next(), found.next()) {
        (Some((release, _)), None) => Ok(Some(release)),
        (None, _) => {
            Err(Error::new(Kind::Usage, format!("cannot retry {prefix}: no such release has failed here"))
                .hint("coracle-update status lists those that have"))
        }
        (Some(_), Some(_)) => {
            Err(Error::new(Kind::Usage, format!("cannot retry {prefix}: several releases begin like that"))
                .hint("give more of its digest"))
        }
    }
}

fn say(report: &mut Report<'_>, text: &str, object: Object) -> Result<()> {
    match report.style() {
        Style::Human => report.data(text),
        Style::Json => report.data(&object.line()),
    }
}
