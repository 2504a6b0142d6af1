//! The workstation's side: what to say about a file, then the same code as the reader.

use crate::{
    align::align,
    coder::Writer,
    file::{self, Failure, Model},
    limits::FILE_BYTES_MAX,
    moves::{Copy, Moves, Packed},
    plan::{Ends, Plan, plan},
    references::{Side, Targets},
    sections::Sections,
    space::{Isa, Space},
    tables::{Table, find},
};
use std::{ops::Range, sync::Arc};

/// How often copies are looked for again when it is known where references go.
const ROUNDS: usize = 2;

/// Both versions of a file, or of the new one a part.
#[derive(Clone, Debug)]
pub struct Pair<'a> {
    /// The old file; empty if there is none.
    pub old: &'a [u8],
    /// What has to be made: the new file or a part of it.
    pub new: &'a [u8],
    /// Where in the new file it begins.
    pub start: u64,
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
}

impl<'a> Pair<'a> {
    /// Whole files, which say themselves where they are in memory.
    pub fn of(old: &'a [u8], new: &'a [u8]) -> Self {
        let (old_space, isa) = Space::of_file(old);
        let (new_space, isa_of_new) = Space::of_file(new);
        let isa = if isa == isa_of_new { isa } else { Isa::None };
        let sections = |mut file: &[u8], space: &Space| {
            let (sections, tables) = (Sections::of(&mut file).unwrap_or_default(), find(file, space));
            sections.clone().and(&tables, space).map_or((sections, Vec::new()), |all| (all, tables))
        };
        let (in_old, tables) = sections(old, &old_space);
        let sections = Arc::new(Sides { old: in_old, new: sections(new, &new_space).0, tables });
        Self { old, new, start: 0, isa, old_space, new_space, sections }
    }

    /// The same with a part of what this pair makes; what lies outside of `new` is cut off. Each part finds what it has
    /// in common with the whole old file.
    pub fn part(&self, range: Range<usize>) -> Self {
        let from = range.start.min(self.new.len());
        let to = range.end.clamp(from, self.new.len());
        let start = self.start.saturating_add(wide(from));
        Self { new: &self.new[from..to], start, ..self.clone() }
    }

    fn ends(&self) -> Option<Ends> {
        let (old, end) = (wide(self.old.len()), self.start.checked_add(wide(self.new.len()))?);
        (old.max(end) <= FILE_BYTES_MAX).then_some(Ends { old, new: self.start..end })
    }

    fn plan(&self) -> Plan {
        let (old, new) = (self.old_space.clone(), self.new_space.clone());
        let isa = if self.old.is_empty() { Isa::None } else { self.isa };
        let start = usize::try_from(self.start).unwrap_or(0);
        let mut copies = shifted(&align(self.old, self.new), start);
        for _ in 0..if isa == Isa::None { 0 } else { ROUNDS } {
            copies = self.realign(isa, &copies, start);
        }
        let tables = self.sections.tables.clone();
        Plan { start: self.start, isa, old, new, tables, copies }
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
    let (mut writer, mut model, mut ends) = (Writer::new(), Model::new(), Vec::with_capacity(pairs.len()));
    for pair in pairs {
        one(&mut writer, &mut model, pair, &pair.ends()?).ok()?;
        ends.push(writer.len());
    }
    Some((writer.finish(), ends))
}

fn one(writer: &mut Writer, model: &mut Model, pair: &Pair<'_>, ends: &Ends) -> Result<(), Failure> {
    let plan = plan(writer, model, ends, &pair.plan())?;
    let mut old = pair.old;
    file::bytes(writer, model, (&mut old, ends), &plan, (Some(pair.new), &mut |_| Ok(())))
}
