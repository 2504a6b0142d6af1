//! Every other change of the record. Each takes a record and gives the next one; nothing is written here.
//!
//! A transition that changes something raises the sequence number by one, one that changes nothing returns the record
//! as it was, so that the caller can skip the write: ten power cycles of a healthy machine write nothing.

use crate::record::{Floors, Record, Release, Slot, SlotState, Verdict};
use core::fmt;

/// How often the selector may pass over an armed release that it never started before it counts as broken.
pub const MISSES_MAX: u8 = 2;

/// A transition that the record does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedTransition {
    /// What was asked.
    pub action: &'static str,
    /// For which slot.
    pub slot: Slot,
    /// The state that slot is in.
    pub state: SlotState,
    /// What is in the way.
    pub obstacle: Obstacle,
}

/// What is in the way of a transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The state of the slot.
    State,
    /// The machine runs from the slot.
    Running,
    /// A release is on trial, in this slot or the other.
    Trial(Slot),
    /// The machine could fall back to no other slot.
    OnlyGood,
    /// The release failed before, and nobody asked to try it again.
    Blocked(Verdict),
    /// An operator went back by hand and has not released the hold.
    Hold,
    /// The release is of a lower security epoch than the floor.
    Epoch,
}

impl fmt::Display for RefusedTransition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} slot {}: ", self.action, self.slot)?;
        match self.obstacle {
            Obstacle::State => write!(f, "it is {}", self.state),
            Obstacle::Running => f.write_str("the machine runs from it"),
            Obstacle::Trial(slot) => write!(f, "the release in slot {slot} is on trial"),
            Obstacle::OnlyGood => f.write_str("it is the only good one"),
            Obstacle::Blocked(verdict) => write!(f, "its release failed before ({verdict})"),
            Obstacle::Hold => f.write_str("the machine was rolled back by hand and is held"),
            Obstacle::Epoch => f.write_str("its security epoch is lower than one that was committed here"),
        }
    }
}

impl core::error::Error for RefusedTransition {}

/// The next record, or what forbids it.
type Next = Result<Record, RefusedTransition>;

impl Record {
    /// What forbids overwriting `slot`, if anything does. The one rule that keeps the last bootable slot:
    ///
    /// - The running slot is never overwritten, and nothing is while a release is on trial in either slot.
    /// - A slot that is not good may be: nothing falls back to it, whatever state the running one is in. So a machine that
    ///   runs from a damaged or failed slot can be mended by an update.
    /// - A good slot may be when the running one is good as well.
    /// - A good slot may also be when the running one is not, if the selector could not start it: it names a slot that is
    ///   not good only after every good one was refused, and says so by a dry boot. Then the running slot is the one that
    ///   is known to start, and the other is good on paper only.
    pub fn forbids_overwriting(&self, slot: Slot) -> Option<Obstacle> {
        if let Some(trial) = self.on_trial() {
            return Some(Obstacle::Trial(trial));
        }
        if slot == self.booting {
            return Some(Obstacle::Running);
        }
        let one_is_enough = self.state(self.booting) == SlotState::Good || self.dry_boots > 0;
        (self.state(slot) == SlotState::Good && !one_is_enough).then_some(Obstacle::OnlyGood)
    }

    /// Before the spare slot is overwritten: see [`Record::forbids_overwriting`].
    pub fn clear(self, slot: Slot) -> Next {
        if let Some(obstacle) = self.forbids_overwriting(slot) {
            return Err(self.refusal("clear", slot, obstacle));
        }
        let mut next = self.emptied(slot);
        next.last_good = self.booting;
        Ok(next.stamped(self))
    }

    /// The spare slot holds `release` of this security epoch, read back from the device and compared. Requires
    /// [`Record::clear`].
    pub fn written(self, slot: Slot, release: Release, version: u64, epoch: u32) -> Next {
        self.require_spare("fill", slot)?;
        if self.state(slot) != SlotState::Empty {
            return Err(self.refusal("fill", slot, Obstacle::State));
        }
        Ok(self.with(slot, SlotState::Written).holding(slot, release, version, epoch).stamped(self))
    }

    /// The written slot boots next, up to [`crate::TRIAL_STARTS`] times, before the running one is used again. Refused
    /// for a release that failed before, for one below the epoch floor, and while there is a hold.
    pub fn arm(self, slot: Slot) -> Next {
        self.require_spare("arm", slot)?;
        if self.state(slot) != SlotState::Written {
            return Err(self.refusal("arm", slot, Obstacle::State));
        }
        if let Some(verdict) = self.blocked(&self.release(slot)) {
            return Err(self.refusal("arm", slot, Obstacle::Blocked(verdict)));
        }
        if self.epoch(slot) < self.floors.epoch {
            return Err(self.refusal("arm", slot, Obstacle::Epoch));
        }
        if self.hold {
            return Err(self.refusal("arm", slot, Obstacle::Hold));
        }
        let mut next = self.with(slot, SlotState::Trial { starts: 0 });
        next.misses = 0;
        // The selector falls back to the last good slot: that has to be the one that is known to run.
        next.last_good = self.booting;
        Ok(next.stamped(self))
    }

    /// The running slot is healthy: it is good, and the one to fall back to from now on. Its security epoch becomes the
    /// floor, and a release of a lower epoch in the other slot is retired: that slot is empty, so that nothing goes back
    /// there. Changes nothing about a running slot that an operator has just left by [`Record::roll_back`].
    pub fn commit(self) -> Next {
        let slot = self.booting;
        match self.state(slot) {
            SlotState::Good if self.hold => Ok(self),
            SlotState::Trial { .. } | SlotState::Good => {
                let mut next = self.with(slot, SlotState::Good);
                next.last_good = slot;
                next.floors.epoch = next.floors.epoch.max(next.epoch(slot));
                if next.epoch(slot.other()) < next.floors.epoch {
                    next = next.emptied(slot.other());
                }
                Ok(next.stamped(self))
            }
            SlotState::Empty | SlotState::Written | SlotState::Failed(_) | SlotState::Damaged => {
                Err(self.refusal("commit", slot, Obstacle::State))
            }
        }
    }

    /// The release on trial failed, and why: it is not armed again before [`Record::retry`]. Refused when nothing is on
    /// trial in `slot`.
    pub fn fail(self, slot: Slot, verdict: Verdict) -> Next {
        match self.state(slot) {
            SlotState::Trial { .. } => Ok(self.failed(slot, verdict).stamped(self)),
            SlotState::Empty
            | SlotState::Written
            | SlotState::Good
            | SlotState::Failed(_)
            | SlotState::Damaged => Err(self.refusal("fail", slot, Obstacle::State)),
        }
    }

    /// Gives the reason of a failure without a verdict, found by the release that took over. Changes nothing about any
    /// other slot.
    pub fn explain(self, slot: Slot, verdict: Verdict) -> Self {
        if self.state(slot) != SlotState::Failed(Verdict::NoVerdict) {
            return self;
        }
        let mut next = self.with(slot, SlotState::Failed(verdict));
        next.blocked = self.blocked.explained(&self.release(slot), verdict);
        next.stamped(self)
    }

    /// A byte of `slot` did not match its hash: it is skipped from now on, committed or not.
    pub fn damage(self, slot: Slot) -> Self {
        self.with(slot, SlotState::Damaged).stamped(self)
    }

    /// The release may be tried again. If the spare slot still holds it, it counts as written; read it back and compare
    /// before it is armed.
    pub fn retry(self, release: &Release) -> Self {
        let mut next = self;
        next.blocked = self.blocked.without(release);
        for slot in Slot::ALL {
            let failed = matches!(self.state(slot), SlotState::Failed(_));
            if failed && slot != self.booting && self.release(slot) == *release {
                next = next.with(slot, SlotState::Written);
            }
        }
        next.stamped(self)
    }

    /// By hand: the other slot, if it is good, is booted from now on, and nothing is armed before
    /// [`Record::release_hold`]. A release on trial that is left this way has failed.
    pub fn roll_back(self) -> Next {
        let (running, other) = (self.booting, self.booting.other());
        if self.state(other) != SlotState::Good {
            return Err(self.refusal("go back to", other, Obstacle::State));
        }
        let mut next = self;
        if let SlotState::Trial { .. } = self.state(running) {
            next = next.failed(running, Verdict::ByHand);
        }
        next.last_good = other;
        next.hold = true;
        Ok(next.stamped(self))
    }

    /// By hand: the release that is armed in the other slot is not booted; it is written, as before it was armed, and
    /// nothing is armed before [`Record::release_hold`]. Nothing speaks against the release.
    pub fn disarm(self) -> Next {
        let other = self.booting.other();
        let SlotState::Trial { .. } = self.state(other) else {
            return Err(self.refusal("disarm", other, Obstacle::State));
        };
        let mut next = self.with(other, SlotState::Written);
        (next.hold, next.misses) = (true, 0);
        Ok(next.stamped(self))
    }

    /// Updates may be armed again.
    pub fn release_hold(self) -> Self {
        let mut next = self;
        next.hold = false;
        next.stamped(self)
    }

    /// For the running system, once per boot: counts an armed release that the selector passed over without starting it
    /// once. It stays armed. Changes nothing otherwise.
    pub fn missed(self) -> Self {
        let mut next = self;
        if self.state(self.booting.other()) == (SlotState::Trial { starts: 0 }) {
            next.misses = self.misses.saturating_add(1).min(MISSES_MAX);
        }
        next.stamped(self)
    }

    /// Whether the selector has passed over an armed release [`MISSES_MAX`] times.
    pub const fn selector_is_broken(&self) -> bool {
        self.misses >= MISSES_MAX
    }

    /// Raises what is lower; nothing falls.
    pub fn raise_floors(self, floors: Floors) -> Self {
        let mut next = self;
        next.floors = self.floors.max(floors);
        next.stamped(self)
    }

    /// The running release says itself of which security epoch it is: a record that was made anew does not know it. Of a
    /// good release it is the floor. Changes nothing otherwise.
    pub fn running_epoch(self, running: Slot, epoch: u32) -> Self {
        let mut next = self;
        next.epochs[running.index()] = epoch;
        if self.state(running) == SlotState::Good {
            next.floors.epoch = self.floors.epoch.max(epoch);
        }
        next.stamped(self)
    }

    /// A newer root has replaced the keys of timestamp or snapshot: what was signed with the old ones sets no floor any
    /// more (fast-forward recovery, TUF specification 5.3.11). Changes nothing unless the root is newer than the floor, so
    /// that it happens once for each root.
    pub fn recover_timestamp(self, root_version: u32) -> Self {
        if root_version <= self.floors.root_version {
            return self;
        }
        let mut next = self;
        next.floors = Floors { root_version, timestamp_version: 0, issued: 0, ..self.floors };
        next.stamped(self)
    }

    /// `slot` is not the running one, and nothing is on trial.
    fn require_spare(&self, action: &'static str, slot: Slot) -> Result<(), RefusedTransition> {
        if let Some(trial) = self.on_trial() {
            return Err(self.refusal(action, slot, Obstacle::Trial(trial)));
        }
        if slot == self.booting {
            return Err(self.refusal(action, slot, Obstacle::Running));
        }
        Ok(())
    }

    const fn refusal(&self, action: &'static str, slot: Slot, obstacle: Obstacle) -> RefusedTransition {
        RefusedTransition { action, slot, state: self.state(slot), obstacle }
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
