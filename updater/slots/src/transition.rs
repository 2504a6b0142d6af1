//! Every change of the record. Each takes a record and gives the next one; nothing is written here.
//!
//! A transition that changes something raises the sequence number by one, one that changes nothing returns the record
//! as it was, so that the caller can skip the write: ten power cycles of a healthy machine write nothing.

use crate::record::{Record, Release, Slot, SlotState, Verdict};
use core::fmt;

/// How often a release on trial is started before it counts as failed without a verdict.
pub const TRIAL_STARTS: u8 = 3;

/// Why the selector chose a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is on trial and has starts left.
    Trial,
    /// It committed last.
    LastGood,
    /// It is good, and the slot that committed last cannot be used.
    OtherGood,
    /// Nothing may be booted: the slot that committed last is tried all the same, after a pause.
    NothingEligible,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trial => "on trial",
            Self::LastGood => "last good",
            Self::OtherGood => "the other slot cannot be used",
            Self::NothingEligible => "nothing is eligible, last good again",
        })
    }
}

/// What to boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The slot.
    pub slot: Slot,
    /// Why.
    pub reason: Reason,
}

/// A transition that the record's state does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedTransition {
    /// What was asked.
    pub action: &'static str,
    /// For which slot.
    pub slot: Slot,
    /// The state that forbids it.
    pub state: SlotState,
}

impl fmt::Display for RefusedTransition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} slot {}: it is {}", self.action, self.slot, self.state)
    }
}

impl core::error::Error for RefusedTransition {}

impl Record {
    /// What the selector boots, given which slots the firmware has refused in this very power-on. A trial comes first,
    /// then the last good slot, then any good one; a refused slot is never chosen while another is left.
    pub fn choose(&self, refused: &[Slot]) -> Choice {
        let usable = |slot: Slot| !refused.contains(&slot);
        let trial = Slot::ALL.into_iter().find(|slot| {
            usable(*slot) && matches!(self.state(*slot), SlotState::Trial { starts } if starts < TRIAL_STARTS)
        });
        if let Some(slot) = trial {
            return Choice { slot, reason: Reason::Trial };
        }
        let good = |slot: Slot| usable(slot) && self.state(slot) == SlotState::Good;
        if good(self.last_good) {
            return Choice { slot: self.last_good, reason: Reason::LastGood };
        }
        let other = self.last_good.other();
        if good(other) {
            return Choice { slot: other, reason: Reason::OtherGood };
        }
        Choice { slot: self.last_good, reason: Reason::NothingEligible }
    }

    /// The record to have on disk *before* the chosen slot is started: a trial's start is counted, a trial without
    /// starts left has failed, and the running system can read which slot it is.
    pub fn begin_boot(self, choice: Choice) -> Self {
        let mut next = self;
        for slot in Slot::ALL {
            if let SlotState::Trial { starts } = self.state(slot) {
                let state = match choice {
                    Choice { slot: chosen, reason: Reason::Trial } if chosen == slot => {
                        SlotState::Trial { starts: starts.saturating_add(1) }
                    }
                    _ if starts >= TRIAL_STARTS => SlotState::Failed(Verdict::NoVerdict),
                    _ => SlotState::Trial { starts },
                };
                next = next.with(slot, state);
            }
        }
        next.booting = choice.slot;
        next.stamped(self)
    }

    /// The firmware refused the boot artefact of `slot`: a trial has failed; a good slot stays as it is, since nothing
    /// says that the firmware will refuse it again.
    pub fn refuse(self, slot: Slot) -> Self {
        match self.state(slot) {
            SlotState::Trial { .. } => self.with(slot, SlotState::Failed(Verdict::Refused)).stamped(self),
            SlotState::Empty
            | SlotState::Written
            | SlotState::Good
            | SlotState::Failed(_)
            | SlotState::Damaged => self,
        }
    }

    /// Before the spare slot is overwritten. Refused for the running slot and while it is on trial.
    pub fn clear(self, slot: Slot) -> Result<Self, RefusedTransition> {
        let refused = RefusedTransition { action: "clear", slot, state: self.state(slot) };
        if slot == self.booting || self.on_trial().is_some() {
            return Err(refused);
        }
        let mut next = self.with(slot, SlotState::Empty).with_release(slot, [0; 32]);
        next.last_good = self.booting;
        Ok(next.stamped(self))
    }

    /// The spare slot holds `release`, read back from the device and compared.
    pub fn written(self, slot: Slot, release: Release) -> Result<Self, RefusedTransition> {
        match self.state(slot) {
            SlotState::Empty if slot != self.booting => {
                Ok(self.with(slot, SlotState::Written).with_release(slot, release).stamped(self))
            }
            state @ (SlotState::Empty
            | SlotState::Written
            | SlotState::Trial { .. }
            | SlotState::Good
            | SlotState::Failed(_)
            | SlotState::Damaged) => Err(RefusedTransition { action: "fill", slot, state }),
        }
    }

    /// The written slot boots next, up to [`TRIAL_STARTS`] times, before the running one is used again.
    pub fn arm(self, slot: Slot) -> Result<Self, RefusedTransition> {
        match self.state(slot) {
            SlotState::Written => Ok(self.with(slot, SlotState::Trial { starts: 0 }).stamped(self)),
            state @ (SlotState::Empty
            | SlotState::Trial { .. }
            | SlotState::Good
            | SlotState::Failed(_)
            | SlotState::Damaged) => Err(RefusedTransition { action: "arm", slot, state }),
        }
    }

    /// The running slot is healthy: it is good, and the one to fall back to from now on.
    pub fn commit(self) -> Result<Self, RefusedTransition> {
        let slot = self.booting;
        match self.state(slot) {
            SlotState::Trial { .. } | SlotState::Good => {
                let mut next = self.with(slot, SlotState::Good);
                next.last_good = slot;
                Ok(next.stamped(self))
            }
            state @ (SlotState::Empty | SlotState::Written | SlotState::Failed(_) | SlotState::Damaged) => {
                Err(RefusedTransition { action: "commit", slot, state })
            }
        }
    }

    /// The release on trial failed, and why. Refused when nothing is on trial in `slot`.
    pub fn fail(self, slot: Slot, verdict: Verdict) -> Result<Self, RefusedTransition> {
        match self.state(slot) {
            SlotState::Trial { .. } => Ok(self.with(slot, SlotState::Failed(verdict)).stamped(self)),
            state @ (SlotState::Empty
            | SlotState::Written
            | SlotState::Good
            | SlotState::Failed(_)
            | SlotState::Damaged) => Err(RefusedTransition { action: "fail", slot, state }),
        }
    }

    /// A byte of `slot` did not match its hash: it is skipped from now on, committed or not.
    pub fn damage(self, slot: Slot) -> Self {
        self.with(slot, SlotState::Damaged).stamped(self)
    }

    /// The slot on trial, if there is one.
    pub fn on_trial(&self) -> Option<Slot> {
        Slot::ALL.into_iter().find(|slot| matches!(self.state(*slot), SlotState::Trial { .. }))
    }

    fn stamped(mut self, before: Self) -> Self {
        if self != before {
            self.sequence = before.sequence.saturating_add(1);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    extern crate alloc;
    use super::*;
    use alloc::vec::Vec;

    const STATES: [SlotState; 9] = [
        SlotState::Empty,
        SlotState::Written,
        SlotState::Trial { starts: 0 },
        SlotState::Trial { starts: TRIAL_STARTS },
        SlotState::Good,
        SlotState::Failed(Verdict::Panic),
        SlotState::Failed(Verdict::Refused),
        SlotState::Failed(Verdict::NoVerdict),
        SlotState::Damaged,
    ];

    fn records() -> Vec<Record> {
        let mut out = Vec::new();
        for a in STATES {
            for b in STATES {
                for last_good in Slot::ALL {
                    for booting in Slot::ALL {
                        let mut record = Record::shipped([7; 32]).with(Slot::A, a).with(Slot::B, b);
                        record.last_good = last_good;
                        record.booting = booting;
                        out.push(record);
                    }
                }
            }
        }
        out
    }

    #[test]
    fn a_slot_is_only_booted_when_good_or_on_trial_unless_nothing_is() {
        for record in records() {
            let choice = record.choose(&[]);
            let state = record.state(choice.slot);
            match choice.reason {
                Reason::Trial => {
                    assert!(matches!(state, SlotState::Trial { starts } if starts < TRIAL_STARTS));
                }
                Reason::LastGood | Reason::OtherGood => assert_eq!(state, SlotState::Good),
                Reason::NothingEligible => {
                    assert!(Slot::ALL.into_iter().all(|slot| record.state(slot) != SlotState::Good));
                }
            }
        }
    }

    #[test]
    fn a_refused_slot_gives_way_to_any_other_good_one() {
        for record in records() {
            for slot in Slot::ALL {
                let choice = record.choose(&[slot]);
                if record.state(slot.other()) == SlotState::Good {
                    assert_eq!(choice.slot, slot.other());
                }
            }
        }
    }

    #[test]
    fn a_healthy_machine_writes_nothing_when_it_boots() {
        let record = Record::shipped([7; 32]);
        assert_eq!(record.begin_boot(record.choose(&[])), record);
    }

    #[test]
    fn a_trial_without_a_verdict_is_started_three_times_and_then_fails() {
        let mut record = Record::shipped([7; 32]).written(Slot::B, [8; 32]).unwrap().arm(Slot::B).unwrap();
        for start in 1..=TRIAL_STARTS {
            let choice = record.choose(&[]);
            assert_eq!(choice, Choice { slot: Slot::B, reason: Reason::Trial });
            record = record.begin_boot(choice);
            assert_eq!(record.state(Slot::B), SlotState::Trial { starts: start });
        }
        let choice = record.choose(&[]);
        assert_eq!(choice, Choice { slot: Slot::A, reason: Reason::LastGood });
        record = record.begin_boot(choice);
        assert_eq!(record.state(Slot::B), SlotState::Failed(Verdict::NoVerdict));
        assert_eq!(record.booting(), Slot::A);
    }

    #[test]
    fn the_running_slot_is_never_cleared_and_no_slot_is_during_a_trial() {
        for record in records() {
            for slot in Slot::ALL {
                match record.clear(slot) {
                    Ok(next) => {
                        assert!(slot != record.booting() && record.on_trial().is_none());
                        assert_eq!(next.state(slot), SlotState::Empty);
                        assert_eq!(next.state(slot.other()), record.state(slot.other()));
                    }
                    Err(_) => assert!(slot == record.booting() || record.on_trial().is_some()),
                }
            }
        }
    }

    #[test]
    fn an_update_goes_from_cleared_over_written_and_trial_to_good() {
        let record = Record::shipped([7; 32]);
        let record = record.clear(Slot::B).unwrap().written(Slot::B, [8; 32]).unwrap();
        let record = record.arm(Slot::B).unwrap();
        let record = record.begin_boot(record.choose(&[])).commit().unwrap();
        assert_eq!(record.state(Slot::B), SlotState::Good);
        assert_eq!((record.last_good(), record.release(Slot::B)), (Slot::B, [8; 32]));
        assert_eq!(record.choose(&[]), Choice { slot: Slot::B, reason: Reason::LastGood });
    }

    #[test]
    fn transitions_say_what_forbids_them() {
        let error = Record::shipped([7; 32]).arm(Slot::B).unwrap_err();
        assert_eq!(alloc::format!("{error}"), "cannot arm slot B: it is empty");
    }

    #[test]
    fn a_damaged_slot_is_skipped_even_when_it_committed_last() {
        let record = Record::shipped([7; 32]).with(Slot::B, SlotState::Good).damage(Slot::A);
        assert_eq!(record.choose(&[]), Choice { slot: Slot::B, reason: Reason::OtherGood });
    }

    #[test]
    fn every_change_raises_the_sequence_by_one() {
        for record in records() {
            let nexts = [
                Some(record.begin_boot(record.choose(&[]))),
                Some(record.refuse(Slot::A)),
                Some(record.damage(Slot::B)),
                record.commit().ok(),
                record.arm(Slot::B).ok(),
                record.clear(Slot::B).ok(),
            ];
            for next in nexts.into_iter().flatten() {
                assert_eq!(next.sequence(), record.sequence() + u64::from(next != record));
            }
        }
    }
}
