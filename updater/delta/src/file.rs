//! One file after the other, in either direction.

use crate::{
    coder::{Coder, Reader},
    content::{Content, Place, Told},
    limits::{COPIES_MAX, FILE_BYTES_MAX, OUTPUT_BYTES, PIECE_BYTES, SEGMENTS_MAX, TABLES_MAX},
    model::Numbers,
    moves::{Copy, Moves, Packed},
    orders::{Orders, Reached},
    references::{Guess, References, Side, Targets},
    sections::Sections,
    shifts::Known,
    space::{Isa, Segment, Space},
    tables::{Kind, Table},
    words::{MARGIN, View},
};
use std::{fmt, io, ops::Range};

/// Bytes that are coded as one when all were as predicted for a while.
pub(crate) const RUN_BYTES: usize = 32;

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

type Result<T> = std::result::Result<T, Failure>;

/// What one stream of deltas learns over all its files.
#[derive(Debug)]
pub(crate) struct Model {
    content: Content,
    gaps: Numbers,
    jumps: Numbers,
    lengths: Numbers,
    layout: Numbers,
    known: Known,
}

impl Model {
    pub(crate) fn new() -> Self {
        let numbers = Numbers::new;
        Self {
            content: Content::new(),
            gaps: numbers(),
            jumps: numbers(),
            lengths: numbers(),
            layout: numbers(),
            known: Known::default(),
        }
    }
}

/// What is said about a file before its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Where in the new file the bytes to make begin.
    pub(crate) start: u64,
    pub(crate) isa: Isa,
    pub(crate) old: Space,
    pub(crate) new: Space,
    pub(crate) tables: Vec<Table>,
    pub(crate) copies: Vec<Packed>,
}

/// Where the old file ends, and what of the new one has to be made.
#[derive(Clone, Debug)]
pub(crate) struct Ends {
    pub(crate) old: u64,
    pub(crate) new: Range<u64>,
}

/// Codes a plan. A reader passes an empty one and gets what it reads; it knows how many bytes to make, not where they
/// begin, and passes a range from 0.
pub(crate) fn plan<C: Coder>(coder: &mut C, model: &mut Model, ends: &Ends, plan: &Plan) -> Result<Plan> {
    let bytes = ends.new.end - ends.new.start;
    let start = model.layout.code(coder, plan.start);
    let end =
        start.checked_add(bytes).filter(|end| *end <= FILE_BYTES_MAX).ok_or(Failure::Corrupt("start"))?;
    let isa = Isa::from_code(model.layout.code(coder, plan.isa.code())).ok_or(Failure::Corrupt("code"))?;
    let old = space(coder, &mut model.layout, &plan.old)?;
    let new = space(coder, &mut model.layout, &plan.new)?;
    let tables = tables(coder, &mut model.layout, ends.old, &plan.tables)?;
    let ends = Ends { old: ends.old, new: start..end };
    let copies = copies(coder, model, &ends, &plan.copies)?;
    Ok(Plan { start, isa, old, new, tables, copies })
}

fn copies<C: Coder>(coder: &mut C, model: &mut Model, ends: &Ends, known: &[Packed]) -> Result<Vec<Packed>> {
    let count = model.layout.code(coder, u64::try_from(known.len()).unwrap_or(0));
    let count = usize::try_from(count).ok().filter(|count| *count <= COPIES_MAX);
    let count = count.ok_or(Failure::Corrupt("number of copies"))?;
    let mut copies = Vec::with_capacity(count);
    let (mut at_new, mut at_old) = (ends.new.start, 0_u64);
    for number in 0..count {
        let known = known
            .get(number)
            .map(|copy| Copy::from(*copy))
            .map(|copy| [copy.new, copy.old, copy.bytes].map(|at| u64::try_from(at).unwrap_or(0)));
        let [to, from, bytes] = known.unwrap_or([at_new, at_old, 1]);
        let new = at_new + model.gaps.code(coder, to.saturating_sub(at_new));
        let jump = model.jumps.signed(coder, from.wrapping_sub(at_old).cast_signed());
        let old = at_old.checked_add_signed(jump).ok_or(Failure::Corrupt("place of a copy"))?;
        let bytes = 1 + model.lengths.code(coder, bytes.saturating_sub(1));
        (at_new, at_old) = (new + bytes, old.saturating_add(bytes));
        if at_new > ends.new.end || at_old > ends.old {
            return Err(Failure::Corrupt("length of a copy"));
        }
        let at = |at: u64| usize::try_from(at).ok().ok_or(Failure::Corrupt("size"));
        copies.push(Copy { new: at(new)?, old: at(old)?, bytes: at(bytes)? }.into());
    }
    Ok(copies)
}

fn tables<C: Coder>(coder: &mut C, numbers: &mut Numbers, end: u64, known: &[Table]) -> Result<Vec<Table>> {
    let count = numbers.code(coder, u64::try_from(known.len()).unwrap_or(0));
    let count = usize::try_from(count).ok().filter(|count| *count <= TABLES_MAX);
    let mut tables = Vec::new();
    for number in 0..count.ok_or(Failure::Corrupt("number of tables"))? {
        let none = Table { offset: 0, bytes: 0, kind: Kind::Addresses, from: 0 };
        let Table { offset, bytes, kind, from } = known.get(number).copied().unwrap_or(none);
        let (offset, bytes) = (numbers.code(coder, offset), numbers.code(coder, bytes));
        let kind = Kind::from_code(numbers.code(coder, kind.code()));
        let from = numbers.code(coder, from);
        let kind = kind.filter(|_| offset + bytes <= end).ok_or(Failure::Corrupt("table"))?;
        tables.push(Table { offset, bytes, kind, from });
    }
    Ok(tables)
}

fn space<C: Coder>(coder: &mut C, numbers: &mut Numbers, space: &Space) -> Result<Space> {
    let count = numbers.code(coder, u64::try_from(space.segments().len()).unwrap_or(0));
    let count = usize::try_from(count).ok().filter(|count| *count <= SEGMENTS_MAX);
    let mut segments = Vec::new();
    for number in 0..count.ok_or(Failure::Corrupt("number of segments"))? {
        let none = Segment { offset: 0, address: 0, bytes: 0 };
        let known = space.segments().get(number).copied().unwrap_or(none);
        let (high, low) = (known.address >> 32, known.address & 0xffff_ffff);
        segments.push(Segment {
            offset: numbers.code(coder, known.offset),
            address: (numbers.code(coder, high) & 0xffff_ffff) << 32 | numbers.code(coder, low) & 0xffff_ffff,
            bytes: numbers.code(coder, known.bytes),
        });
    }
    Space::new(segments).ok_or(Failure::Corrupt("segment"))
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
    output: Output<'a>,
    history: u32,
    clean: usize,
    pending: Option<Pending>,
    reached: Reached,
}

impl<C: Coder> Run<'_, C> {
    fn wanted(&self, ahead: usize) -> u8 {
        self.wanted.and_then(|wanted| wanted.get(self.output.at - self.start + ahead)).copied().unwrap_or(0)
    }

    fn place(&self, predicted: u8, class: usize) -> Place {
        let Output { at, recent, .. } = self.output;
        Place { at, recent, predicted, class, history: self.history }
    }

    fn insert(&mut self, bytes: usize) -> Result<()> {
        for _ in 0..bytes {
            let place = self.place(0, 0);
            let byte = self.model.content.byte(self.coder, &place, Told::New, self.wanted(0));
            self.output.push(byte)?;
        }
        Ok(())
    }

    fn copy(&mut self, old: &mut dyn Old, copy: &Copy) -> Result<()> {
        (self.history, self.clean, self.pending) = (u32::MAX, 0, None);
        let mut done = 0;
        while done < copy.bytes {
            let bytes = (copy.bytes - done).min(PIECE_BYTES);
            let piece = piece(old, copy.old + done, bytes)?;
            let view = View { bytes: &piece.0, start: piece.1 };
            let mut at = 0;
            while at < bytes {
                let (from, left) = (copy.old + done + at, copy.bytes - done - at);
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

    /// Many bytes at once, if all before them were as predicted. Gives how many.
    fn run(&mut self, view: &View<'_>, old: usize) -> Result<usize> {
        let mut total = 0;
        while self.clean >= RUN_BYTES && self.pending.is_none() && total == 0 {
            let Some((predicted, reached)) = self.predict(view, old) else { break };
            let is = (0..).zip(predicted).all(|(ahead, byte)| self.wanted(ahead) == byte);
            if self.model.content.run(self.coder, self.clean, is) {
                for byte in predicted {
                    self.output.push(byte)?;
                }
                self.reached = reached;
                self.clean += RUN_BYTES;
                self.history = u32::MAX;
                total += RUN_BYTES;
            } else {
                self.clean = 0;
            }
        }
        Ok(total)
    }

    /// The next bytes as they should be, unless a reference sticks out at their end.
    fn predict(&self, view: &View<'_>, old: usize) -> Option<([u8; RUN_BYTES], Reached)> {
        let mut out = [0; RUN_BYTES];
        let (mut at, mut reached) = (0, self.reached);
        while at < RUN_BYTES {
            let place = (old + at, self.output.at + at);
            if let Some(guess) = self.references.guess(&self.model.known, view, place, reached) {
                out.get_mut(at..at + guess.len())?.copy_from_slice(&guess.bytes[..guess.len()]);
                guess.follow(&mut reached, u64::from_le_bytes(guess.bytes));
                at += guess.len();
            } else {
                out[at] = view.byte(old + at);
                at += 1;
            }
        }
        Some((out, reached))
    }

    /// One byte of a copy, of which `left` bytes are left.
    fn byte(&mut self, view: &View<'_>, old: usize, left: usize) -> Result<()> {
        if self.pending.is_none() {
            let place = (old, self.output.at);
            let guess = self.references.guess(&self.model.known, view, place, self.reached);
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
        for copy in &plan.copies {
            let copy = Copy::from(*copy);
            self.insert(copy.new - self.output.at)?;
            self.copy(old, &copy)?;
        }
        self.insert(end - self.output.at)?;
        self.output.flush()
    }
}

/// Bytes of the old file with a margin around, and where they begin.
fn piece(old: &mut dyn Old, at: usize, bytes: usize) -> Result<(Vec<u8>, usize)> {
    let length = usize::try_from(old.length()).unwrap_or(usize::MAX);
    let start = at.saturating_sub(MARGIN);
    let end = (at + bytes + RUN_BYTES + MARGIN).min(length);
    let mut buffer = vec![0; end - start];
    old.read_at(u64::try_from(start).unwrap_or(u64::MAX), &mut buffer)?;
    Ok((buffer, start))
}

/// Codes the bytes of one file after its plan.
pub(crate) fn bytes<C: Coder>(
    coder: &mut C,
    model: &mut Model,
    (old, ends): (&mut dyn Old, &Ends),
    plan: &Plan,
    (wanted, sink): (Option<&[u8]>, &mut Sink<'_>),
) -> Result<()> {
    let moves = Moves::new(&plan.copies);
    let sections =
        Sections::of(old)?.and(&plan.tables, &plan.old).ok_or(Failure::Corrupt("place of a table"))?;
    let (sections, none) = (sections.with_types(old)?, Sections::default());
    let side = |space, sections, length| Side { space, sections, length };
    let end = plan.start + (ends.new.end - ends.new.start);
    let (from, to) = (side(&plan.old, &sections, ends.old), side(&plan.new, &none, end));
    let targets = Targets::new(plan.isa, from, to, &moves);
    let references = References::new(targets, Orders::read(old, &sections, &targets)?);
    let at = |at: u64| usize::try_from(at).ok().ok_or(Failure::Corrupt("size"));
    let (start, end) = (at(plan.start)?, at(end)?);
    let output = Output { sink, buffer: Vec::new(), recent: 0, at: start };
    let run = Run {
        coder,
        model,
        references,
        wanted,
        start,
        output,
        history: 0,
        clean: 0,
        pending: None,
        reached: Reached::default(),
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
    let (mut reader, mut model) = (Reader::new(delta), Model::new());
    let empty = Plan {
        start: 0,
        isa: Isa::None,
        old: Space::default(),
        new: Space::default(),
        tables: Vec::new(),
        copies: Vec::new(),
    };
    for File { old, bytes: new, sink } in files {
        let ends = Ends { old: old.length(), new: 0..*new };
        if ends.old > FILE_BYTES_MAX || *new > FILE_BYTES_MAX {
            return Err(Failure::Corrupt("size"));
        }
        let plan = plan(&mut reader, &mut model, &ends, &empty)?;
        bytes(&mut reader, &mut model, (*old, &ends), &plan, (None, *sink))?;
        if reader.is_beyond_end() {
            return Err(Failure::Corrupt("it ends too early"));
        }
    }
    Ok(())
}
