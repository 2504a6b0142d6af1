//! Why an update is refused, each reason with its own words.

use crate::error::{Error, Kind};
use coracle_format::slot::Arch;
use coracle_format::version::Version;
use coracle_slots::{RefusedTransition, Release, Slot, Verdict};
use std::fmt;

/// Why an update is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The record names another slot than the one that runs.
    RecordDisagrees {
        /// The slot that the record says was started.
        record: Slot,
        /// The slot that the root image is mounted from.
        running: Slot,
    },
    /// A release is on trial.
    OnTrial {
        /// In this slot.
        slot: Slot,
        /// The slot that runs.
        running: Slot,
    },
    /// The machine was rolled back by hand.
    Held,
    /// The disk has no spare slot.
    NoSpare(Slot),
    /// Another image.
    OtherImage {
        /// This machine's.
        ours: String,
        /// The update's.
        theirs: String,
    },
    /// Another architecture.
    OtherArch {
        /// This machine's.
        ours: Arch,
        /// The update's.
        theirs: Arch,
    },
    /// A lower security epoch.
    LowerEpoch {
        /// The update's.
        offered: u32,
        /// This machine's.
        floor: u32,
    },
    /// An older version, without an exception that covers this machine.
    Older {
        /// The update's.
        offered: Version,
        /// This machine's.
        floor: Version,
        /// The exception, if there is one.
        replaces: Option<Version>,
    },
    /// The release that runs.
    RunsAlready(Version),
    /// A release that failed here.
    Blocked {
        /// Its version.
        version: Version,
        /// Which one.
        release: Release,
        /// Why it failed.
        verdict: Verdict,
    },
    /// It is a delta from another release, and there is no bundle beside it.
    OtherBase {
        /// The release that it starts from.
        starts: Release,
        /// The release that runs.
        runs: Release,
    },
    /// It does not fit.
    TooLarge {
        /// The sum.
        needed: Needed,
        /// Into this slot.
        slot: Slot,
        /// Of this many bytes.
        slot_bytes: u64,
    },
    /// The spare slot is the only good one.
    OnlyGood(Slot),
    /// Whoever offered it does so no longer: why.
    NotOffered(String),
    /// The record has changed meanwhile and does not allow it any more.
    Record(RefusedTransition),
    /// A part is not what the signed index says, though each of its frames is.
    Differs(What),
    /// What the device gives back is not what was written.
    ReadBackDiffers(What),
}

/// Bytes that an update needs in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needed {
    /// Root file system.
    pub root: u64,
    /// Hash tree.
    pub tree: u64,
    /// Boot artefact.
    pub boot: u64,
    /// All of it, aligned, with the descriptor.
    pub total: u64,
}

/// A part of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The root file system.
    Root,
    /// Its hash tree.
    Tree,
    /// The boot artefact.
    Boot,
}

impl What {
    const fn name(self) -> &'static str {
        match self {
            Self::Root => "root file system",
            Self::Tree => "hash tree",
            Self::Boot => "boot artefact",
        }
    }
}

impl Refusal {
    /// The class of the error.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::OnTrial { .. }
            | Self::Held
            | Self::Blocked { .. }
            | Self::OnlyGood(_)
            | Self::NotOffered(_)
            | Self::Record(_)
            | Self::RecordDisagrees { .. } => Kind::Policy,
            Self::NoSpare(_) => Kind::NotFound,
            Self::OtherImage { .. } | Self::OtherArch { .. } | Self::OtherBase { .. } => Kind::Foreign,
            Self::LowerEpoch { .. } | Self::Older { .. } | Self::RunsAlready(_) => Kind::Version,
            Self::TooLarge { .. } => Kind::TooLarge,
            Self::Differs(_) => Kind::Digest,
            Self::ReadBackDiffers(_) => Kind::Io,
        }
    }

    /// The error that says it about the update from `place`.
    pub fn about(&self, place: &str) -> Error {
        Error::new(self.kind(), format!("cannot apply {place}: {self}")).hint(self.hint())
    }

    /// What to do next.
    pub fn hint(&self) -> String {
        let fixed = match self {
            Self::Blocked { release, .. } => {
                return format!("coracle-update retry {} allows it again", crate::report::short(release));
            }
            Self::RecordDisagrees { .. } => "restart the machine, so that its selector sets that right",
            Self::OnTrial { slot, running } if slot == running => {
                "wait until it is committed, or commit it with coracle-update confirm"
            }
            Self::OnTrial { .. } => {
                "restart the machine to start it; if it fails, the machine falls back by itself"
            }
            Self::Held => "coracle-update retry releases the hold",
            Self::NoSpare(_) => "first boot makes it: look for phase=layout on the console",
            Self::OnlyGood(_) | Self::Record(_) => "coracle-update status shows both slots",
            Self::OtherImage { .. } => "take the update that was built for this image",
            Self::OtherArch { .. } => "take the update that was built for this architecture",
            Self::LowerEpoch { .. } => {
                "releases of an earlier epoch are never installed again: take a newer one"
            }
            Self::Older { .. } => "take a newer release, or one that is signed with a downgrade exception",
            Self::RunsAlready(_) => "nothing is to be done",
            Self::OtherBase { .. } => "take the bundle, or the delta from the release that runs",
            Self::TooLarge { .. } => {
                "slots never grow: ship less, or write a new disk image with larger slots"
            }
            Self::NotOffered(_) => {
                "it stays in the spare slot: it is armed once it is offered again, or overwritten by the next"
            }
            Self::Differs(_) => "the update was put together wrongly: build it again",
            Self::ReadBackDiffers(_) => "apply it again; if that repeats, the disk is failing",
        };
        fixed.to_owned()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RecordDisagrees { record, running } => {
                write!(f, "the slot record says that slot {record} runs, but it is slot {running}")
            }
            Self::OnTrial { slot, running } if slot == running => {
                f.write_str("the running release is on trial itself")
            }
            Self::OnTrial { slot, .. } => {
                write!(f, "a release in slot {slot} is armed already and waits for its trial")
            }
            Self::Held => f.write_str("the machine was rolled back by hand and is held"),
            Self::NoSpare(slot) => write!(f, "the disk has no partition for slot {slot}"),
            Self::OtherImage { ours, theirs } => {
                write!(f, "it is for image {theirs:?}, this machine runs {ours:?}")
            }
            Self::OtherArch { ours, theirs } => {
                write!(f, "it is for {}, this machine is {}", theirs.name(), ours.name())
            }
            Self::LowerEpoch { offered, floor } => {
                write!(f, "its security epoch {offered} is below {floor}, which this machine has accepted")
            }
            Self::Older { offered, floor, replaces } => {
                write!(f, "its version {offered} is older than {floor}, which was committed here")?;
                replaces.map_or(Ok(()), |newest| {
                    write!(f, ", and its downgrade exception ends at version {newest}")
                })
            }
            Self::RunsAlready(version) => write!(f, "its release {version} is the one that runs"),
            Self::Blocked { version, verdict, .. } => {
                write!(f, "its release {version} failed on this machine before ({verdict})")
            }
            Self::OtherBase { starts, runs } => {
                let (starts, runs) = (crate::report::short(starts), crate::report::short(runs));
                write!(f, "it starts from release {starts}, this machine runs {runs}")
            }
            Self::TooLarge { needed, slot, slot_bytes } => {
                write!(f, "it needs {needed}, slot {slot} has {slot_bytes}")
            }
            Self::OnlyGood(slot) => write!(f, "slot {slot}, which it would overwrite, is the only good one"),
            Self::NotOffered(why) => write!(f, "it is no longer offered: {why}"),
            Self::Record(transition) => transition.fmt(f),
            Self::Differs(what) => {
                write!(f, "its {} is not the signed one, though its frames are", what.name())
            }
            Self::ReadBackDiffers(what) => {
                write!(f, "the disk gives back another {} than was written", what.name())
            }
        }
    }
}

impl fmt::Display for Needed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} bytes (root file system {} + hash tree {} + boot artefact {}, aligned, and a descriptor)",
            self.total, self.root, self.tree, self.boot
        )
    }
}
