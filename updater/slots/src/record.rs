//! What the record says.

use core::fmt;

/// One of the two slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Slot A, the one an image ships filled.
    A,
    /// Slot B.
    B,
}

impl Slot {
    /// Both slots.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::B => "B",
        })
    }
}

/// Why a release failed its trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The kernel panicked or PID 1 ended.
    Panic,
    /// The deadline passed without a commit.
    Deadline,
    /// A health check or a declared container failed.
    Unhealthy,
    /// It was started [`crate::TRIAL_STARTS`] times and never gave a verdict.
    NoVerdict,
    /// The firmware would not load or start its boot artefact.
    Refused,
}

/// What a slot is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// Nothing that may be booted: never filled, or being written.
    Empty,
    /// Written and read back, not yet offered to the selector.
    Written,
    /// Booted next, until it commits or fails; `starts` boots were begun so far.
    Trial {
        /// Boots begun.
        starts: u8,
    },
    /// Committed: it was healthy once.
    Good,
    /// Failed its trial.
    Failed(Verdict),
    /// Its bytes no longer match their hashes.
    Damaged,
}

impl fmt::Display for SlotState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("empty"),
            Self::Written => f.write_str("written"),
            Self::Trial { starts } => write!(f, "on trial ({starts} starts)"),
            Self::Good => f.write_str("good"),
            Self::Failed(verdict) => f.write_str(match verdict {
                Verdict::Panic => "failed (panic)",
                Verdict::Deadline => "failed (deadline)",
                Verdict::Unhealthy => "failed (unhealthy)",
                Verdict::NoVerdict => "failed (no verdict)",
                Verdict::Refused => "failed (refused by firmware)",
            }),
            Self::Damaged => f.write_str("damaged"),
        }
    }
}

/// The SHA-256 of a slot's boot artefact: names the release without trusting any text in it.
pub type Release = [u8; 32];

/// The whole record. Values change only through the transitions in this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    pub(crate) sequence: u64,
    pub(crate) states: [SlotState; 2],
    pub(crate) releases: [Release; 2],
    pub(crate) last_good: Slot,
    pub(crate) booting: Slot,
}

impl Record {
    /// The record an image ships with: slot A holds `release` and is good, slot B is empty.
    pub const fn shipped(release: Release) -> Self {
        Self {
            sequence: 1,
            states: [SlotState::Good, SlotState::Empty],
            releases: [release, [0; 32]],
            last_good: Slot::A,
            booting: Slot::A,
        }
    }

    /// The record to go on with when both copies are unreadable: every slot that holds something is taken for good, A
    /// before B. Floors and verdicts are lost with the copies; the machine still starts.
    pub fn rebuilt(a_holds_something: bool, b_holds_something: bool) -> Self {
        let state = |holds: bool| if holds { SlotState::Good } else { SlotState::Empty };
        let slot = if b_holds_something && !a_holds_something { Slot::B } else { Slot::A };
        Self {
            sequence: 0,
            states: [state(a_holds_something), state(b_holds_something)],
            releases: [[0; 32]; 2],
            last_good: slot,
            booting: slot,
        }
    }

    /// Counts the writes of this record's life.
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// What `slot` is good for.
    pub const fn state(&self, slot: Slot) -> SlotState {
        match slot {
            Slot::A => self.states[0],
            Slot::B => self.states[1],
        }
    }

    /// The release in `slot`; zeros when it is empty.
    pub const fn release(&self, slot: Slot) -> Release {
        match slot {
            Slot::A => self.releases[0],
            Slot::B => self.releases[1],
        }
    }

    /// The slot that committed last.
    pub const fn last_good(&self) -> Slot {
        self.last_good
    }

    /// The slot the selector started: the one that is running, as seen from the running system.
    pub const fn booting(&self) -> Slot {
        self.booting
    }

    pub(crate) const fn with(mut self, slot: Slot, state: SlotState) -> Self {
        match slot {
            Slot::A => self.states[0] = state,
            Slot::B => self.states[1] = state,
        }
        self
    }

    pub(crate) const fn with_release(mut self, slot: Slot, release: Release) -> Self {
        match slot {
            Slot::A => self.releases[0] = release,
            Slot::B => self.releases[1] = release,
        }
        self
    }
}
