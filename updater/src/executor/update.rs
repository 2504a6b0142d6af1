//! Runs the engine's effects for one update.

use super::Executor;
use super::filling::Filling;
use super::layout::Layout;
use super::leftovers::Leftovers;
use super::readback::Device;
use super::running;
use super::stream::Stream;
use crate::engine::{self, Ask, Change, Content, Digests, Effect, Event, Job, Offer, Origin, State};
use crate::error::{Error, Kind, Result};
use crate::pace::Pace;
use crate::source::{Length, Source};
use coracle_block::PathError;
use coracle_format::bundle::{Encoding, HEADER_BYTES, Header, Index, NotABundle};
use coracle_format::slot::{Arch, DESCRIPTOR_BYTES};
use coracle_slots::Release;
use coracle_slots::history::{self, Entry};
use coracle_trust::{TrustError, Verified};
use std::collections::VecDeque;
use std::path::Path;

/// While frames go in, the slot is synced after this part of it; so often at most.
const SYNCS_WHILE_FILLING: u64 = 16;
/// But not before so many bytes.
const SYNC_BYTES_MIN: u64 = 8 << 20;

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

/// Who wants to know how far it is.
pub trait Observer {
    /// What is done now: `verify`, `write`, `read back`, `arm`.
    fn stage(&mut self, name: &'static str);
    /// So many bytes of so many are in the slot.
    fn progress(&mut self, done: u64, total: u64);
    /// Something that does not stop the update, said once.
    fn note(&mut self, text: &str);
}

impl Executor {
    /// Checks or applies the update from `source`. When it returns well from an apply, the release is armed, on the disk.
    pub fn update(
        &self,
        ask: Ask,
        source: &mut dyn Source,
        settings: &Settings<'_>,
        observer: &mut dyn Observer,
    ) -> Result<Job> {
        let place = source.describe();
        if self.inspect()?.1.is_some() {
            observer.note("both copies of the slot record are unreadable: floors and verdicts are forgotten");
        }
        let length = source.length()?;
        let machine = Box::new(self.machine(settings.image, settings.arch)?);
        let (state, effects) = engine::step(State::Idle, Event::Asked(ask, machine));
        let mut run = Run {
            executor: self,
            settings,
            observer,
            place: &place,
            length,
            state,
            effects: effects.into(),
            header: None,
            verified: None,
            index: None,
            filling: None,
        };
        let mut at = 0;
        while !run.effects.is_empty() {
            let mut stream = Stream::new(source.open(at)?, at, &place);
            match run.go_on(&mut stream)? {
                Pause::Reopen(offset) => at = offset,
                Pause::Ended => break,
            }
        }
        let state = run.state;
        if let State::Done(job) = state {
            return Ok(*job);
        }
        if let State::Refused(refusal) = state {
            return Err(refusal.about(&place));
        }
        Err(Error::new(Kind::Internal, format!("cannot apply {place}: the update ended as {state:?}")))
    }
}

/// Why no more bytes are read from this stream.
enum Pause {
    /// They go on elsewhere.
    Reopen(u64),
    /// Nothing is left to do.
    Ended,
}

/// What came of an effect.
enum Outcome {
    Event(Event),
    /// It needs the stream to stand here.
    Needs(u64),
    /// Nothing to tell.
    Silent,
}

struct Run<'a> {
    executor: &'a Executor,
    settings: &'a Settings<'a>,
    observer: &'a mut dyn Observer,
    place: &'a str,
    length: Length,
    state: State,
    effects: VecDeque<Effect>,
    header: Option<Header>,
    verified: Option<Verified>,
    index: Option<Index>,
    filling: Option<Filling>,
}

impl Run<'_> {
    fn go_on(&mut self, stream: &mut Stream<'_>) -> Result<Pause> {
        while let Some(effect) = self.effects.front().copied() {
            let event = match self.perform(effect, stream)? {
                Outcome::Needs(offset) => return Ok(Pause::Reopen(offset)),
                Outcome::Silent => {
                    self.effects.pop_front();
                    continue;
                }
                Outcome::Event(event) => event,
            };
            self.effects.pop_front();
            let (state, effects) = engine::step(std::mem::replace(&mut self.state, State::Failed), event);
            self.state = state;
            self.effects.extend(effects);
        }
        Ok(Pause::Ended)
    }

    fn perform(&mut self, effect: Effect, stream: &mut Stream<'_>) -> Result<Outcome> {
        let event = match effect {
            Effect::Verify => Event::Verified(Box::new(self.verify(stream)?)),
            Effect::ReadIndex => Event::IndexRead(self.read_index(stream)?),
            Effect::Compare => Event::ReadBack(self.compare()?),
            Effect::Clear => self.clear()?,
            Effect::Fill(number) => return self.fill(number, stream),
            Effect::Forget => {
                self.begin()?.leftovers.forget();
                return Ok(Outcome::Silent);
            }
            Effect::Complete => Event::Completed(self.complete(stream)?),
            Effect::ReadBack => {
                self.observer.stage("read back");
                Event::ReadBack(self.filling()?.layout.clone().read_back(&self.executor.spare()?)?)
            }
            Effect::Describe => {
                self.describe()?;
                Event::Described
            }
            Effect::Change(change) => self.change(change)?,
            Effect::Survey => {
                self.survey();
                Event::Surveyed
            }
            Effect::Recheck => Event::Rechecked(match self.settings.vouching {
                Vouching::Inline => Ok(()),
                Vouching::Channel(_, recheck) => recheck()?,
            }),
            Effect::Tell => {
                self.tell();
                Event::Told
            }
        };
        Ok(Outcome::Event(event))
    }

    fn verify(&mut self, stream: &mut Stream<'_>) -> Result<Offer> {
        self.observer.stage("verify");
        let mut bytes = [0; HEADER_BYTES];
        stream.fill(&mut bytes)?;
        let header = Header::parse(&bytes).map_err(|why| self.malformed(why))?;
        self.check_length(&header)?;
        // The header's own check has bounded it.
        let mut metadata = vec![0; usize::try_from(header.metadata).unwrap_or(0)];
        stream.fill(&mut metadata)?;
        let verified = match self.settings.vouching {
            Vouching::Inline => {
                header.check_metadata(&metadata).map_err(|why| self.malformed(why))?;
                let floor = self.executor.record()?.floors().root_version;
                let (root, now) = (self.settings.trusted_root, self.settings.now);
                coracle_trust::verify_bundle(root, &metadata, now, floor)
                    .map_err(|why| self.untrusted(why))?
            }
            Vouching::Channel(verified, _) => verified.clone(),
        };
        let release = &verified.release;
        let offer = Offer {
            image: release.name.clone(),
            arch: release.arch,
            version: release.version,
            epoch: release.epoch,
            released: release.released,
            replaces: release.replaces,
            root_version: verified.root_version,
        };
        self.header = Some(header);
        self.verified = Some(verified);
        Ok(offer)
    }

    /// A file that is longer or shorter than its header says is refused before anything is touched.
    fn check_length(&self, header: &Header) -> Result<()> {
        let total = header.total();
        let why = match self.length {
            Length::Exactly(bytes) if bytes < total => format!("it has {bytes} bytes of {total}"),
            Length::Exactly(bytes) if bytes > total => {
                format!("{} bytes follow its end at byte {total}", bytes - total)
            }
            Length::AtMost(bytes) if bytes < total => {
                format!("it would have {total} bytes, the device has {bytes}")
            }
            Length::Exactly(_) | Length::AtMost(_) | Length::Unknown => return Ok(()),
        };
        Err(Error::new(Kind::Hostile, format!("cannot read {}: {why}", self.place))
            .hint("it is damaged: copy or download it again"))
    }

    fn read_index(&mut self, stream: &mut Stream<'_>) -> Result<Content> {
        let header = self.header()?;
        let verified = self.verified.as_ref().ok_or_else(out_of_order)?;
        if u64::from(header.index) != verified.index_length {
            return Err(self.untrusted(TrustError::Index));
        }
        let mut bytes = vec![0; usize::try_from(header.index).unwrap_or(0)];
        stream.fill(&mut bytes)?;
        let index = verified.index(&bytes).map_err(|why| self.untrusted(why))?;
        if header.frames != index.stored_bytes() {
            return Err(self.malformed(NotABundle::Length));
        }
        let content = Content {
            digests: Digests { root_hash: index.root_hash, root: index.root.sha256, boot: index.boot.sha256 },
            root_bytes: index.root.bytes,
            boot_bytes: index.boot.bytes,
            frames: u32::try_from(index.frames.len()).unwrap_or(u32::MAX),
        };
        self.index = Some(index);
        Ok(content)
    }

    /// What the slot holds that nothing was written to: all zeros where it cannot be read or is not described as it should
    /// be, so that it is filled anew.
    fn compare(&mut self) -> Result<Digests> {
        self.observer.stage("read back");
        let layout = self.begin()?.layout.clone();
        let spare = self.executor.spare()?;
        let mut descriptor = [0; DESCRIPTOR_BYTES];
        let described = spare.read(layout.descriptor_at, &mut descriptor).is_ok();
        let found = layout.read_back(&spare).ok();
        let found = found.filter(|_| described && descriptor == layout.descriptor.encode());
        Ok(found.unwrap_or(Digests { root_hash: [0; 32], root: [0; 32], boot: [0; 32] }))
    }

    /// Record first: from here on the slot holds nothing that may be booted. Then the descriptor, so that nobody finds the
    /// old contents by it either while they are overwritten.
    fn clear(&mut self) -> Result<Event> {
        let spare = self.executor.spare()?;
        let slot = spare.slot();
        if let Err(refused) = self.executor.try_change(|record| Change::Clear(slot).apply(record))? {
            return Ok(Event::Forbidden(refused));
        }
        self.begin()?;
        let at = self.filling()?.layout.descriptor_at;
        spare.write(at, &[0; DESCRIPTOR_BYTES])?;
        spare.sync()?;
        self.observer.stage("write");
        Ok(Event::Cleared)
    }

    /// Starts to fill the slot, from its first frame on.
    fn begin(&mut self) -> Result<&mut Filling> {
        let (header, index) = (self.header()?, self.index.as_ref().ok_or_else(out_of_order)?);
        let verified = self.verified.as_ref().ok_or_else(out_of_order)?;
        let layout = Layout::of(index, self.executor.spare()?.bytes())?;
        let leftovers = Leftovers::load(self.settings.leftovers, verified.index_sha256);
        let pace = Pace::new(self.settings.write_rate);
        Ok(self.filling.insert(Filling::new(layout, leftovers, pace, header.frames_offset())))
    }

    fn fill(&mut self, number: u32, stream: &mut Stream<'_>) -> Result<Outcome> {
        let index = self.index.as_ref().ok_or_else(out_of_order)?;
        let filling = self.filling.as_mut().ok_or_else(out_of_order)?;
        let place = usize::try_from(number).unwrap_or(usize::MAX);
        let frame = index.frames.get(place).ok_or_else(out_of_order)?;
        let spare = self.executor.spare()?;
        let at = filling.layout.start(frame.part).saturating_add(frame.offset);
        let kept = filling.keep(&spare, frame, at)?;
        let stored = frame.encoding != Encoding::Zeros;
        if !kept && stored && stream.at != filling.next_at {
            return Ok(Outcome::Needs(filling.next_at));
        }
        filling.take(&spare, (number, frame, at), (!kept).then_some(stream))?;
        let total = index.root.bytes.saturating_add(index.boot.bytes);
        if filling.unsynced >= (total / SYNCS_WHILE_FILLING).max(SYNC_BYTES_MIN) {
            spare.sync()?;
            filling.unsynced = 0;
            filling.leftovers.store();
        }
        let done = filling.done;
        self.say_broken_leftovers();
        self.observer.progress(done, total);
        Ok(Outcome::Event(Event::Filled(if kept { Origin::Kept } else { Origin::Source })))
    }

    fn complete(&mut self, stream: &mut Stream<'_>) -> Result<Digests> {
        let end = self.header()?.total();
        if self.length == Length::Unknown && stream.at == end && !stream.is_at_end()? {
            let message = format!("cannot read {}: bytes follow its end at byte {end}", self.place);
            return Err(Error::new(Kind::Hostile, message).hint("it is damaged: copy or download it again"));
        }
        let filling = self.filling.as_mut().ok_or_else(out_of_order)?;
        let spare = self.executor.spare()?;
        let digests = filling.finish(&spare)?;
        spare.sync()?;
        filling.leftovers.store();
        self.say_broken_leftovers();
        Ok(digests)
    }

    /// Only now, with everything it describes read back: whoever finds a slot by its descriptor finds a whole one.
    fn describe(&mut self) -> Result<()> {
        let spare = self.executor.spare()?;
        let layout = &self.filling()?.layout;
        let bytes = layout.descriptor.encode();
        spare.write(layout.descriptor_at, &bytes)?;
        spare.sync()?;
        let mut device = Device::open(&spare)?;
        if device.read(layout.descriptor_at, DESCRIPTOR_BYTES)? != bytes {
            let message = "cannot describe the slot: the disk gives back something else than was written";
            return Err(
                Error::new(Kind::Io, message).hint("apply it again; if that repeats, the disk is failing")
            );
        }
        Ok(())
    }

    fn change(&mut self, change: Change) -> Result<Event> {
        if matches!(change, Change::Arm(..)) {
            self.observer.stage("arm");
        }
        Ok(match self.executor.try_change(|record| change.apply(record))? {
            Ok(_) => Event::Changed,
            Err(refused) => Event::Forbidden(refused),
        })
    }

    fn survey(&mut self) {
        let release = self.index.as_ref().map(|index| index.boot.sha256);
        if let (Some(survey), Some(release)) = (self.settings.survey, release)
            && let Err(error) = survey(&release)
        {
            let text = format!("{error} ({}): everything has to be healthy in the trial", error.source);
            self.observer.note(&text);
        }
    }

    /// The release is where it was asked for, so nothing of this is an error any more.
    fn tell(&mut self) {
        let Some(release) = self.index.as_ref().map(|index| index.boot.sha256) else {
            return;
        };
        let slot = self.executor.running().other();
        // What the slot held already was told when it was written.
        let applied = self.filling.as_ref().is_some_and(|filling| filling.done > 0);
        let armed = matches!(&self.state, State::Telling(job) if job.ask == Ask::Apply);
        let applied = applied.then_some(history::Event::Applied);
        for event in applied.into_iter().chain(armed.then_some(history::Event::Armed)) {
            if let Err(error) = self.executor.tell(Entry::new(event, slot, release)) {
                self.observer.note(&format!("the history is incomplete: {error}"));
                break;
            }
        }
        if let Some(filling) = &mut self.filling {
            filling.leftovers.remove();
        }
    }

    /// Said once: the leftovers go on without being kept.
    fn say_broken_leftovers(&mut self) {
        let Some(filling) = &mut self.filling else {
            return;
        };
        if let Some(error) = filling.leftovers.take_broken() {
            let text = format!("{error} ({}): if this update is interrupted, it starts over", error.source);
            self.observer.note(&text);
        }
    }

    fn header(&self) -> Result<Header> {
        self.header.ok_or_else(out_of_order)
    }

    fn filling(&self) -> Result<&Filling> {
        self.filling.as_ref().ok_or_else(out_of_order)
    }

    fn malformed(&self, why: NotABundle) -> Error {
        Error::new(Kind::Hostile, format!("cannot read {}: {why}", self.place))
            .hint("it is damaged, or no update of this system: copy or download it again")
    }

    fn untrusted(&self, why: TrustError) -> Error {
        let (kind, hint) = match &why {
            TrustError::Expired { .. } => {
                (Kind::Stale, "take a newer update; if there is none, its maker must sign it again")
            }
            TrustError::Form(_) | TrustError::Document { .. } | TrustError::NotARelease(_) => {
                (Kind::Hostile, "it is damaged or was put together wrongly: copy or download it again")
            }
            TrustError::Index | TrustError::Disagree(_) => {
                (Kind::Digest, "it was damaged or changed on its way: copy or download it again")
            }
            TrustError::Signatures { .. } | TrustError::Chain { .. } | TrustError::RootTooOld { .. } => (
                Kind::Signature,
                "this machine trusts the keys in its own image: take the update that they have signed",
            ),
        };
        Error::new(kind, format!("cannot trust {}", self.place)).because(why).hint(hint)
    }
}

fn out_of_order() -> Error {
    Error::new(Kind::Internal, "cannot go on with the update: its steps are out of order")
}

/// The time for judging expiry: what the clock says, unless it says less than what is known to have passed.
pub fn trusted_time(floors: &[u64]) -> Option<u64> {
    let now = running::clock();
    floors.iter().all(|floor| now >= *floor).then_some(now)
}
