//! The workstation's side: what to say about a file, then the same code as the reader.

use crate::{
    align::{align, longest},
    coder::Writer,
    file::{self, Failure, Model},
    limits::{CODE_MAX, FILE_BYTES_MAX, HOLES_MAX, SMALL_STREAM_BYTES_MAX},
    moves::{Copy, Moves, Packed},
    plan::{Ends, Plan, plan},
    references::{Side, Targets},
    scale::Scale,
    sections::{Range, Sections},
    space::{Isa, Segment, Space},
    tables::{Table, find},
};
use std::{ops, sync::Arc};

/// How often copies are looked for again when it is known where references go.
const ROUNDS: usize = 2;

/// New bytes from which on it is tried whether large tables are worth it.
const LARGE_BYTES_MIN: usize = 4 << 20;
/// How far the addresses of old files that stand behind one another are apart: more than any file reaches.
const APART: u64 = 1 << 40;

/// Both versions of a file, or of the new one a part.
#[derive(Clone, Debug)]
pub struct Pair<'a> {
    /// The old file, or several one behind the other; empty if there is none.
    pub old: &'a [u8],
    /// What has to be made: the new file or a part of it.
    pub new: &'a [u8],
    /// Where in the new file it begins.
    pub start: u64,
    /// What of that is not made after all, from the beginning of the new file on.
    holes: Vec<Range>,
    /// The code in both.
    pub isa: Isa,
    /// Where the old file is in memory.
    pub old_space: Space,
    /// Where the whole new file is in memory.
    pub new_space: Space,
    sections: Arc<Sides>,
}

/// The sections of both files.
#[derive(Debug, Default)]
struct Sides {
    old: Sections,
    new: Sections,
    tables: Vec<Table>,
    /// Where the new file has x86-64 code.
    code: Vec<Range>,
    /// Where the first of the old files ends: only its sections are known.
    headed: u64,
}

impl<'a> Pair<'a> {
    /// Whole files, which say themselves where they are in memory.
    pub fn of(old: &'a [u8], new: &'a [u8]) -> Self {
        Self::of_several(old, &[old.len()], new)
    }

    /// The same from several old files one behind the other, which end there.
    pub fn of_several(old: &'a [u8], ends: &[usize], new: &'a [u8]) -> Self {
        let first = &old[..ends.first().map_or(old.len(), |end| (*end).min(old.len()))];
        let (old_space, isa) = space_of_several(old, ends);
        let (new_space, isa_of_new) = Space::of_file(new);
        let isa = if isa == isa_of_new { isa } else { Isa::None };
        let sections = |mut file: &[u8], space: &Space| {
            let (sections, tables) = (Sections::of(&mut file).unwrap_or_default(), find(file, space));
            sections.clone().and(&tables, space).map_or((sections, Vec::new()), |all| (all, tables))
        };
        let (in_old, tables) = sections(first, &old_space);
        let in_new = sections(new, &new_space).0;
        let is_told = isa_of_new == Isa::X86_64 && new_space.is_linked();
        let code = if is_told { in_new.code(CODE_MAX, wide(new.len())) } else { Vec::new() };
        let sections = Arc::new(Sides { old: in_old, new: in_new, tables, code, headed: wide(first.len()) });
        Self { old, new, start: 0, holes: Vec::new(), isa, old_space, new_space, sections }
    }

    /// The same with a part of what this pair makes; what lies outside of `new` is cut off. Each part finds what it has
    /// in common with the whole old file.
    pub fn part(&self, range: ops::Range<usize>) -> Self {
        let from = range.start.min(self.new.len());
        let to = range.end.clamp(from, self.new.len());
        let start = self.start.saturating_add(wide(from));
        Self { new: &self.new[from..to], start, ..self.clone() }
    }

    /// The same, but for what of the new file is not made: a machine has it. Copies are told all the same, so that it is
    /// known where everything went. The ranges are of the whole new file, ascend, and lie in what this pair makes; with more
    /// of them than [`HOLES_MAX`] nothing can be made.
    pub fn without(&self, holes: impl IntoIterator<Item = ops::Range<usize>>) -> Self {
        let hole = |hole: ops::Range<usize>| Range { offset: wide(hole.start), bytes: wide(hole.len()) };
        Self { holes: holes.into_iter().map(hole).collect(), ..self.clone() }
    }

    /// The bytes that are made, in order.
    pub fn made(&self) -> impl Iterator<Item = &'a [u8]> {
        let (new, start) = (self.new, self.start);
        let at = move |place: u64| usize::try_from(place.saturating_sub(start)).unwrap_or(usize::MAX);
        let ends = self.holes.iter().map(move |hole| at(hole.offset)).chain([new.len()]);
        let begins = [0].into_iter().chain(self.holes.iter().map(move |hole| at(hole.offset + hole.bytes)));
        begins.zip(ends).map(move |(begin, end)| new.get(begin..end).unwrap_or_default())
    }

    /// How many they are.
    pub fn made_bytes(&self) -> u64 {
        wide(self.made().map(<[u8]>::len).sum())
    }

    fn ends(&self) -> Option<Ends> {
        let (old, end) = (wide(self.old.len()), self.start.checked_add(wide(self.new.len()))?);
        let is_told = old.max(end) <= FILE_BYTES_MAX && self.holes.len() <= HOLES_MAX;
        is_told.then_some(Ends { old, made: self.made_bytes() })
    }

    fn plan(&self) -> Plan {
        let (old, new) = (self.old_space.clone(), self.new_space.clone());
        let isa = if self.old.is_empty() { Isa::None } else { self.isa };
        let start = usize::try_from(self.start).unwrap_or(0);
        let mut copies = shifted(&align(self.old, self.new), start);
        for _ in 0..if isa == Isa::None { 0 } else { ROUNDS } {
            copies = self.realign(isa, &copies, start);
        }
        let Sides { tables, code, headed, .. } = &*self.sections;
        let (tables, code) = (tables.clone(), code.clone());
        let new_bytes = self.start..self.start.saturating_add(wide(self.new.len()));
        Plan { new_bytes, holes: self.holes.clone(), isa, old, new, headed: *headed, tables, code, copies }
    }

    /// Copies of what is alike when references are told by their targets.
    fn realign(&self, isa: Isa, copies: &[Packed], start: usize) -> Vec<Packed> {
        let Sides { old, new, .. } = &*self.sections;
        let before = Side { space: &self.old_space, sections: old, length: wide(self.old.len()) };
        let after = Side { space: &self.new_space, sections: new, length: self.start + wide(self.new.len()) };
        let (moves, stay) = (Moves::new(copies), Moves::default());
        let was = Targets::new(isa, before, after, &moves).absolute(self.old, 0);
        let is = Targets::new(isa, after, after, &stay).absolute(self.new, start);
        shifted(&align(&was, &is), start)
    }
}

/// Where several files one behind the other are in memory: each far from the others. If the first has no addresses, none of
/// them has.
fn space_of_several(old: &[u8], ends: &[usize]) -> (Space, Isa) {
    let [_, _, ..] = ends else { return Space::of_file(old) };
    let (mut segments, mut begin, mut isas) = (Vec::new(), 0, Vec::new());
    for (apart, end) in (0..).map(|number: u64| number.saturating_mul(APART)).zip(ends) {
        let file = old.get(begin..*end).unwrap_or_default();
        let (space, isa) = Space::of_file(file);
        if segments.is_empty() && !space.is_linked() {
            return (Space::default(), isa);
        }
        let length = wide(file.len());
        let all = [Segment { offset: 0, address: 0, bytes: length }];
        for segment in if space.is_linked() { space.segments() } else { &all } {
            let Segment { offset, address, bytes } = *segment;
            let bytes = bytes.min(length.saturating_sub(offset));
            if bytes > 0 {
                let offset = wide(begin) + offset;
                segments.push(Segment { offset, address: address.wrapping_add(apart), bytes });
            }
        }
        isas.push(isa);
        begin = *end;
    }
    (Space::new(segments).unwrap_or_default(), isas.first().copied().unwrap_or_default())
}

/// Copies by their places in the new file, not in the part.
fn shifted(copies: &[Copy], start: usize) -> Vec<Packed> {
    copies.iter().map(|copy| Copy { new: copy.new + start, ..*copy }.into()).collect()
}

fn wide(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// A stream that makes every new file from its old one, in this order; the same pairs give the same bytes. `None` if a
/// file is too large. Uses about 12 times the bytes of the largest pair.
pub fn make(pairs: &[Pair<'_>]) -> Option<Vec<u8>> {
    make_measured(pairs).map(|(stream, _)| stream)
}

/// The same as [`make`], and for each pair how much of the stream is written, give or take some bytes, when it is done.
pub fn make_measured(pairs: &[Pair<'_>]) -> Option<(Vec<u8>, Vec<usize>)> {
    let planned = |pair: &Pair<'_>| Some((pair.ends()?, pair.plan()));
    let mut plans: Vec<(Ends, Plan)> = pairs.iter().map(planned).collect::<Option<_>>()?;
    let new: usize = pairs.iter().zip(&plans).map(|(pair, (_, plan))| new_bytes(pair, plan)).sum();
    if new >= LARGE_BYTES_MIN {
        let large = write(pairs, &plans, Scale::Large)?;
        if large.0.len() > SMALL_STREAM_BYTES_MAX {
            return Some(large);
        }
    }
    for (_, plan) in &mut plans {
        longest(&mut plan.copies, Scale::Small.copies_max(), |copy| Copy::from(*copy).bytes);
    }
    write(pairs, &plans, Scale::Small)
}

/// Bytes that no copy makes.
fn new_bytes(pair: &Pair<'_>, plan: &Plan) -> usize {
    let copied: usize = plan.copies.iter().map(|copy| Copy::from(*copy).bytes).sum();
    pair.new.len().saturating_sub(copied)
}

fn write(pairs: &[Pair<'_>], plans: &[(Ends, Plan)], scale: Scale) -> Option<(Vec<u8>, Vec<usize>)> {
    let (mut writer, mut model, mut ends) =
        (Writer::new(), Model::new(scale), Vec::with_capacity(pairs.len()));
    scale.code(&mut writer, usize::MAX).ok()?;
    for (pair, planned) in pairs.iter().zip(plans) {
        one(&mut writer, &mut model, pair, planned).ok()?;
        ends.push(writer.len());
    }
    Some((writer.finish(), ends))
}

fn one(
    writer: &mut Writer,
    model: &mut Model,
    pair: &Pair<'_>,
    (ends, known): &(Ends, Plan),
) -> Result<(), Failure> {
    let plan = plan(writer, model, *ends, known)?;
    let mut old = pair.old;
    file::bytes(writer, model, (&mut old, *ends), &plan, (Some(pair.new), &mut |_| Ok(())))
}
