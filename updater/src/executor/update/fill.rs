//! A frame, from where it is cheapest to have: the slot that is written, the delta, the slot that runs, the bundle.
//! Whatever gives it, it counts when its bytes have the signed digest.

use super::opening::is_of_the_file;
use super::run::{Run, out_of_order};
use crate::engine::Origin;
use crate::error::{Error, Kind, Result};
use crate::executor::delta::{Delta, FAILURES_MAX, Failure, Hands, Job, Made, Slots, Stand};
use crate::executor::filling::Filling;
use crate::executor::frames::Unpacker;
use crate::executor::stream::{Feed, Halt, Place, Reach, Stream};
use coracle_format::bundle::{self, Encoding, Frame, Index};
use coracle_format::delta::{Method, Operation};

/// While frames go in, the slot is synced after this part of it; so often at most.
const SYNCS_WHILE_FILLING: u64 = 16;
/// But not before so many bytes.
const SYNC_BYTES_MIN: u64 = 8 << 20;

impl Run<'_> {
    /// Puts a frame into the slot.
    pub(super) fn fill(&mut self, number: u32, stream: &mut Stream<'_>) -> Reach<Origin> {
        let frame = *self.index()?.run(number, 1).and_then(<[Frame]>::first).ok_or_else(out_of_order)?;
        let origin = self.get((number, &frame), stream)?;
        let index = self.index.as_ref().ok_or_else(out_of_order)?;
        let total = index.root.bytes.saturating_add(index.boot.bytes);
        let spare = self.executor.spare()?;
        let filling = self.filling.as_mut().ok_or_else(out_of_order)?;
        filling.take(&spare, &frame)?;
        if filling.unsynced >= (total / SYNCS_WHILE_FILLING).max(SYNC_BYTES_MIN) {
            spare.sync()?;
            filling.unsynced = 0;
            filling.leftovers.store();
        }
        let done = filling.done;
        self.tally.count(origin);
        self.say_broken_leftovers();
        self.observer.progress(done, total);
        Ok(origin)
    }

    /// Has the frame in the unpacker and at its place when it returns well.
    fn get(&mut self, (number, frame): (u32, &Frame), stream: &mut Stream<'_>) -> Reach<Origin> {
        let spare = self.executor.spare()?;
        let filling = self.filling.as_mut().ok_or_else(out_of_order)?;
        if filling.keep(&spare, frame)? {
            return Ok(Origin::Kept);
        }
        let origin = if frame.encoding == Encoding::Zeros {
            filling.unpacker.zeros(number, frame)?;
            if self.delta.is_some() { Origin::Delta } else { Origin::Source }
        } else if self.by_delta((number, frame), stream)? {
            return Ok(Origin::Delta);
        } else if self.is_running(frame)? {
            Origin::Running
        } else {
            self.by_bundle((number, frame), stream)?;
            Origin::Source
        };
        self.filling_mut()?.write(&spare, frame)?;
        Ok(origin)
    }

    fn is_running(&mut self, frame: &Frame) -> Result<bool> {
        let running = self.running;
        let filling = self.filling_mut()?;
        Ok(running.is_some_and(|running| filling.find(&running, frame)))
    }

    fn by_delta(&mut self, frame: (u32, &Frame), stream: &mut Stream<'_>) -> Reach<bool> {
        let Some(mut delta) = self.delta.take() else {
            return Ok(false);
        };
        delta.turn_to(frame.0);
        let found = match self.by_operation(&mut delta, frame, stream) {
            // What is damaged in one file, or not there, is whole in the other.
            Err(Halt::Failed(error)) if self.has_bundle() && is_of_the_file(&error) => {
                let stand = self.fail(&delta, &error.sentence());
                delta.count_failure();
                delta.set_stand(stand);
                Ok(false)
            }
            other => other,
        };
        if delta.failures() >= FAILURES_MAX && self.has_bundle() {
            self.observer.note("so much of the delta has failed that the rest of it is given up: the bundle is taken instead");
        } else {
            self.delta = Some(delta);
        }
        found
    }

    fn by_operation(
        &mut self,
        delta: &mut Delta,
        (number, frame): (u32, &Frame),
        stream: &mut Stream<'_>,
    ) -> Reach<bool> {
        let Some((_, operation, at)) = delta.operation() else {
            return Ok(false);
        };
        let first = operation.first;
        match (delta.stand(), &operation.method) {
            (Stand::Failed, _) => return Ok(false),
            (_, Method::Frames) => {
                let inside = self.stored_at(number)?.saturating_sub(self.stored_at(first)?);
                stream.go_to(Place { feed: Feed::Main, offset: at.saturating_add(inside) })?;
                let spare = self.executor.spare()?;
                let filling = self.filling_mut()?;
                filling.unpacker.read(stream, number, frame)?;
                filling.write(&spare, frame)?;
                return Ok(true);
            }
            (Stand::New | Stand::Checked, Method::Copy(_) | Method::Files(_)) => {
                let stand = self.run_operation(delta, number, stream)?;
                delta.set_stand(stand);
            }
            (Stand::Made(_), Method::Copy(_) | Method::Files(_)) => {}
        }
        let inside = usize::try_from(number.saturating_sub(first)).unwrap_or(usize::MAX);
        let is_made = match delta.stand() {
            Stand::Made(right) => right.get(inside).copied().unwrap_or(false),
            Stand::New | Stand::Checked | Stand::Failed => false,
        };
        if is_made {
            let spare = self.executor.spare()?;
            let filling = self.filling_mut()?;
            let at = filling.place(frame);
            spare.read(at, filling.unpacker.buffer(frame))?;
        }
        Ok(is_made)
    }

    /// Makes the frames of an operation, from the one with this number on.
    fn run_operation(&mut self, delta: &mut Delta, number: u32, stream: &mut Stream<'_>) -> Reach<Stand> {
        let made = match delta.take_ahead() {
            Some(made) => made,
            None => self.make(delta, number, stream)?,
        };
        match made {
            Ok(made) => {
                if let Some(why) = made.problem {
                    self.give_up(delta, Failure::Wrong(why))?;
                }
                Ok(Stand::Made(made.right))
            }
            Err(failure) => Ok(self.give_up(delta, failure)?),
        }
    }

    /// Runs the operation that is under way, and the one behind it if both may run at once.
    ///
    /// Operations read what is before them of the new release in the spare slot. It is there: frames go in one by one in the
    /// order of the index, also when the update is taken up again after an interruption or started over, and none is passed
    /// before its bytes are at their place and have been compared with their digest, whoever gave them. The operation that is
    /// under way is one of the next frame, and reads nothing behind its first one (the table has been checked); the one beside
    /// it reads nothing that this one makes.
    fn make(
        &mut self,
        delta: &mut Delta,
        number: u32,
        stream: &mut Stream<'_>,
    ) -> Reach<Result<Made, Failure>> {
        let (_, operation, at) = delta.operation().ok_or_else(out_of_order)?;
        let operation = operation.clone();
        let Some(running) = self.running else {
            let why = "the slot that runs does not say where its parts are".to_owned();
            return Ok(Err(Failure::Wrong(why)));
        };
        let spare = self.executor.spare()?;
        let index = self.index.as_ref().ok_or_else(out_of_order)?;
        let filling = self.filling.as_mut().ok_or_else(out_of_order)?;
        // What an operation needs itself is much.
        filling.unpacker = Unpacker::new();
        let Filling { layout, pace, .. } = filling;
        let tools = self.settings.tools;
        let hands = Hands { slots: Slots { running, spare: &spare, layout }, tools };
        if matches!(delta.stand(), Stand::New)
            && let Err(failure) = hands.check(&operation)
        {
            return Ok(Err(failure));
        }
        delta.set_stand(Stand::Checked);
        let carried = carried(&operation, at, stream)?;
        let from = usize::try_from(number.saturating_sub(operation.first)).unwrap_or(0);
        let frames = |operation: &Operation| index.run(operation.first, operation.frames);
        let own = frames(&operation).ok_or_else(out_of_order)?;
        let job = Job { operation: &operation, frames: own, stream: &carried, from };
        let in_pairs = tools.in_pairs && self.settings.write_rate == 0;
        let Some((beside, at)) = delta.beside(index).filter(|_| in_pairs) else {
            return Ok(hands.make(&job, pace));
        };
        let carried = self::carried(beside, at, stream)?;
        let own = frames(beside).ok_or_else(out_of_order)?;
        let (made, ahead) =
            hands.make_both((&job, pace), &Job { operation: beside, frames: own, stream: &carried, from: 0 });
        if let Some(ahead) = ahead {
            delta.keep_ahead(ahead);
        }
        Ok(made)
    }

    /// The operation makes nothing more; a slot that cannot be written is the end of the update.
    fn give_up(&mut self, delta: &mut Delta, failure: Failure) -> Result<Stand> {
        match failure {
            Failure::Fatal(error) => Err(error),
            Failure::Machine(why) => Ok(self.fail(delta, &why)),
            Failure::Wrong(why) => {
                delta.count_failure();
                Ok(self.fail(delta, &why))
            }
        }
    }

    /// Says why an operation has failed.
    fn fail(&mut self, delta: &Delta, why: &str) -> Stand {
        if let Some((number, operation, _)) = delta.operation() {
            let text = format!("operation {number} of the delta ({}) has failed: {why}", span(operation));
            self.observer.note(&text);
            self.problem = Some(text);
        }
        Stand::Failed
    }

    /// Unpacks a frame that the bundle carries.
    fn by_bundle(&mut self, (number, frame): (u32, &Frame), stream: &mut Stream<'_>) -> Reach<()> {
        let (feed, header) = self.bundle(number, stream)?;
        let offset = header.frames_offset().saturating_add(self.stored_at(number)?);
        stream.go_to(Place { feed, offset })?;
        self.filling_mut()?.unpacker.read(stream, number, frame)?;
        Ok(())
    }

    /// The bundle and where it is. Of one beside a delta only the header is read: the index is known, and every frame that
    /// comes is compared with it.
    fn bundle(&mut self, number: u32, stream: &mut Stream<'_>) -> Reach<(Feed, bundle::Header)> {
        if let Some(found) = self.bundle {
            return Ok(found);
        }
        let Some(full) = &self.feeds.full else {
            let place = &self.feeds.main.place;
            let error =
                Error::new(Kind::NotFound, format!("cannot apply {place}: it does not give frame {number}"))
                    .hint("apply the bundle of the release instead, or name it beside the delta with --full");
            return Err(match &self.problem {
                Some(why) => error.because(why.clone()),
                None => error,
            }
            .into());
        };
        let beside = Place { feed: Feed::Full, offset: 0 };
        stream.go_to(beside)?;
        let mut bytes = [0; bundle::HEADER_BYTES];
        stream.fill(&mut bytes)?;
        let malformed = |why: &dyn std::fmt::Display| {
            Error::new(Kind::Hostile, format!("cannot read {}: {why}", full.place))
                .hint("name the bundle of the release that the delta leads to")
        };
        let header = bundle::Header::parse(&bytes).map_err(|why| malformed(&why))?;
        self.check_length(Feed::Full, header.total())?;
        let index = self.verified.as_ref().ok_or_else(out_of_order)?.index_length;
        if header.frames != self.index()?.stored_bytes() || u64::from(header.index) != index {
            return Err(malformed(&"it is not of the same release as the delta").into());
        }
        Ok(*self.bundle.insert((Feed::Full, header)))
    }

    fn has_bundle(&self) -> bool {
        self.bundle.is_some() || self.feeds.full.is_some()
    }

    fn stored_at(&self, number: u32) -> Result<u64> {
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        self.stored_at.get(number).copied().ok_or_else(out_of_order)
    }

    fn index(&self) -> Result<&Index> {
        self.index.as_ref().ok_or_else(out_of_order)
    }

    fn filling_mut(&mut self) -> Result<&mut Filling> {
        self.filling.as_mut().ok_or_else(out_of_order)
    }
}

/// What an operation carries, which is there in the delta.
fn carried(operation: &Operation, at: u64, stream: &mut Stream<'_>) -> Reach<Vec<u8>> {
    let mut bytes = Vec::new();
    if operation.stream > 0 {
        stream.go_to(Place { feed: Feed::Main, offset: at })?;
        bytes.resize(usize::try_from(operation.stream).unwrap_or(0), 0);
        stream.fill(&mut bytes)?;
    }
    Ok(bytes)
}

/// Which frames an operation makes, in words.
fn span(operation: &Operation) -> String {
    let Operation { first, frames, .. } = operation;
    match frames {
        1 => format!("frame {first}"),
        _ => format!("frames {first} to {}", first.saturating_add(*frames).saturating_sub(1)),
    }
}
