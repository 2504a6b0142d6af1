//! What the selector boots, and what it writes before it does.

use crate::record::{Record, Slot, SlotState, Verdict};
use core::fmt;

/// How often a release on trial is started before it counts as failed without a verdict.
pub const TRIAL_STARTS: u8 = 3;
/// The first pause before a slot is tried that nothing recommends, seconds. It doubles with each such boot in a row.
pub const PAUSE_SECONDS: u64 = 10;
/// The longest such pause, seconds.
pub const PAUSE_SECONDS_MAX: u64 = 320;
/// As many dry boots make the longest pause; more are not counted, so that nothing is written for them.
const DRY_BOOTS_MAX: u8 = 6;

/// Why the selector chose a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is on trial and has starts left.
    Trial,
    /// It committed last.
    LastGood,
    /// An operator went back to it by hand.
    Held,
    /// It is good, and the slot that committed last cannot be used.
    OtherGood,
    /// Nothing may be booted: a slot is tried all the same, after a pause.
    NothingEligible,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trial => "on trial",
            Self::LastGood => "last good",
            Self::Held => "last good, held by hand",
            Self::OtherGood => "the other slot cannot be used",
            Self::NothingEligible => "nothing is eligible",
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

impl Record {
    /// What the selector boots, given which slots the firmware has refused in this very power-on. A trial comes first
    /// unless there is a hold, then the last good slot, then any good one; a refused slot is never chosen while another
    /// is left. Where nothing is eligible, the last good slot is named although it is not, and after it the other one
    /// unless that is empty. A release that was written and never tried takes turns with it, power-on by power-on: one of
    /// the two may well run.
    pub fn choose(&self, refused: &[Slot]) -> Choice {
        let usable = |slot: Slot| !refused.contains(&slot);
        let trial = Slot::ALL.into_iter().find(|slot| {
            usable(*slot) && matches!(self.state(*slot), SlotState::Trial { starts } if starts < TRIAL_STARTS)
        });
        if let Some(slot) = trial
            && !self.hold
        {
            return Choice { slot, reason: Reason::Trial };
        }
        let good = |slot: Slot| usable(slot) && self.state(slot) == SlotState::Good;
        if good(self.last_good) {
            let reason = if self.hold { Reason::Held } else { Reason::LastGood };
            return Choice { slot: self.last_good, reason };
        }
        let other = self.last_good.other();
        if good(other) {
            return Choice { slot: other, reason: Reason::OtherGood };
        }
        let turn =
            self.state(other) == SlotState::Written && self.dry_boots > 0 && self.booting == self.last_good;
        let may_try = usable(other) && self.state(other) != SlotState::Empty;
        let try_other = may_try && (turn || !usable(self.last_good));
        Choice { slot: if try_other { other } else { self.last_good }, reason: Reason::NothingEligible }
    }

    /// The record to have on disk *before* the chosen slot is started: a trial's start is counted, a trial without
    /// starts left has failed, and the running system can read which slot it is.
    pub fn begin_boot(self, choice: Choice) -> Self {
        let mut next = self;
        for slot in Slot::ALL {
            let SlotState::Trial { starts } = self.state(slot) else {
                continue;
            };
            if choice == (Choice { slot, reason: Reason::Trial }) {
                next = next.with(slot, SlotState::Trial { starts: starts.saturating_add(1) });
                next.misses = 0;
            } else if starts >= TRIAL_STARTS {
                next = next.failed(slot, Verdict::NoVerdict);
            }
        }
        next.booting = choice.slot;
        next.dry_boots = match choice.reason {
            Reason::NothingEligible => self.dry_boots.saturating_add(1).min(DRY_BOOTS_MAX),
            Reason::Trial | Reason::LastGood | Reason::Held | Reason::OtherGood => 0,
        };
        next.stamped(self)
    }

    /// Nothing could be started: the next pause is longer than the one before this power-on, when the record was
    /// `at_power_on`.
    pub fn back_off(self, at_power_on: &Self) -> Self {
        let mut next = self;
        let dry_boots = at_power_on.dry_boots.saturating_add(1).min(DRY_BOOTS_MAX);
        next.dry_boots = self.dry_boots.max(dry_boots);
        next.stamped(self)
    }

    /// How long to wait before the next attempt when nothing is eligible or nothing could be started, seconds.
    pub fn pause_seconds(&self) -> u64 {
        let doublings = u32::from(self.dry_boots.saturating_sub(1).min(DRY_BOOTS_MAX));
        (PAUSE_SECONDS << doublings).min(PAUSE_SECONDS_MAX)
    }

    /// The firmware refused the boot artefact of `slot`: a trial has failed; a good slot stays as it is, since nothing
    /// says that the firmware will refuse it again.
    pub fn refuse(self, slot: Slot) -> Self {
        match self.state(slot) {
            SlotState::Trial { .. } => self.failed(slot, Verdict::Refused).stamped(self),
            SlotState::Empty
            | SlotState::Written
            | SlotState::Good
            | SlotState::Failed(_)
            | SlotState::Damaged => self,
        }
    }

    pub(crate) fn failed(mut self, slot: Slot, verdict: Verdict) -> Self {
        self.blocked = self.blocked.with(self.release(slot), verdict);
        self.with(slot, SlotState::Failed(verdict))
    }
}
