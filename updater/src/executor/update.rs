//! Runs the engine's effects for one update.
//!
//! ```text
//! opening   header, metadata, index and table: what the update is, before anything is written
//! run       one effect after the other
//! fill      a frame, from where it is cheapest to have
//! ```

mod fill;
mod opening;
mod run;

use super::Executor;
use super::running;
use super::stream::{Feed, Place, Stream};
use crate::engine::{self, Ask, Event, Job, Origin, State};
use crate::error::{Error, Kind, Result};
use crate::source::{Length, Source, SourceError};
use coracle_block::PathError;
use coracle_format::device::ZSTD_PATH;
use coracle_format::slot::Arch;
use coracle_slots::Release;
use coracle_trust::Verified;
use run::{Pause, Run};
use std::path::Path;

/// Where an update's bytes come from.
pub struct Supply<'a> {
    /// A bundle or a delta: its first bytes say which.
    pub main: &'a mut dyn Source,
    /// Beside a delta the bundle of the same release: for what the delta cannot make on this machine. Beside a bundle it is
    /// not asked.
    pub full: Option<&'a mut dyn Source>,
}

impl std::fmt::Debug for Supply<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let full = self.full.as_ref().map(|full| full.describe());
        f.debug_struct("Supply").field("main", &self.main.describe()).field("full", &full).finish()
    }
}

impl<'a> Supply<'a> {
    /// One source and nothing beside it.
    pub fn of(main: &'a mut dyn Source) -> Self {
        Self { main, full: None }
    }
}

/// What the machine brings to an update.
#[derive(Clone, Copy)]
pub struct Settings<'a> {
    /// `[image] name` of the running release.
    pub image: &'a str,
    /// Architecture.
    pub arch: Arch,
    /// The first root that is trusted, from the verified root image.
    pub trusted_root: &'a [u8],
    /// The time, if the clock can be believed.
    pub now: Option<u64>,
    /// Most bytes per second written to the slot; 0: no limit.
    pub write_rate: u64,
    /// Where an interrupted update is remembered, if anywhere.
    pub leftovers: Option<&'a Path>,
    /// Takes the baseline of health before the release is armed, if one is wanted.
    pub survey: Option<Survey<'a>>,
    /// What vouches for the update.
    pub vouching: Vouching<'a>,
    /// Programs and files of the machine.
    pub tools: Tools<'a>,
}

/// What of the machine a delta needs: programs and files to compress something again, processors.
#[derive(Clone, Copy, Debug)]
pub struct Tools<'a> {
    /// The program `zstd`.
    pub zstd: &'a Path,
    /// The kernel's account of its memory.
    pub meminfo: &'a Path,
    /// Whether two operations run at once where they may.
    pub in_pairs: bool,
}

impl Default for Tools<'_> {
    fn default() -> Self {
        let in_pairs = std::thread::available_parallelism().is_ok_and(|processors| processors.get() > 1);
        Self { zstd: Path::new(ZSTD_PATH), meminfo: Path::new("/proc/meminfo"), in_pairs }
    }
}

/// What vouches for an update.
#[derive(Clone, Copy)]
pub enum Vouching<'a> {
    /// The metadata in the update itself.
    Inline,
    /// A channel: what it has said of the update, and whoever asks it again. The metadata in the update is passed over.
    Channel(&'a Verified, Recheck<'a>),
}

impl std::fmt::Debug for Vouching<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Inline => "Inline",
            Self::Channel(..) => "Channel",
        })
    }
}

/// Asks whether an update is still offered; `Err` inside says why it is not.
pub type Recheck<'a> = &'a dyn Fn() -> Result<Result<(), String>>;

/// Takes the baseline of health for the trial of a release.
pub type Survey<'a> = &'a dyn Fn(&Release) -> Result<(), PathError>;

impl std::fmt::Debug for Settings<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("image", &self.image).field("now", &self.now).finish_non_exhaustive()
    }
}

/// Where an update's frames have come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Bytes that were taken from the sources.
    pub fetched: u64,
    /// Frames that an interrupted attempt had left in the slot.
    pub kept: u32,
    /// Frames that the delta carried or made.
    pub delta: u32,
    /// Frames that the slot that runs has at the same place.
    pub running: u32,
    /// Frames that the bundle carried.
    pub bundle: u32,
}

impl Tally {
    const fn count(&mut self, origin: Origin) {
        let number = match origin {
            Origin::Kept => &mut self.kept,
            Origin::Delta => &mut self.delta,
            Origin::Running => &mut self.running,
            Origin::Source => &mut self.bundle,
        };
        *number = number.saturating_add(1);
    }
}

/// Who wants to know how far it is.
pub trait Observer {
    /// What is done now: `verify`, `write`, `read back`, `arm`.
    fn stage(&mut self, name: &'static str);
    /// So many bytes of so many are in the slot.
    fn progress(&mut self, done: u64, total: u64);
    /// Something that does not stop the update, said once.
    fn note(&mut self, text: &str);
    /// All frames are in the slot, and came from here.
    fn supplied(&mut self, _tally: &Tally) {}
}

/// What is known of a source before it is read.
struct FeedInfo {
    place: String,
    length: Length,
}

impl FeedInfo {
    fn of(source: &mut dyn Source) -> Result<Self, SourceError> {
        Ok(Self { place: source.describe(), length: source.length()? })
    }
}

/// Both sources.
struct Feeds {
    main: FeedInfo,
    full: Option<FeedInfo>,
}

impl Feeds {
    /// What is said to be read from a feed that is not there is said of the main one.
    fn get(&self, feed: Feed) -> &FeedInfo {
        match (feed, &self.full) {
            (Feed::Full, Some(full)) => full,
            (Feed::Full, None) | (Feed::Main, _) => &self.main,
        }
    }
}

impl Executor {
    /// Checks or applies the update that `supply` holds. When it returns well from an apply, the release is armed, on the
    /// disk.
    pub fn update(
        &self,
        ask: Ask,
        supply: Supply<'_>,
        settings: &Settings<'_>,
        observer: &mut dyn Observer,
    ) -> Result<Job> {
        let Supply { main, mut full } = supply;
        if self.inspect()?.1.is_some() {
            observer.note("both copies of the slot record are unreadable: floors and verdicts are forgotten");
        }
        let beside = full.as_mut().map(|full| FeedInfo::of(&mut **full)).transpose()?;
        let feeds = Feeds { main: FeedInfo::of(main)?, full: beside };
        let machine = Box::new(self.machine(settings.image, settings.arch)?);
        let next = engine::step(State::Idle, Event::Asked(ask, machine));
        let mut run = Run::new(self, settings, observer, &feeds, next);
        let mut at = Place { feed: Feed::Main, offset: 0 };
        while !run.is_ended() {
            let source = match (at.feed, &mut full) {
                (Feed::Full, Some(full)) => &mut **full,
                (Feed::Full, None) | (Feed::Main, _) => &mut *main,
            };
            let mut stream = Stream::new(source.open(at.offset)?, at, &feeds.get(at.feed).place);
            match run.go_on(&mut stream)? {
                Pause::Reopen(place) => at = place,
                Pause::Ended => break,
            }
        }
        let place = &feeds.main.place;
        let state = run.into_state();
        if let State::Done(job) = state {
            return Ok(*job);
        }
        if let State::Refused(refusal) = state {
            return Err(refusal.about(place));
        }
        Err(Error::new(Kind::Internal, format!("cannot apply {place}: the update ended as {state:?}")))
    }
}

/// The time for judging expiry: what the clock says, unless it says less than what is known to have passed.
pub fn trusted_time(floors: &[u64]) -> Option<u64> {
    let now = running::clock();
    floors.iter().all(|floor| now >= *floor).then_some(now)
}
