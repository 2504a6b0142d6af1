//! What the record says.

use crate::blocked::Blocked;
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

    /// Its place where both slots stand in a row.
    pub const fn index(self) -> usize {
        match self {
            Self::A => 0,
            Self::B => 1,
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
    /// The health gate ended without a verdict.
    Gate,
    /// An operator went back to the other release while this one was on trial.
    ByHand,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Self; 7] = [
        Self::Panic,
        Self::Deadline,
        Self::Unhealthy,
        Self::NoVerdict,
        Self::Refused,
        Self::Gate,
        Self::ByHand,
    ];
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Panic => "panic",
            Self::Deadline => "deadline",
            Self::Unhealthy => "unhealthy",
            Self::NoVerdict => "no verdict",
            Self::Refused => "refused by firmware",
            Self::Gate => "health gate ended",
            Self::ByHand => "rolled back by hand",
        })
    }
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
            Self::Failed(verdict) => write!(f, "failed ({verdict})"),
            Self::Damaged => f.write_str("damaged"),
        }
    }
}

/// The SHA-256 of a slot's boot artefact: names the release without trusting any text in it.
pub type Release = [u8; 32];

/// What no later update may go below. They only rise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Floors {
    /// Version of the newest committed release, as `coracle_format::version::Version::to_u64`.
    pub version: u64,
    /// Security epoch.
    pub epoch: u32,
    /// Version of the newest trusted root.
    pub root_version: u32,
    /// Newest release date in signed metadata, Unix seconds.
    pub released: u64,
    /// Version of the newest timestamp accepted from a channel.
    pub timestamp_version: u32,
    /// When that timestamp was signed, Unix seconds.
    pub issued: u64,
}

impl Floors {
    /// The higher one of each.
    pub fn max(self, other: Self) -> Self {
        Self {
            version: self.version.max(other.version),
            epoch: self.epoch.max(other.epoch),
            root_version: self.root_version.max(other.root_version),
            released: self.released.max(other.released),
            timestamp_version: self.timestamp_version.max(other.timestamp_version),
            issued: self.issued.max(other.issued),
        }
    }
}

/// What a slot's own descriptor says it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// SHA-256 of the boot artefact.
    pub release: Release,
    /// Its version; 0 if it has none that can be compared.
    pub version: u64,
}

/// The whole record. Values change only through the transitions in this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    pub(crate) sequence: u64,
    pub(crate) states: [SlotState; 2],
    pub(crate) releases: [Release; 2],
    pub(crate) versions: [u64; 2],
    pub(crate) epochs: [u32; 2],
    pub(crate) last_good: Slot,
    pub(crate) booting: Slot,
    pub(crate) hold: bool,
    pub(crate) misses: u8,
    pub(crate) dry_boots: u8,
    pub(crate) floors: Floors,
    pub(crate) blocked: Blocked,
}

impl Record {
    /// The record an image ships with: slot A holds `release` and is good, slot B is empty.
    pub fn shipped(release: Release, version: u64, epoch: u32) -> Self {
        Self {
            sequence: 1,
            states: [SlotState::Good, SlotState::Empty],
            releases: [release, [0; 32]],
            versions: [version, 0],
            epochs: [epoch, 0],
            last_good: Slot::A,
            booting: Slot::A,
            hold: false,
            misses: 0,
            dry_boots: 0,
            floors: Floors { version, epoch, ..Floors::default() },
            blocked: Blocked::NONE,
        }
    }

    /// The record to go on with when both copies are unreadable, from the descriptors that the slots hold (A, B) and
    /// the slot that is running, if something is. Floors, epochs, verdicts and the hold are lost with the copies; the
    /// running release says its epoch itself, see [`Record::running_epoch`].
    ///
    /// What runs is good, and of the other release nobody knows whether it ever was: it counts as written, so that it is
    /// booted only when the running one cannot be. Before anything runs, the *older* of two releases is good: it was
    /// there when the newer one came, so it was committed once. The newer one goes on trial: if it is healthy, it commits
    /// again; if it is not, the machine falls back. Of two that cannot be told apart, A is the first.
    pub fn rebuilt(held: [Option<Held>; 2], running: Option<Slot>) -> Self {
        let version = |slot: Slot| held[slot.index()].map(|held| held.version);
        let holds = |slot: Slot| version(slot).is_some();
        let last_good = match running {
            Some(slot) => slot,
            None if !holds(Slot::A) && holds(Slot::B) => Slot::B,
            None if holds(Slot::A) && holds(Slot::B) && version(Slot::B) < version(Slot::A) => Slot::B,
            None => Slot::A,
        };
        let state = |slot: Slot| match version(slot) {
            _ if running == Some(slot) => SlotState::Good,
            None => SlotState::Empty,
            Some(_) if running.is_some() => SlotState::Written,
            Some(_) if version(slot) > version(last_good) => SlotState::Trial { starts: 0 },
            Some(_) => SlotState::Good,
        };
        Self {
            sequence: 0,
            states: Slot::ALL.map(state),
            releases: held.map(|held| held.map_or([0; 32], |held| held.release)),
            versions: held.map(|held| held.map_or(0, |held| held.version)),
            epochs: [0; 2],
            last_good,
            booting: last_good,
            hold: false,
            misses: 0,
            dry_boots: 0,
            floors: Floors { version: version(last_good).unwrap_or(0), ..Floors::default() },
            blocked: Blocked::NONE,
        }
    }

    /// Counts the writes of this record's life.
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// What `slot` is good for.
    pub const fn state(&self, slot: Slot) -> SlotState {
        self.states[slot.index()]
    }

    /// The release in `slot`; zeros when it is empty.
    pub const fn release(&self, slot: Slot) -> Release {
        self.releases[slot.index()]
    }

    /// The slot that committed last.
    pub const fn last_good(&self) -> Slot {
        self.last_good
    }

    /// The slot the selector started: the one that is running, as seen from the running system.
    pub const fn booting(&self) -> Slot {
        self.booting
    }

    /// The version in `slot`; 0 when it is empty or its release has none that can be compared.
    pub const fn version(&self, slot: Slot) -> u64 {
        self.versions[slot.index()]
    }

    /// The security epoch of the release in `slot`; 0 when it is empty, or unknown since the record was made anew.
    pub const fn epoch(&self, slot: Slot) -> u32 {
        self.epochs[slot.index()]
    }

    /// What no update may go below.
    pub const fn floors(&self) -> Floors {
        self.floors
    }

    /// Whether an operator went back by hand: nothing is armed until the hold is released.
    pub const fn hold(&self) -> bool {
        self.hold
    }

    /// How often the selector has passed over the armed release without starting it once.
    pub const fn misses(&self) -> u8 {
        self.misses
    }

    /// Why `release` failed, if it is one of the last [`crate::BLOCKED_MAX`] that did; it is not armed again before
    /// [`Record::retry`].
    pub fn blocked(&self, release: &Release) -> Option<Verdict> {
        self.blocked.verdict(release)
    }

    /// The releases that failed last, newest first.
    pub fn all_blocked(&self) -> impl Iterator<Item = (Release, Verdict)> {
        self.blocked.entries()
    }

    /// The slot on trial, if there is one.
    pub fn on_trial(&self) -> Option<Slot> {
        Slot::ALL.into_iter().find(|slot| matches!(self.state(*slot), SlotState::Trial { .. }))
    }

    pub(crate) const fn with(mut self, slot: Slot, state: SlotState) -> Self {
        self.states[slot.index()] = state;
        self
    }

    pub(crate) const fn holding(mut self, slot: Slot, release: Release, version: u64, epoch: u32) -> Self {
        self.releases[slot.index()] = release;
        self.versions[slot.index()] = version;
        self.epochs[slot.index()] = epoch;
        self
    }

    /// With nothing in `slot`.
    pub(crate) const fn emptied(self, slot: Slot) -> Self {
        self.with(slot, SlotState::Empty).holding(slot, [0; 32], 0, 0)
    }

    /// The next sequence number, if anything has changed.
    pub(crate) fn stamped(mut self, before: Self) -> Self {
        if self != before {
            self.sequence = before.sequence.saturating_add(1);
        }
        self
    }
}
