//! Writes down that the running release has failed, or that its root image is damaged. PID 1 reboots afterwards, whether
//! or not this comes to an end.

use super::code;
use crate::crash::Story;
use crate::fault::{Attempt, Fault};
use crate::journal;
use crate::kmsg::{self, Level, now_ms};
use crate::running::{Opened, Running};
use coracle_block::meta::{self, Others};
use coracle_slots::history::{Entry, Event};
use coracle_slots::words::LastWords;
use coracle_slots::{Reason, Slot, SlotState, Verdict};
use rustix::time::{ClockId, clock_gettime};

/// The release on trial has failed, unless it is committed after all.
pub(super) fn run(verdict: Verdict) -> Result<u8, Fault> {
    let running = Running::read()?;
    let opened = running.open()?;
    let slot = running.slot;
    let before = opened.record(slot)?.state(slot);
    if before == SlotState::Good {
        opened.disk.sync()?;
        return Ok(code::COMMITTED);
    }
    if !matches!(before, SlotState::Trial { .. }) {
        return Ok(code::FAILED);
    }
    let record = opened
        .change(slot, Others::Overtake, |record| record.fail(slot, verdict))
        .attempt("write the verdict on", &slot.to_string())?;
    let log = journal::read_all();
    let story = Story::read(&log);
    let words = LastWords::new(slot, record.release(slot), verdict, story.stage_or_kernel(), reason(verdict))
        .at_ms(now_ms())
        .with_log(log.as_bytes());
    report(&words);
    keep(&opened, &words, Event::Failed)?;
    Ok(code::FAILED)
}

/// Keeps last words and an entry of the history.
pub(super) fn keep(opened: &Opened, words: &LastWords, event: Event) -> Result<(), Fault> {
    meta::write_words(&opened.disk, &opened.meta, words)?;
    let mut entry = entry(opened, event, words.slot);
    entry.release = words.release;
    entry.verdict = Some(words.verdict);
    entry.detail = coracle_slots::Text::cut(words.reason.as_str());
    Ok(meta::append_history(&opened.disk, &opened.meta, entry)?)
}

fn entry(opened: &Opened, event: Event, slot: Slot) -> Entry {
    let mut entry = Entry::new(event, slot, [0; 32]);
    if let Some(descriptor) = opened.descriptor(slot) {
        entry.release = descriptor.boot_digest;
        entry.version = coracle_slots::Text::cut(descriptor.version.as_str());
    }
    entry.at = u64::try_from(clock_gettime(ClockId::Realtime).tv_sec).unwrap_or(0);
    entry
}

/// One line for people and programs.
pub(super) fn report(words: &LastWords) {
    let line = format!(
        "trial failed slot={} verdict=\"{}\" stage={} why=\"{}\"",
        words.slot, words.verdict, words.stage, words.reason
    );
    kmsg::log(Level::Error, &line);
}

const fn reason(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Deadline => "there was no commit on the disk at the deadline",
        Verdict::Gate => "the health gate ended without a commit",
        Verdict::Unhealthy => "the root image cannot be mounted",
        Verdict::Panic => "the kernel panicked",
        Verdict::NoVerdict | Verdict::Refused | Verdict::ByHand => "no reason was given",
    }
}

/// A block of the running root does not match its hash: the slot is not started again as long as there is another.
pub(super) fn run_damaged() -> Result<u8, Fault> {
    let running = Running::read()?;
    let opened = running.open()?;
    let slot = running.slot;
    let was = opened.record(slot)?.state(slot);
    let record = opened
        .change(slot, Others::Overtake, |record| Ok(record.damage(slot)))
        .attempt("mark as damaged slot", &slot.to_string())?;
    if was != SlotState::Damaged {
        meta::append_history(&opened.disk, &opened.meta, entry(&opened, Event::Damaged, slot))?;
    }
    let choice = record.choose(&[]);
    if choice.reason == Reason::NothingEligible {
        let other = slot.other();
        let line = format!(
            "slot {slot} is damaged and nothing else can be started: slot {other} is {}",
            record.state(other)
        );
        kmsg::log(Level::Error, &line);
        return Ok(code::NOTHING_ELSE);
    }
    kmsg::log(Level::Error, &format!("slot {slot} is damaged, slot {} is started next", choice.slot));
    Ok(code::DONE)
}
