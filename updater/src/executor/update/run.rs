//! One effect after the other.

use super::opening::Head;
use super::{Feeds, Observer, Settings, Tally, Vouching};
use crate::engine::{self, Ask, Change, Digests, Effect, Event, State, Step};
use crate::error::{Error, Kind, Result};
use crate::executor::Executor;
use crate::executor::delta::Delta;
use crate::executor::filling::Filling;
use crate::executor::layout::Layout;
use crate::executor::leftovers::Leftovers;
use crate::executor::readback::Device;
use crate::executor::running::Running;
use crate::executor::stream::{Feed, Halt, Place, Reach, Stream};
use crate::pace::Pace;
use crate::source::Length;
use coracle_format::bundle::{Header, Index};
use coracle_format::slot::DESCRIPTOR_BYTES;
use coracle_slots::history::{self, Entry};
use coracle_trust::Verified;
use std::collections::VecDeque;

/// Why no more bytes are read from this stream.
pub(super) enum Pause {
    /// They go on elsewhere.
    Reopen(Place),
    /// Nothing is left to do.
    Ended,
}

/// An update under way.
pub(super) struct Run<'a> {
    pub(super) executor: &'a Executor,
    pub(super) settings: &'a Settings<'a>,
    pub(super) observer: &'a mut dyn Observer,
    pub(super) feeds: &'a Feeds,
    state: State,
    effects: VecDeque<Effect>,
    /// Where metadata and index come from.
    pub(super) lead: Feed,
    /// Its header.
    pub(super) head: Option<Head>,
    pub(super) verified: Option<Verified>,
    pub(super) index: Option<Index>,
    /// Where each frame stands among the stored frames of the bundle.
    pub(super) stored_at: Vec<u64>,
    /// The bundle, once its header has been read.
    pub(super) bundle: Option<(Feed, Header)>,
    /// The delta, for as long as it is of use.
    pub(super) delta: Option<Delta>,
    /// What went wrong with it last.
    pub(super) problem: Option<String>,
    pub(super) running: Option<Running<'a>>,
    pub(super) filling: Option<Filling>,
    pub(super) tally: Tally,
}

impl<'a> Run<'a> {
    /// An update that is about to take its first step.
    pub(super) fn new(
        executor: &'a Executor,
        settings: &'a Settings<'a>,
        observer: &'a mut dyn Observer,
        feeds: &'a Feeds,
        (state, effects): Step,
    ) -> Self {
        Self {
            executor,
            settings,
            observer,
            feeds,
            state,
            effects: effects.into(),
            lead: Feed::Main,
            head: None,
            verified: None,
            index: None,
            stored_at: Vec::new(),
            bundle: None,
            delta: None,
            problem: None,
            running: None,
            filling: None,
            tally: Tally::default(),
        }
    }

    /// Whether nothing is left to do.
    pub(super) fn is_ended(&self) -> bool {
        self.effects.is_empty()
    }

    /// How it ended.
    pub(super) fn into_state(self) -> State {
        self.state
    }

    /// Goes as far as this stream leads.
    pub(super) fn go_on(&mut self, stream: &mut Stream<'_>) -> Result<Pause> {
        while let Some(effect) = self.effects.front().copied() {
            let event = match self.perform(effect, stream) {
                Ok(event) => event,
                Err(Halt::Needs(place)) => {
                    self.tally.fetched = self.tally.fetched.saturating_add(stream.taken());
                    return Ok(Pause::Reopen(place));
                }
                Err(Halt::Failed(error)) => return Err(error),
            };
            self.effects.pop_front();
            let Some(event) = event else {
                continue;
            };
            let (state, effects) = engine::step(std::mem::replace(&mut self.state, State::Failed), event);
            self.state = state;
            self.effects.extend(effects);
        }
        Ok(Pause::Ended)
    }

    fn perform(&mut self, effect: Effect, stream: &mut Stream<'_>) -> Reach<Option<Event>> {
        Ok(Some(match effect {
            Effect::Verify => Event::Verified(Box::new(self.verify(stream)?)),
            Effect::ReadIndex => Event::IndexRead(self.read_index(stream)?),
            Effect::Compare => Event::ReadBack(self.compare()?),
            Effect::Clear => self.clear()?,
            Effect::Fill(number) => Event::Filled(self.fill(number, stream)?),
            Effect::Forget => {
                self.forget()?;
                return Ok(None);
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
        }))
    }

    /// What the slot holds that nothing was written to: nothing right where it cannot be read or is not described as it should
    /// be, so that it is filled anew.
    fn compare(&mut self) -> Result<Digests> {
        self.observer.stage("read back");
        let layout = self.begin()?.layout.clone();
        let spare = self.executor.spare()?;
        let mut descriptor = [0; DESCRIPTOR_BYTES];
        let described = spare.read(layout.descriptor_at, &mut descriptor).is_ok();
        let found = layout.read_back(&spare).ok();
        let found = found.filter(|_| described && descriptor == layout.descriptor.encode());
        Ok(found.unwrap_or(Digests { root_hash: [0; 32], is_tree_right: false, boot: [0; 32] }))
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
        let index = self.index.as_ref().ok_or_else(out_of_order)?;
        let verified = self.verified.as_ref().ok_or_else(out_of_order)?;
        let layout = Layout::of(index, self.executor.spare()?.bytes())?;
        let leftovers = Leftovers::load(self.settings.leftovers, verified.index_sha256);
        let pace = Pace::new(self.settings.write_rate);
        self.running = Running::of(self.executor);
        Ok(self.filling.insert(Filling::new(layout, leftovers, pace)))
    }

    /// Starts over, without what an attempt before has left.
    fn forget(&mut self) -> Result<()> {
        self.begin()?.leftovers.forget();
        self.delta.iter_mut().for_each(Delta::restart);
        self.tally = Tally { fetched: self.tally.fetched, ..Tally::default() };
        Ok(())
    }

    fn complete(&mut self, stream: &mut Stream<'_>) -> Reach<Digests> {
        let head = self.head.as_ref().ok_or_else(out_of_order)?;
        let end = Place { feed: self.lead, offset: head.total() };
        let feed = self.feeds.get(self.lead);
        // Frames that were here already have not been read.
        if feed.length == Length::ToTheEnd {
            stream.go_to(end)?;
        }
        let ends_by_itself = matches!(feed.length, Length::Unknown | Length::ToTheEnd);
        if ends_by_itself && stream.at() == end && !stream.is_at_end()? {
            let message = format!("cannot read {}: bytes follow its end at byte {}", feed.place, end.offset);
            let error = Error::new(Kind::Hostile, message).hint("it is damaged: copy or download it again");
            return Err(error.into());
        }
        let filling = self.filling.as_mut().ok_or_else(out_of_order)?;
        let spare = self.executor.spare()?;
        let digests = filling.finish(&spare)?;
        spare.sync()?;
        filling.leftovers.store();
        self.say_broken_leftovers();
        let fetched = self.tally.fetched.saturating_add(stream.taken());
        self.observer.supplied(&Tally { fetched, ..self.tally });
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
    pub(super) fn say_broken_leftovers(&mut self) {
        let Some(filling) = &mut self.filling else {
            return;
        };
        if let Some(error) = filling.leftovers.take_broken() {
            let text = format!("{error} ({}): if this update is interrupted, it starts over", error.source);
            self.observer.note(&text);
        }
    }

    fn filling(&self) -> Result<&Filling> {
        self.filling.as_ref().ok_or_else(out_of_order)
    }
}

/// The error for a defect of the engine or of this.
pub(super) fn out_of_order() -> Error {
    Error::new(Kind::Internal, "cannot go on with the update: its steps are out of order")
}
