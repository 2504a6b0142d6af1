//! What the runs before this one tell: an armed release that was passed over, a panic, a release that failed.

use super::{code, journal, verdict};
use crate::cmdline;
use crate::crash::Story;
use crate::fault::{Attempt, Fault};
use crate::kmsg::{self, Level};
use crate::running::{Opened, Running};
use coracle_block::meta::{self, Others};
use coracle_slots::history::Event;
use coracle_slots::words::LastWords;
use coracle_slots::{MISSES_MAX, Record, Slot, SlotState, Verdict};
use std::path::{Path, PathBuf};

/// Where the kernel shows what a crash recorder has kept.
const RECORDS: &str = "/sys/fs/pstore";
/// A record is never larger.
const RECORD_BYTES_MAX: usize = 1 << 20;

/// Whom a panic is put down to. Pure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Culprit {
    /// The release that runs now, in an earlier start.
    Running,
    /// The release in the other slot.
    Other,
    /// A release that is gone.
    Nobody,
}

/// What is known about the two slots.
#[derive(Clone, Copy, Debug)]
struct Known {
    own_hash: [u8; 32],
    other_hash: Option<[u8; 32]>,
    /// Starts of the trial of the running release, this one included; 0 without a trial.
    starts: u8,
    /// State of the other slot.
    other: SlotState,
}

/// Reviews the past once per boot.
pub(super) fn run() -> Result<u8, Fault> {
    let running = Running::read()?;
    let opened = running.open()?;
    settle_epoch(&running, &opened)?;
    count_miss(&running, &opened)?;
    let other = running.slot.other();
    let record = opened.record(running.slot)?;
    let other_hash = opened.descriptor(other).map(|descriptor| descriptor.root_hash);
    let known =
        Known { own_hash: own_hash()?, other_hash, starts: running.starts, other: record.state(other) };
    let panic = newest_panic();
    let mut failed = false;
    if let Some(text) = &panic {
        failed = judge_panic(&running, &opened, &known, text)?;
    }
    tell_fallback(&opened, other, known.other_hash)?;
    forget_panics();
    Ok(if failed { code::FAILED } else { code::DONE })
}

fn own_hash() -> Result<[u8; 32], Fault> {
    let line = std::fs::read_to_string("/proc/cmdline").attempt("read", "the kernel command line")?;
    Ok(cmdline::parse_verity(&line).attempt("use", "the kernel command line")?.root_hash)
}

/// A record that was made anew does not know of which security epoch the running release is: its configuration does.
fn settle_epoch(running: &Running, opened: &Opened) -> Result<(), Fault> {
    let Some(update) = crate::root::load_config()?.update else {
        return Ok(());
    };
    let slot = running.slot;
    opened
        .change(slot, Others::Wait, |record| Ok(record.running_epoch(slot, update.epoch)))
        .attempt("write down the security epoch of", &slot.to_string())?;
    Ok(())
}

/// The other slot is armed, but this one was started.
fn count_miss(running: &Running, opened: &Opened) -> Result<(), Fault> {
    let other = running.slot.other();
    let record = opened.record(running.slot)?;
    if running.trial || record.state(other) != (SlotState::Trial { starts: 0 }) {
        return Ok(());
    }
    let record = opened
        .change(running.slot, Others::Wait, |record| Ok(record.missed()))
        .attempt("count a miss of", &other.to_string())?;
    let line = if record.selector_is_broken() {
        format!("selector broken: slot {other} is armed and was passed over {MISSES_MAX} times")
    } else {
        format!("slot {other} is armed, but slot {} was started: it stays armed", running.slot)
    };
    kmsg::log(Level::Warning, &line);
    Ok(())
}

/// Puts a panic down to a release. Returns whether that is the running one, on trial: then it has failed.
fn judge_panic(running: &Running, opened: &Opened, known: &Known, text: &str) -> Result<bool, Fault> {
    let story = Story::read(text);
    let why = story.panic.clone().unwrap_or_else(|| "an oops, see the log".to_owned());
    let culprit = known.culprit(story.root_hash);
    let slot = match culprit {
        Culprit::Running => running.slot,
        Culprit::Other => running.slot.other(),
        Culprit::Nobody => return Ok(false),
    };
    let mut before = None;
    let record = opened
        .change(running.slot, Others::Wait, |record| {
            before = Some(record);
            Ok(blame(&record, slot))
        })
        .attempt("write down the panic of", &slot.to_string())?;
    if before == Some(record) {
        let line = format!(
            "an earlier run of slot {slot} ended in a panic stage={} why=\"{why}\"",
            story.stage_or_kernel()
        );
        kmsg::log(Level::Warning, &line);
        return Ok(false);
    }
    let words = LastWords::new(slot, record.release(slot), Verdict::Panic, story.stage_or_kernel(), &why)
        .with_log(text.as_bytes());
    let event = if culprit == Culprit::Running { Event::Failed } else { Event::Explained };
    if culprit == Culprit::Running {
        verdict::report(&words);
    }
    verdict::keep(opened, &words, event)?;
    Ok(culprit == Culprit::Running)
}

/// The record after a panic of `slot`: a verdict where there was none.
fn blame(record: &Record, slot: Slot) -> Record {
    match record.state(slot) {
        SlotState::Trial { starts } if starts > 0 => record.fail(slot, Verdict::Panic).unwrap_or(*record),
        SlotState::Trial { .. }
        | SlotState::Empty
        | SlotState::Written
        | SlotState::Good
        | SlotState::Failed(_)
        | SlotState::Damaged => record.explain(slot, Verdict::Panic),
    }
}

impl Known {
    /// By the root hash in the log; by what the record says where the log does not reach back that far.
    fn culprit(&self, root_hash: Option<[u8; 32]>) -> Culprit {
        // Two releases with the same root image differ in their boot artefact alone: the hash tells nothing then.
        let tells = |hash: &[u8; 32]| *hash != self.own_hash || self.other_hash != Some(self.own_hash);
        match root_hash.filter(tells) {
            Some(hash) if hash == self.own_hash => Culprit::Running,
            Some(hash) if Some(hash) == self.other_hash => Culprit::Other,
            Some(_) => Culprit::Nobody,
            // A trial is started until it has a verdict: its second start follows its first one.
            None if self.starts > 1 => Culprit::Running,
            None if self.starts == 1 || self.other == SlotState::Failed(Verdict::NoVerdict) => Culprit::Other,
            None => Culprit::Running,
        }
    }
}

/// If the other slot has failed its trial: says so, and sees to it that its last words are kept.
fn tell_fallback(opened: &Opened, other: Slot, other_hash: Option<[u8; 32]>) -> Result<(), Fault> {
    let record = opened.record(other.other())?;
    let SlotState::Failed(verdict) = record.state(other) else {
        return Ok(());
    };
    let kept = meta::read_words(&opened.disk, &opened.meta)?;
    let words = if let Some(words) = kept.filter(|words| words.release == record.release(other)) {
        words
    } else {
        let words = find_words(opened, other, (record.release(other), verdict), other_hash);
        verdict::keep(opened, &words, Event::Explained)?;
        words
    };
    let version = opened.descriptor(other).map(|descriptor| descriptor.version.as_str().to_owned());
    let line = format!(
        "fallback slot={other} version={} verdict=\"{verdict}\" stage={} why=\"{}\"",
        version.as_deref().unwrap_or("unknown"),
        words.stage,
        words.reason
    );
    kmsg::log(Level::Warning, &line);
    Ok(())
}

/// Words for a release that left none itself: the ring has how far it came, if it was the last one to write there.
fn find_words(
    opened: &Opened,
    slot: Slot,
    (release, verdict): ([u8; 32], Verdict),
    root_hash: Option<[u8; 32]>,
) -> LastWords {
    let reason = match verdict {
        Verdict::Refused => "the firmware would not start its boot artefact",
        Verdict::ByHand => "an operator went back to the other release",
        Verdict::NoVerdict => "its starts ended without a word: it hung, was reset or lost power",
        Verdict::Panic | Verdict::Deadline | Verdict::Unhealthy | Verdict::Gate => "its own words are lost",
    };
    if verdict == Verdict::Refused {
        return LastWords::new(slot, release, verdict, "firmware", reason);
    }
    let ring = journal::before(opened).filter(|found| Some(found.root_hash) == root_hash);
    match ring {
        Some(found) => {
            let text = String::from_utf8_lossy(&found.text);
            LastWords::new(slot, release, verdict, Story::read(&text).stage_or_kernel(), reason)
                .with_log(&found.text)
        }
        None => LastWords::new(slot, release, verdict, "kernel", reason),
    }
}

/// The text of the newest panic that a recorder has kept, or of an oops.
fn newest_panic() -> Option<String> {
    let mut texts: Vec<(std::time::SystemTime, PathBuf)> = records()
        .into_iter()
        .filter_map(|path| Some((std::fs::metadata(&path).ok()?.modified().ok()?, path)))
        .collect();
    texts.sort();
    let texts = texts.into_iter().rev().filter_map(|(_, path)| {
        let bytes = coracle_block::read_limited(&path, RECORD_BYTES_MAX).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    });
    let (panics, others): (Vec<_>, Vec<_>) = texts.partition(|text| text.starts_with("Panic"));
    panics.into_iter().chain(others).next()
}

fn records() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(Path::new(RECORDS));
    let paths = entries.into_iter().flatten().flatten().map(|entry| entry.path());
    paths
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("dmesg-")))
        .collect()
}

/// What was read is erased: the next boot must not find it again.
fn forget_panics() {
    for path in records() {
        if let Err(error) = std::fs::remove_file(&path) {
            kmsg::log(Level::Warning, &format!("cannot erase {}: {error}", path.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: [u8; 32] = [1; 32];
    const OTHER: [u8; 32] = [2; 32];

    const fn known(starts: u8, other: SlotState) -> Known {
        Known { own_hash: OWN, other_hash: Some(OTHER), starts, other }
    }

    #[test]
    fn a_panic_is_put_down_to_the_release_on_its_command_line() {
        let known = known(1, SlotState::Good);
        assert_eq!(known.culprit(Some(OWN)), Culprit::Running);
        assert_eq!(known.culprit(Some(OTHER)), Culprit::Other);
        assert_eq!(known.culprit(Some([3; 32])), Culprit::Nobody);
    }

    #[test]
    fn of_two_releases_with_the_same_root_image_the_record_tells_who_ran_last() {
        let same = |starts, other| Known { other_hash: Some(OWN), ..known(starts, other) };
        assert_eq!(same(1, SlotState::Good).culprit(Some(OWN)), Culprit::Other);
        assert_eq!(same(2, SlotState::Good).culprit(Some(OWN)), Culprit::Running);
        assert_eq!(same(0, SlotState::Failed(Verdict::NoVerdict)).culprit(Some(OWN)), Culprit::Other);
        assert_eq!(same(1, SlotState::Good).culprit(Some([3; 32])), Culprit::Nobody);
    }

    #[test]
    fn without_a_command_line_the_record_tells_who_ran_last() {
        let failed = SlotState::Failed(Verdict::NoVerdict);
        assert_eq!(known(2, SlotState::Good).culprit(None), Culprit::Running);
        assert_eq!(known(1, SlotState::Good).culprit(None), Culprit::Other);
        assert_eq!(known(0, failed).culprit(None), Culprit::Other);
        assert_eq!(known(0, SlotState::Good).culprit(None), Culprit::Running);
    }

    #[test]
    fn a_panic_is_a_verdict_on_a_trial_and_explains_one_that_had_none_but_a_good_release_stays_good() {
        let record =
            Record::shipped([7; 32], 1, 0).written(Slot::B, [8; 32], 2, 0).unwrap().arm(Slot::B).unwrap();
        assert_eq!(blame(&record, Slot::B), record, "it was never started");
        let started = record.begin_boot(record.choose(&[]));
        assert_eq!(blame(&started, Slot::B).state(Slot::B), SlotState::Failed(Verdict::Panic));
        assert_eq!(blame(&started, Slot::A), started);
        let failed = started.fail(Slot::B, Verdict::NoVerdict).unwrap();
        assert_eq!(blame(&failed, Slot::B).state(Slot::B), SlotState::Failed(Verdict::Panic));
    }
}
