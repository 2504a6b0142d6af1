//! The dead-man switch of a release on trial. Pure.
//!
//! Whatever the rest of the system does: a release that is not committed on the disk before its deadline has failed, and
//! so has one whose health gate has ended. A machine that is stopped meanwhile has failed nothing.

use coracle_slots::Verdict;

/// How long the verdict may take to be written before the machine reboots without it.
pub(super) const JUDGING_MS: u64 = 15_000;
/// The deadline of a release whose configuration names none.
pub(super) const DEADLINE_MS_DEFAULT: u64 = 300_000;

/// How long it may take to learn whether the running release is on trial, from the start of the kernel. The job that finds
/// out is killed before; only one that a hanging disk does not let go takes longer.
pub(super) const UNKNOWN_MS: u64 = 330_000;

/// Where the trial stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trial {
    /// The record has not been read.
    Unknown,
    /// There is no trial, and the release is not known to be good: it runs, and nothing is committed.
    Uncommitted,
    /// The running release is on trial until the clock shows `deadline`.
    Watching {
        /// Milliseconds since the kernel started.
        deadline: u64,
    },
    /// It failed; the verdict is being written, until the clock shows `until` at the latest.
    Judging {
        /// The verdict.
        verdict: Verdict,
        /// Milliseconds since the kernel started.
        until: u64,
    },
    /// It is committed, or was before this start.
    Committed,
    /// The machine stops.
    Over,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The record was read: the release was committed before.
    NotOnTrial,
    /// There is no trial and no commit: the record cannot be read, or it says that the release must not be booted and the
    /// selector had nothing else.
    Uncommitted,
    /// The record was read: on trial until this moment.
    OnTrial {
        /// Milliseconds since the kernel started.
        deadline: u64,
    },
    /// The root image of the release cannot be mounted.
    NoSystem,
    /// Time passed.
    Tick,
    /// The commit is on the disk.
    CommitSeen,
    /// Somebody has written a verdict.
    VerdictSeen,
    /// The health gate ended, or was ended because it fell silent.
    GateEnded,
    /// The verdict is written, or that failed.
    Judged,
    /// The machine stops for another reason.
    Stop,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Start the health gate, and the job that watches the record.
    Watch,
    /// Tell every service that the running release is committed.
    TellCommitted,
    /// Start the job that writes this verdict.
    Judge(Verdict),
    /// Reboot: the release has failed.
    Reboot,
}

impl Trial {
    /// The next state, and what to do.
    pub(super) const fn step(self, event: Event, now: u64) -> (Self, Option<Effect>) {
        match (self, event) {
            (Self::Over, _) | (_, Event::Stop) => (Self::Over, None),
            (Self::Unknown, Event::NotOnTrial) => (Self::Committed, Some(Effect::TellCommitted)),
            (Self::Unknown, Event::OnTrial { deadline }) => {
                (Self::Watching { deadline }, Some(Effect::Watch))
            }
            (Self::Unknown, Event::Uncommitted) => (Self::Uncommitted, None),
            // It may be on trial: its start is counted, and after three of them the selector gives it up.
            (Self::Unknown, Event::Tick) if UNKNOWN_MS <= now => (Self::Over, Some(Effect::Reboot)),
            // A gate that ended may have committed just before: the job that writes the verdict looks first.
            (Self::Watching { .. } | Self::Judging { .. }, Event::CommitSeen) => {
                (Self::Committed, Some(Effect::TellCommitted))
            }
            (Self::Watching { .. }, Event::GateEnded) => judge(Verdict::Gate, now),
            (Self::Watching { .. }, Event::NoSystem) => judge(Verdict::Unhealthy, now),
            (Self::Watching { deadline }, Event::Tick) if deadline <= now => judge(Verdict::Deadline, now),
            (Self::Watching { .. }, Event::VerdictSeen) | (Self::Judging { .. }, Event::Judged) => {
                (Self::Over, Some(Effect::Reboot))
            }
            (Self::Judging { until, .. }, Event::Tick) if until <= now => (Self::Over, Some(Effect::Reboot)),
            (_, _) => (self, None),
        }
    }

    /// When [`Event::Tick`] is due.
    pub(super) const fn next_event(self) -> Option<u64> {
        match self {
            Self::Watching { deadline } => Some(deadline),
            Self::Judging { until, .. } => Some(until),
            Self::Unknown => Some(UNKNOWN_MS),
            Self::Uncommitted | Self::Committed | Self::Over => None,
        }
    }

    /// Whether a verdict may still come.
    pub(super) const fn is_open(self) -> bool {
        matches!(self, Self::Watching { .. } | Self::Judging { .. })
    }

    /// Whether the record is to be watched for a commit.
    pub(super) const fn is_watching(self) -> bool {
        matches!(self, Self::Watching { .. })
    }
}

const fn judge(verdict: Verdict, now: u64) -> (Trial, Option<Effect>) {
    (Trial::Judging { verdict, until: now.saturating_add(JUDGING_MS) }, Some(Effect::Judge(verdict)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ON_TRIAL: Event = Event::OnTrial { deadline: 1000 };

    /// The end of a trial, and everything that was done.
    fn play(events: &[(u64, Event)]) -> (Trial, Vec<Effect>) {
        let mut trial = Trial::Unknown;
        let mut effects = Vec::new();
        for (now, event) in events {
            let (next, effect) = trial.step(*event, *now);
            trial = next;
            effects.extend(effect);
        }
        (trial, effects)
    }

    #[test]
    fn a_release_that_is_not_on_trial_counts_as_committed_at_once() {
        let (trial, effects) = play(&[(5, Event::NotOnTrial), (9999, Event::Tick), (9999, Event::GateEnded)]);
        assert_eq!((trial, effects), (Trial::Committed, vec![Effect::TellCommitted]));
    }

    #[test]
    fn a_record_that_cannot_be_read_commits_nothing() {
        let (trial, effects) = play(&[(5, Event::Uncommitted), (9999, Event::Tick), (9999, Event::NoSystem)]);
        assert_eq!((trial, effects), (Trial::Uncommitted, vec![]));
    }

    #[test]
    fn a_disk_that_never_tells_whether_there_is_a_trial_ends_in_a_reboot() {
        assert_eq!(Trial::Unknown.next_event(), Some(UNKNOWN_MS));
        let (trial, effects) = play(&[(UNKNOWN_MS - 1, Event::Tick)]);
        assert_eq!((trial, effects), (Trial::Unknown, vec![]));
        let (trial, effects) = play(&[(UNKNOWN_MS, Event::Tick), (UNKNOWN_MS + 1, ON_TRIAL)]);
        assert_eq!((trial, effects), (Trial::Over, vec![Effect::Reboot]));
        for told in [Event::NotOnTrial, Event::Uncommitted] {
            let (_, effects) = play(&[(5, told), (UNKNOWN_MS, Event::Tick)]);
            assert!(!effects.contains(&Effect::Reboot));
        }
    }

    #[test]
    fn a_commit_on_the_disk_before_the_deadline_ends_the_trial() {
        let (trial, effects) =
            play(&[(5, ON_TRIAL), (999, Event::Tick), (999, Event::CommitSeen), (2000, Event::Tick)]);
        assert_eq!((trial, effects), (Trial::Committed, vec![Effect::Watch, Effect::TellCommitted]));
    }

    #[test]
    fn at_the_deadline_the_verdict_is_written_and_then_the_machine_reboots() {
        let (trial, effects) = play(&[(5, ON_TRIAL), (1000, Event::Tick), (1200, Event::Judged)]);
        let expected = vec![Effect::Watch, Effect::Judge(Verdict::Deadline), Effect::Reboot];
        assert_eq!((trial, effects), (Trial::Over, expected));
    }

    #[test]
    fn a_disk_that_hangs_does_not_keep_the_machine_from_rebooting() {
        let (_, effects) = play(&[(5, ON_TRIAL), (1000, Event::Tick), (1000 + JUDGING_MS, Event::Tick)]);
        assert_eq!(effects.last(), Some(&Effect::Reboot));
    }

    #[test]
    fn a_gate_that_ended_has_failed_unless_it_had_committed() {
        let (_, effects) = play(&[(5, ON_TRIAL), (50, Event::GateEnded), (60, Event::Judged)]);
        assert_eq!(effects, [Effect::Watch, Effect::Judge(Verdict::Gate), Effect::Reboot]);
        let (trial, effects) = play(&[(5, ON_TRIAL), (50, Event::GateEnded), (60, Event::CommitSeen)]);
        assert_eq!(effects.last(), Some(&Effect::TellCommitted));
        assert_eq!(trial, Trial::Committed);
    }

    #[test]
    fn a_trial_that_is_stopped_has_no_verdict() {
        let (trial, effects) =
            play(&[(5, ON_TRIAL), (50, Event::Stop), (51, Event::GateEnded), (5000, Event::Tick)]);
        assert_eq!((trial, effects), (Trial::Over, vec![Effect::Watch]));
    }

    fn events() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::NotOnTrial),
            Just(Event::Uncommitted),
            Just(ON_TRIAL),
            Just(Event::NoSystem),
            Just(Event::Tick),
            Just(Event::CommitSeen),
            Just(Event::VerdictSeen),
            Just(Event::GateEnded),
            Just(Event::Judged),
            Just(Event::Stop),
        ]
    }

    proptest! {
        #[test]
        fn every_trial_ends_by_itself_and_never_both_ways(
            steps in proptest::collection::vec((events(), 0_u64..400), 0..30)
        ) {
            let mut now = 0;
            let mut timed = Vec::new();
            for (event, pause) in steps {
                now += pause;
                timed.push((now, event));
            }
            // Then nothing happens any more but that time passes.
            timed.extend([(now + 1000, Event::Tick), (now + 1000 + JUDGING_MS, Event::Tick)]);
            let (trial, effects) = play(&timed);
            prop_assert!(!trial.is_open(), "{trial:?}");
            let count = |wanted: fn(&Effect) -> bool| effects.iter().filter(|effect| wanted(effect)).count();
            let ends = count(|effect| matches!(effect, Effect::TellCommitted | Effect::Reboot));
            prop_assert!(ends <= 1, "{effects:?}");
            prop_assert!(count(|effect| matches!(effect, Effect::Judge(_))) <= 1);
            let on_trial = count(|effect| *effect == Effect::Watch) == 1;
            let stopped = timed.iter().any(|(_, event)| *event == Event::Stop);
            prop_assert!(!on_trial || stopped || ends == 1, "a trial was forgotten");
        }
    }
}
