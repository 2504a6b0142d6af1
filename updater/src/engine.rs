//! A whole update as a pure function: `(State, Event) -> (State, Vec<Effect>)`.
//!
//! Every effect but the last gives exactly one event. What an effect *is* (which bytes, which syncs) is the executor's
//! affair; what follows what, and what is refused, is decided here and nowhere else.

mod judge;
mod refusal;
#[cfg(test)]
mod tests;

use coracle_format::slot::Arch;
use coracle_format::version::Version;
use coracle_slots::{Floors, Record, RefusedTransition, Release, Slot, SlotState};

pub use judge::{judge_content, judge_machine, judge_offer};
pub use refusal::{Needed, Refusal, What};

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Whether the update would be applied.
    Check,
    /// The update in the spare slot, written and not armed.
    Stage,
    /// The update.
    Apply,
}

/// What matters about the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// `[image] name` of the running release.
    pub image: String,
    /// Architecture.
    pub arch: Arch,
    /// The slot record.
    pub record: Record,
    /// The slot that runs.
    pub running: Slot,
    /// Bytes of the spare slot's partition; `None` if the disk has none.
    pub spare_bytes: Option<u64>,
}

/// What signed metadata says about the update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// `[image] name`.
    pub image: String,
    /// Architecture.
    pub arch: Arch,
    /// Version.
    pub version: Version,
    /// Security epoch.
    pub epoch: u32,
    /// Date of the release, seconds since 1970.
    pub released: u64,
    /// Downgrade exception: it may replace versions up to this one.
    pub replaces: Option<Version>,
    /// Version of the newest trusted root.
    pub root_version: u32,
}

impl Offer {
    /// The offer of a release, by metadata of this root.
    pub fn of(release: &coracle_trust::Release, root_version: u32) -> Self {
        Self {
            image: release.name.clone(),
            arch: release.arch,
            version: release.version,
            epoch: release.epoch,
            released: release.released,
            replaces: release.replaces,
            root_version,
        }
    }
}

/// What the update's index says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// What both parts are as wholes.
    pub digests: Digests,
    /// Bytes of the root file system.
    pub root_bytes: u64,
    /// Bytes of the boot artefact.
    pub boot_bytes: u64,
    /// How many frames there are.
    pub frames: u32,
    /// The only release that it can be applied to: it is a delta, and there is no bundle beside it.
    pub starts_from: Option<Release>,
}

/// What lies in a slot, by digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digests {
    /// dm-verity root hash of the root file system, which vouches for every byte of it: a SHA-256 of the whole is not taken.
    pub root_hash: [u8; 32],
    /// Whether its hash tree is the one that follows from it.
    pub is_tree_right: bool,
    /// SHA-256 of the boot artefact: the release.
    pub boot: Release,
}

/// An update under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The machine as it was when the update was asked for.
    pub machine: Machine,
    /// What is wanted.
    pub ask: Ask,
    /// What the metadata says.
    pub offer: Offer,
    /// What the index says.
    pub content: Content,
}

/// How far an update is. Each state but the last three waits for one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing is asked yet.
    Idle,
    /// The metadata is being verified.
    Verifying(Ask, Box<Machine>),
    /// The index is being read.
    Reading(Ask, Box<Machine>, Box<Offer>),
    /// The spare slot says that it holds the release already: it is being read back.
    Comparing(Box<Job>),
    /// The spare slot is being marked empty.
    Clearing(Box<Job>),
    /// Frames go into the spare slot.
    Filling {
        /// The update.
        job: Box<Job>,
        /// The frame that is under way.
        frame: u32,
        /// How many frames were found in the slot from an attempt before.
        kept: u32,
    },
    /// Both parts are in the slot; the tree is being completed and all of it synced.
    Completing {
        /// The update.
        job: Box<Job>,
        /// How many frames were found in the slot from an attempt before.
        kept: u32,
    },
    /// The slot is being read back from the device.
    ReadingBack(Box<Job>),
    /// The descriptor is being written and read back.
    Describing(Box<Job>),
    /// The record is being told that the slot is written.
    Marking(Box<Job>),
    /// The baseline of health is being taken.
    Surveying(Box<Job>),
    /// Whoever offers the update is being asked whether it still does.
    Rechecking(Box<Job>),
    /// The trial is being armed.
    Arming(Box<Job>),
    /// The history is being written.
    Telling(Box<Job>),
    /// The end: armed, or as far as was asked for.
    Done(Box<Job>),
    /// The end: refused, and why.
    Refused(Box<Refusal>),
    /// The end: an effect failed.
    Failed,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody asked, on this machine.
    Asked(Ask, Box<Machine>),
    /// The metadata is verified.
    Verified(Box<Offer>),
    /// The index is the signed one.
    IndexRead(Content),
    /// The spare slot is marked empty, on the disk.
    Cleared,
    /// The frame that was asked for is in the slot.
    Filled(Origin),
    /// Both parts and the tree are on the disk; what was hashed on the way.
    Completed(Digests),
    /// The slot was read back from the device: parts, and the tree block by block.
    ReadBack(Digests),
    /// The descriptor is on the disk, read back and compared.
    Described,
    /// The change of the record is on the disk.
    Changed,
    /// The record does not allow the change.
    Forbidden(RefusedTransition),
    /// The baseline is taken, if one is wanted.
    Surveyed,
    /// The update is still offered; or it is not, and why.
    Rechecked(Result<(), String>),
    /// The history is written.
    Told,
    /// The effect failed; whoever ran it says why.
    Failed,
}

/// Where a frame in the slot came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From the bundle, just now.
    Source,
    /// From an attempt that was interrupted.
    Kept,
    /// From the delta: carried by it, or made by differences.
    Delta,
    /// From the same place of the slot that runs.
    Running,
}

/// What the executor does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Read and verify the metadata.
    Verify,
    /// Read the index and check it against the metadata.
    ReadIndex,
    /// Read the whole slot and its descriptor back from the device, though nothing was written; what cannot be read
    /// differs.
    Compare,
    /// Mark the spare slot empty, sync; then wipe its descriptor, sync.
    Clear,
    /// Put a frame into the slot.
    Fill(u32),
    /// Forget what an attempt before has left: every frame comes from the source.
    Forget,
    /// Write the rest of the tree, sync.
    Complete,
    /// Read the whole slot back from the device.
    ReadBack,
    /// Write the descriptor, sync, read it back.
    Describe,
    /// Change the record, sync.
    Change(Change),
    /// Take the baseline of health, if one is wanted.
    Survey,
    /// Ask whoever offers the update whether it still does: it may have been paused or withdrawn meanwhile.
    Recheck,
    /// Write the history.
    Tell,
}

/// A change of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The spare slot holds nothing.
    Clear(Slot),
    /// The spare slot holds this release, of this version and security epoch.
    Written(Slot, Release, Version, u32),
    /// The spare slot boots next; floors that the accepted metadata raises.
    Arm(Slot, Floors),
}

impl Change {
    /// The next record.
    pub fn apply(self, record: Record) -> Result<Record, RefusedTransition> {
        match self {
            Self::Clear(slot) => record.clear(slot),
            Self::Written(slot, release, version, epoch) => {
                record.written(slot, release, version.to_u64(), epoch)
            }
            Self::Arm(slot, floors) => Ok(record.arm(slot)?.raise_floors(floors)),
        }
    }
}

impl Job {
    /// The slot that is written.
    pub fn spare(&self) -> Slot {
        self.machine.running.other()
    }

    /// Whether the record says that the spare slot holds this very release, written and not armed: it was dropped by hand,
    /// may be tried again, or an update ended just before it was armed.
    pub fn is_written(&self) -> bool {
        let (record, spare) = (&self.machine.record, self.spare());
        record.state(spare) == SlotState::Written
            && record.release(spare) == self.content.digests.boot
            && record.version(spare) == self.offer.version.to_u64()
            && record.epoch(spare) == self.offer.epoch
    }

    /// What the accepted metadata raises. Version and security epoch are raised by the commit, when the release has proved
    /// itself.
    pub fn floors(&self) -> Floors {
        Floors { root_version: self.offer.root_version, released: self.offer.released, ..Floors::default() }
    }
}

impl State {
    /// Whether nothing follows.
    pub const fn is_end(&self) -> bool {
        matches!(self, Self::Done(_) | Self::Refused(_) | Self::Failed)
    }
}

/// What follows.
pub type Step = (State, Vec<Effect>);

/// The next state, and what to do. An event that does not belong to the state ends the update: it is a defect, and
/// going on would write what nobody has decided.
pub fn step(state: State, event: Event) -> Step {
    if state.is_end() {
        return (state, Vec::new());
    }
    match (state, event) {
        (State::Idle, Event::Asked(ask, machine)) => match judge_machine(&machine) {
            Ok(()) => (State::Verifying(ask, machine), vec![Effect::Verify]),
            Err(refusal) => refused(refusal),
        },
        (State::Verifying(ask, machine), Event::Verified(offer)) => match judge_offer(&machine, &offer) {
            Ok(()) => (State::Reading(ask, machine, offer), vec![Effect::ReadIndex]),
            Err(refusal) => refused(refusal),
        },
        (State::Reading(ask, machine, offer), Event::IndexRead(content)) => {
            let job = Box::new(Job { machine: *machine, ask, offer: *offer, content });
            begin(job)
        }
        (State::Comparing(job), Event::ReadBack(digests)) => {
            match difference(&job.content.digests, &digests) {
                None => written(job),
                Some(_) => (State::Clearing(job), vec![Effect::Clear]),
            }
        }
        (State::Clearing(job), Event::Cleared) => fill(job, 0, 0),
        (State::Filling { job, frame, kept }, Event::Filled(origin)) => {
            let kept = kept.saturating_add(u32::from(origin == Origin::Kept));
            fill(job, frame.saturating_add(1), kept)
        }
        (State::Completing { job, kept }, Event::Completed(digests)) => complete(job, kept, &digests),
        (state, event) => finish(state, event),
    }
}

/// What follows when both parts are in the slot.
fn finish(state: State, event: Event) -> Step {
    match (state, event) {
        (State::ReadingBack(job), Event::ReadBack(digests)) => {
            match difference(&job.content.digests, &digests) {
                None => (State::Describing(job), vec![Effect::Describe]),
                Some(what) => refused(Refusal::ReadBackDiffers(what)),
            }
        }
        (State::Describing(job), Event::Described) => {
            let (release, offer) = (job.content.digests.boot, &job.offer);
            let change = Change::Written(job.spare(), release, offer.version, offer.epoch);
            (State::Marking(job), vec![Effect::Change(change)])
        }
        (State::Marking(job), Event::Changed) => written(job),
        (State::Surveying(job), Event::Surveyed) => (State::Rechecking(job), vec![Effect::Recheck]),
        (State::Rechecking(_), Event::Rechecked(Err(why))) => refused(Refusal::NotOffered(why)),
        (State::Rechecking(job), Event::Rechecked(Ok(()))) => {
            let change = Change::Arm(job.spare(), job.floors());
            (State::Arming(job), vec![Effect::Change(change)])
        }
        (State::Arming(job), Event::Changed) => (State::Telling(job), vec![Effect::Tell]),
        (State::Telling(job), Event::Told) => (State::Done(job), Vec::new()),
        (State::Clearing(_) | State::Marking(_) | State::Arming(_), Event::Forbidden(transition)) => {
            refused(Refusal::Record(transition))
        }
        (_, _) => (State::Failed, Vec::new()),
    }
}

fn begin(job: Box<Job>) -> Step {
    match (judge_content(&job), job.ask) {
        (Err(refusal), _) => refused(refusal),
        (Ok(()), Ask::Check) => (State::Done(job), Vec::new()),
        (Ok(()), Ask::Stage) if job.is_written() => (State::Done(job), Vec::new()),
        (Ok(()), Ask::Apply) if job.is_written() => (State::Comparing(job), vec![Effect::Compare]),
        (Ok(()), Ask::Stage | Ask::Apply) => (State::Clearing(job), vec![Effect::Clear]),
    }
}

/// What follows when the record says that the release is in the spare slot.
fn written(job: Box<Job>) -> Step {
    match job.ask {
        Ask::Check | Ask::Stage => (State::Telling(job), vec![Effect::Tell]),
        Ask::Apply => (State::Surveying(job), vec![Effect::Survey]),
    }
}

fn fill(job: Box<Job>, frame: u32, kept: u32) -> Step {
    if frame < job.content.frames {
        (State::Filling { job, frame, kept }, vec![Effect::Fill(frame)])
    } else {
        (State::Completing { job, kept }, vec![Effect::Complete])
    }
}

fn complete(job: Box<Job>, kept: u32, digests: &Digests) -> Step {
    match difference(&job.content.digests, digests) {
        None => (State::ReadingBack(job), vec![Effect::ReadBack]),
        // What an attempt before has left was not what it said. Once more, without it; there is no third time.
        Some(_) if kept > 0 => {
            (State::Filling { job, frame: 0, kept: 0 }, vec![Effect::Forget, Effect::Fill(0)])
        }
        Some(what) => refused(Refusal::Differs(what)),
    }
}

/// What is not as the index says.
fn difference(wanted: &Digests, found: &Digests) -> Option<What> {
    if found.root_hash != wanted.root_hash {
        Some(What::Root)
    } else if !found.is_tree_right {
        Some(What::Tree)
    } else if found.boot != wanted.boot {
        Some(What::Boot)
    } else {
        None
    }
}

fn refused(refusal: Refusal) -> Step {
    (State::Refused(Box::new(refusal)), Vec::new())
}
