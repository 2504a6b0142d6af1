//! One file after the other, in either direction.

use crate::{
    coder::{Coder, Reader},
    content::{Content, Place},
    limits::{FILE_BYTES_MAX, OUTPUT_BYTES, PIECE_BYTES},
    model::Numbers,
    moves::{Copy, Moves},
    operands::{self, Operands},
    orders::{Orders, Reached},
    plan::{Ends, Plan, plan},
    references::{Guess, References, Side, Targets},
    scale::Scale,
    sections::{Range, Sections, Stretch},
    shifts::Known,
    told::Told,
    words::{MARGIN, View},
};
use std::{fmt, io, ops};

/// Bytes that are coded as one when all were as predicted for a while; fewer, if a reference would be cut.
pub(crate) const RUN_BYTES: usize = 32;
/// Bytes that are coded as one when all are as they were: nothing in them is predicted, which is what takes most time.
pub(crate) const SAME_BYTES: usize = 512;

/// The old file.
pub trait Old {
    /// Its bytes.
    fn length(&self) -> u64;
    /// Reads exactly `buffer` from `offset`; what is asked for lies within [`Old::length`].
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

impl Old for &[u8] {
    fn length(&self) -> u64 {
        u64::try_from(self.len()).unwrap_or(u64::MAX)
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)?.get(..buffer.len()));
        buffer.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// Why a delta could not be applied.
#[derive(Debug)]
pub enum Failure {
    /// It is not what a maker writes; what is wrong.
    Corrupt(&'static str),
    /// The old file cannot be read, or the new one not written.
    Io(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt(what) => write!(f, "delta is corrupt: {what}"),
            Self::Io(_) => f.write_str("cannot apply the delta"),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Corrupt(_) => None,
            Self::Io(error) => Some(error),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// What one stream of deltas learns over all its files.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) scale: Scale,
    content: Content,
    pub(crate) gaps: Numbers,
    pub(crate) jumps: Numbers,
    pub(crate) lengths: Numbers,
    pub(crate) layout: Numbers,
    known: Known,
}

impl Model {
    pub(crate) fn new(scale: Scale) -> Self {
        let numbers = Numbers::new;
        Self {
            scale,
            content: Content::new(scale),
            gaps: numbers(),
            jumps: numbers(),
            lengths: numbers(),
            layout: numbers(),
            known: Known::default(),
        }
    }
}

/// Takes the new file, piece by piece.
pub type Sink<'a> = dyn FnMut(&[u8]) -> io::Result<()> + 'a;

/// Where bytes of the new file go.
struct Output<'a> {
    sink: &'a mut dyn FnMut(&[u8]) -> io::Result<()>,
    buffer: Vec<u8>,
    /// The last eight bytes, the last one lowest.
    recent: u64,
    /// Where the next byte stands in the new file.
    at: usize,
}

impl Output<'_> {
    fn extend(&mut self, bytes: &[u8]) -> Result<()> {
        self.recent = bytes.last_chunk().copied().map_or(self.recent, u64::from_be_bytes);
        self.at += bytes.len();
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= OUTPUT_BYTES { self.flush() } else { Ok(()) }
    }

    fn push(&mut self, byte: u8) -> Result<()> {
        self.recent = self.recent << 8 | u64::from(byte);
        self.at += 1;
        self.buffer.push(byte);
        if self.buffer.len() >= OUTPUT_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        (self.sink)(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

/// A reference that is being coded.
struct Pending {
    guess: Guess,
    /// Bytes that are done.
    done: usize,
    /// What they are.
    bytes: [u8; 8],
}

/// The bytes of one file.
pub(crate) struct Run<'a, C: Coder> {
    coder: &'a mut C,
    model: &'a mut Model,
    references: References<'a>,
    /// What has to be made, if it is known, and where in the new file it begins.
    wanted: Option<&'a [u8]>,
    start: usize,
    /// What is not made, from here on.
    holes: &'a [ops::Range<usize>],
    output: Output<'a>,
    history: u32,
    clean: usize,
    pending: Option<Pending>,
    reached: Reached,
    /// Where the old file is read.
    stretch: Stretch,
    operands: Operands<'a>,
}

impl<C: Coder> Run<'_, C> {
    fn wanted(&self, ahead: usize) -> u8 {
        self.wanted.and_then(|wanted| wanted.get(self.output.at - self.start + ahead)).copied().unwrap_or(0)
    }

    fn place(&self, predicted: u8, class: usize) -> Place {
        let Output { at, recent, .. } = self.output;
        Place { at, recent, predicted, class, history: self.history }
    }

    /// Where the next bytes that are made end, up to `end`.
    fn stop(&self, end: usize) -> usize {
        self.holes.first().map_or(end, |hole| hole.start.min(end))
    }

    /// Passes over what is not made here.
    fn pass(&mut self) {
        while let [hole, holes @ ..] = self.holes
            && hole.start <= self.output.at
        {
            (self.output.at, self.output.recent, self.holes) = (self.output.at.max(hole.end), 0, holes);
        }
    }

    /// Everything up to there, of which nothing is a copy.
    fn insert_until(&mut self, end: usize) -> Result<()> {
        while self.output.at < end {
            self.insert(self.stop(end))?;
            self.pass();
        }
        Ok(())
    }

    /// Everything of a copy that is not behind.
    fn copy_all(&mut self, old: &mut dyn Old, copy: &Copy, buffer: &mut Vec<u8>) -> Result<()> {
        let end = copy.new + copy.bytes;
        while self.output.at < end {
            let new = self.output.at;
            let part = Copy { new, old: copy.old + (new - copy.new), bytes: self.stop(end) - new };
            self.copy(old, &part, buffer)?;
            self.pass();
        }
        Ok(())
    }

    fn insert(&mut self, end: usize) -> Result<()> {
        // What is before a byte, with operands as they are told, and how many of these bytes are of none.
        let (mut seen, mut since) = (self.output.recent, usize::MAX);
        while self.output.at < end {
            if self.output.buffer.is_empty() {
                self.goes_on()?;
            }
            let operand = Some(self.output.at).filter(|at| end - at >= operands::BYTES);
            if let Some(address) = operand.and_then(|at| self.operands.address(at, seen, since)) {
                let word: [u8; operands::BYTES] = std::array::from_fn(|ahead| self.wanted(ahead));
                let target = u32::from_le_bytes(word).wrapping_add(address);
                let told = target.to_be_bytes().map(|byte| self.new_byte(&mut seen, byte));
                let word = u32::from_be_bytes(told).wrapping_sub(address);
                word.to_le_bytes().into_iter().try_for_each(|byte| self.output.push(byte))?;
                since = 0;
            } else {
                let byte = self.new_byte(&mut seen, self.wanted(0));
                self.output.push(byte)?;
                since = since.saturating_add(1);
            }
        }
        Ok(())
    }

    /// Nobody makes bytes of a stream that has ended long ago.
    fn goes_on(&self) -> Result<()> {
        if self.coder.is_beyond_end() { Err(Failure::Corrupt("it ends too early")) } else { Ok(()) }
    }

    fn new_byte(&mut self, seen: &mut u64, wanted: u8) -> u8 {
        let place = Place { recent: *seen, ..self.place(0, 0) };
        let byte = self.model.content.byte(self.coder, &place, Told::New, wanted);
        *seen = *seen << 8 | u64::from(byte);
        byte
    }

    fn copy(&mut self, old: &mut dyn Old, copy: &Copy, buffer: &mut Vec<u8>) -> Result<()> {
        (self.history, self.clean, self.pending) = (u32::MAX, 0, None);
        let mut done = 0;
        while done < copy.bytes {
            let bytes = (copy.bytes - done).min(PIECE_BYTES);
            self.goes_on()?;
            let view = piece(old, (copy.old + done, bytes), buffer)?;
            // How far it is known that not all is as it was.
            let (mut at, mut differs) = (0, 0);
            while at < bytes {
                let (from, left) = (copy.old + done + at, copy.bytes - done - at);
                if at >= differs && bytes - at >= SAME_BYTES && self.pending.is_none() {
                    if self.same(&view, from)? {
                        at += SAME_BYTES;
                        continue;
                    }
                    differs = at + SAME_BYTES;
                }
                at += if bytes - at >= RUN_BYTES && left >= RUN_BYTES { self.run(&view, from)? } else { 0 };
                if at < bytes {
                    self.byte(&view, copy.old + done + at, copy.bytes - done - at)?;
                    at += 1;
                }
            }
            done += bytes;
        }
        Ok(())
    }

    /// Whether the next bytes are what they were, wherever it is that they refer to. Then they are done, and nothing was
    /// learnt.
    fn same(&mut self, view: &View<'_>, old: usize) -> Result<bool> {
        let bytes = view.many(old, SAME_BYTES);
        let wanted =
            self.wanted.and_then(|wanted| wanted.get(self.output.at - self.start..)?.get(..SAME_BYTES));
        let is = self.model.content.same(self.coder, wanted == Some(bytes));
        if is {
            self.output.extend(bytes)?;
            self.clean += SAME_BYTES;
            self.history = u32::MAX;
        }
        Ok(is)
    }

    /// Many bytes at once, if all before them were as predicted. Gives how many.
    fn run(&mut self, view: &View<'_>, old: usize) -> Result<usize> {
        let mut total = 0;
        while self.clean >= RUN_BYTES && self.pending.is_none() && total == 0 {
            let (predicted, bytes, reached) = self.predict(view, old);
            let predicted = &predicted[..bytes];
            let is = (0..).zip(predicted).all(|(ahead, byte)| self.wanted(ahead) == *byte);
            if self.model.content.run(self.coder, self.clean, is) {
                self.output.extend(predicted)?;
                self.reached = reached;
                self.clean += bytes;
                self.history = u32::MAX;
                total += bytes;
            } else {
                self.clean = 0;
            }
        }
        Ok(total)
    }

    /// The next bytes as they should be, and how many they are: all, but for a reference that sticks out at their end.
    fn predict(&mut self, view: &View<'_>, old: usize) -> ([u8; RUN_BYTES], usize, Reached) {
        let mut out = [0; RUN_BYTES];
        let (mut at, mut reached) = (0, self.reached);
        while at < RUN_BYTES {
            let quiet = self.references.quiet(&mut self.stretch, view, (old + at, RUN_BYTES - at));
            if quiet > 0 {
                let from = view.many(old + at, quiet);
                out[at..].iter_mut().zip(from).for_each(|(to, from)| *to = *from);
                at += quiet;
                continue;
            }
            let place = (old + at, self.output.at + at);
            if let Some(guess) =
                self.references.guess(&self.model.known, (view, &self.stretch), place, reached)
            {
                let Some(to) = out.get_mut(at..at + guess.len()) else { break };
                to.copy_from_slice(&guess.bytes[..guess.len()]);
                guess.follow(&mut reached, u64::from_le_bytes(guess.bytes));
                at += guess.len();
            } else {
                out[at] = view.byte(old + at);
                at += 1;
            }
        }
        (out, at, reached)
    }

    /// One byte of a copy, of which `left` bytes are left.
    fn byte(&mut self, view: &View<'_>, old: usize, left: usize) -> Result<()> {
        if self.pending.is_none() && self.references.quiet(&mut self.stretch, view, (old, 1)) == 0 {
            let place = (old, self.output.at);
            let guess = self.references.guess(&self.model.known, (view, &self.stretch), place, self.reached);
            let guess = guess.filter(|guess| guess.len() <= left);
            self.pending = guess.map(|guess| Pending { guess, done: 0, bytes: [0; 8] });
        }
        let (predicted, class) = match &self.pending {
            Some(Pending { guess, done, .. }) => (guess.bytes[*done], guess.class(*done)),
            None => (view.byte(old), 0),
        };
        let place = self.place(predicted, class);
        let is = self.model.content.hit(self.coder, &place, self.wanted(0) == predicted);
        self.history = self.history << 1 | u32::from(is);
        let byte = if is {
            self.clean += 1;
            predicted
        } else {
            self.clean = 0;
            let told = if class == 0 { Told::Changed } else { Told::Moved };
            self.model.content.byte(self.coder, &place, told, self.wanted(0))
        };
        self.output.push(byte)?;
        self.settle(byte);
        Ok(())
    }

    /// A byte of a reference is known; after the last one, all of it.
    fn settle(&mut self, byte: u8) {
        let Some(pending) = &mut self.pending else { return };
        pending.bytes[pending.done] = byte;
        pending.done += 1;
        if pending.done == pending.guess.len() {
            let bytes = u64::from_le_bytes(pending.bytes);
            pending.guess.follow(&mut self.reached, bytes);
            self.references.learn(&mut self.model.known, &pending.guess, bytes);
            self.pending = None;
        }
    }

    fn all(mut self, old: &mut dyn Old, plan: &Plan, end: usize) -> Result<()> {
        let mut buffer = Vec::new();
        self.pass();
        for copy in &plan.copies {
            let copy = Copy::from(*copy);
            self.insert_until(copy.new)?;
            self.copy_all(old, &copy, &mut buffer)?;
        }
        self.insert_until(end)?;
        self.output.flush()
    }
}

/// Bytes of the old file with a margin around. The buffer only grows: to clear it each time takes as long as to fill it.
fn piece<'a>(old: &mut dyn Old, (at, bytes): (usize, usize), buffer: &'a mut Vec<u8>) -> Result<View<'a>> {
    let length = usize::try_from(old.length()).unwrap_or(usize::MAX);
    let start = at.saturating_sub(MARGIN);
    let bytes = (at + bytes + RUN_BYTES + MARGIN).min(length) - start;
    buffer.resize(bytes.max(buffer.len()), 0);
    let bytes = &mut buffer[..bytes];
    old.read_at(u64::try_from(start).unwrap_or(u64::MAX), bytes)?;
    Ok(View { bytes, start })
}

/// An old file no further than so many bytes.
struct Beginning<'a> {
    old: &'a mut dyn Old,
    length: u64,
}

impl Old for Beginning<'_> {
    fn length(&self) -> u64 {
        self.length
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.old.read_at(offset, buffer)
    }
}

/// Codes the bytes of one file after its plan.
pub(crate) fn bytes<C: Coder>(
    coder: &mut C,
    model: &mut Model,
    (old, ends): (&mut dyn Old, Ends),
    plan: &Plan,
    (wanted, sink): (Option<&[u8]>, &mut Sink<'_>),
) -> Result<()> {
    let moves = Moves::new(&plan.copies);
    let sections = Sections::of(&mut Beginning { old, length: plan.headed })?
        .and(&plan.tables, &plan.old)
        .ok_or(Failure::Corrupt("place of a table"))?;
    let (sections, none) = (sections.with_types(old)?, Sections::default());
    let side = |space, sections, length| Side { space, sections, length };
    let end = plan.new_bytes.end;
    let (from, to) = (side(&plan.old, &sections, ends.old), side(&plan.new, &none, end));
    let targets = Targets::new(plan.isa, from, to, &moves);
    let references = References::new(targets, Orders::read(old, &sections, &targets)?);
    let at = |at: u64| usize::try_from(at).ok().ok_or(Failure::Corrupt("size"));
    let (start, end) = (at(plan.new_bytes.start)?, at(end)?);
    let hole = |hole: &Range| Ok(at(hole.offset)?..at(hole.offset + hole.bytes)?);
    let holes = plan.holes.iter().map(hole).collect::<Result<Vec<_>>>()?;
    let output = Output { sink, buffer: Vec::new(), recent: 0, at: start };
    let run = Run {
        coder,
        model,
        references,
        wanted,
        start,
        holes: &holes,
        output,
        history: 0,
        clean: 0,
        pending: None,
        reached: Reached::default(),
        stretch: Stretch::NONE,
        operands: Operands { space: &plan.new, code: &plan.code },
    };
    run.all(old, plan, end)
}

/// One file of a stream: where it comes from, how long it becomes, where it goes.
pub struct File<'a> {
    /// The old file.
    pub old: &'a mut dyn Old,
    /// Bytes of the new file.
    pub bytes: u64,
    /// Takes the new file, piece by piece.
    pub sink: &'a mut dyn FnMut(&[u8]) -> io::Result<()>,
}

impl fmt::Debug for File<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Makes the new files of a stream, in no more memory than [`APPLY_BYTES`](crate::limits::APPLY_BYTES). What a stream that
/// nobody has vouched for makes is anything at all, but no more than `bytes` of it.
pub fn apply(delta: &[u8], files: &mut [File<'_>]) -> Result<()> {
    let mut reader = Reader::new(delta);
    let mut model = Model::new(Scale::Small.code(&mut reader, delta.len())?);
    let empty = Plan::default();
    for File { old, bytes: new, sink } in files {
        let ends = Ends { old: old.length(), made: *new };
        if ends.old > FILE_BYTES_MAX || *new > FILE_BYTES_MAX {
            return Err(Failure::Corrupt("size"));
        }
        let plan = plan(&mut reader, &mut model, ends, &empty)?;
        bytes(&mut reader, &mut model, (*old, ends), &plan, (None, *sink))?;
        if reader.is_beyond_end() {
            return Err(Failure::Corrupt("it ends too early"));
        }
    }
    Ok(())
}
