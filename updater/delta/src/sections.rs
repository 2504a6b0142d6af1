//! What the sections of an old ELF file hold, as far as it says what its bytes refer to.
//!
//! A relocatable file (a kernel module) is full of places in its own sections: where a relocation is applied, which symbol
//! it takes, what it adds, where a symbol is, how long, what it is called. All of them are numbers from the beginning of a
//! section, and all move with what they name. The tables are those of the System V gABI, chapter 4. A file that lies
//! costs its maker bytes, no more.

use crate::{
    file::Old,
    forms::{Field, Form},
    limits::{SECTION_NAMES_BYTES_MAX, SECTION_SYMBOLS_MAX, SECTIONS_MAX},
    shifts::Shift,
    space::Space,
    tables::{Kind, Table},
    types::Types,
    words::{View, Word},
};
use std::io;

const HEADER_BYTES: usize = 64;
const SECTION_BYTES: usize = 64;
/// Bytes of a relocation, and of a symbol.
pub(crate) const RECORD_BYTES: usize = 24;
const RELOCATABLE: u64 = 1;
/// Kinds of sections.
const SYMBOLS: u64 = 2;
const RELOCATIONS: u64 = 4;
const NO_BITS: u64 = 8;
const IS_CODE: u64 = 4;
/// The kind of a symbol that stands for a section.
const OF_SECTION: u8 = 3;
/// Pieces of code that are as near to each other are one.
#[cfg(any(test, feature = "make"))]
const CODE_GAP: u64 = 4096;
/// x86-64: relocations of instructions, whose addend is 4 less than what they go to.
const FROM_BEHIND: [u64; 2] = [2, 4];
const BEHIND: u64 = 4;

/// What a part of the file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Code and data that may refer to anything.
    Any,
    /// Code.
    Code,
    /// Data that may refer to anything.
    Plain,
    /// Records of the kernel's alternative instructions: two offsets in 14 bytes.
    Alternatives,
    /// Bytes without references.
    Data,
    /// Numbers that become what they became elsewhere.
    Sums,
    /// Descriptions of types (BTF).
    Types,
    /// Where relocations go: a section, as bytes; whether it is code; the section of symbols.
    Relocations { place: Range, is_code: bool, symbols: Range },
    /// Symbols, and where their names are.
    Symbols { names: Range },
    /// Headers of sections.
    Headers,
    /// Numbers of one kind, counted from an address.
    Numbers { kind: Kind, from: u64 },
}

/// Bytes of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

impl Range {
    pub(crate) const fn holds(self, at: u64) -> bool {
        at.wrapping_sub(self.offset) < self.bytes
    }
}

/// Bytes that lie in the same part, or all in none: those from `start` up to `end`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    start: u64,
    pub(crate) end: u64,
    /// The number of the part.
    pub(crate) part: Option<usize>,
    range: Range,
    pub(crate) what: What,
}

impl Stretch {
    /// No bytes.
    pub(crate) const NONE: Self =
        Self { start: 0, end: 0, part: None, range: Range { offset: 0, bytes: 0 }, what: What::Data };

    pub(crate) const fn holds(&self, at: u64) -> bool {
        self.start <= at && at < self.end
    }

    /// The part: its bytes, and what it holds.
    pub(crate) const fn whole(&self) -> (Range, What) {
        (self.range, self.what)
    }
}

/// The sections of a file by their offsets. Of a file that is not relocatable only descriptions of types are known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sections {
    /// Whether what lies in no section is of no interest.
    is_relocatable: bool,
    parts: Vec<(Range, What)>,
    /// Tables that no header tells of.
    told: Vec<(Range, What)>,
    /// Sections by their numbers.
    numbered: Vec<Range>,
    /// The sections that the first symbols stand for; 0 for none.
    of_symbols: Vec<usize>,
    types: Types,
}

/// A table of the file, read no further than it goes.
fn table(old: &mut dyn Old, Range { offset, bytes }: Range, most: usize) -> io::Result<Vec<u8>> {
    let left = old.length().saturating_sub(offset);
    let bytes = usize::try_from(bytes.min(left)).unwrap_or(usize::MAX).min(most);
    let mut out = vec![0; bytes];
    old.read_at(offset.min(old.length()), &mut out)?;
    Ok(out)
}

fn number(bytes: &[u8], at: usize, count: usize) -> u64 {
    let of = bytes.get(at..).and_then(|rest| rest.get(..count)).unwrap_or_default();
    of.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl Sections {
    /// What the headers of a 64-bit little-endian ELF file say; nothing of any other file.
    pub(crate) fn of(old: &mut dyn Old) -> io::Result<Self> {
        let header = table(old, Range { offset: 0, bytes: 64 }, HEADER_BYTES)?;
        if header.len() < HEADER_BYTES || !header.starts_with(b"\x7fELF\x02\x01") {
            return Ok(Self::default());
        }
        let count = number(&header, 60, 2);
        let place = Range { offset: number(&header, 40, 8), bytes: 64 * count };
        if index(count) > SECTIONS_MAX || number(&header, 58, 2) != 64 {
            return Ok(Self::default());
        }
        let headers = table(old, place, SECTION_BYTES * SECTIONS_MAX)?;
        let headers: Vec<&[u8]> = headers.chunks_exact(SECTION_BYTES).collect();
        let numbered: Vec<Range> = headers
            .iter()
            .map(|header| Range { offset: number(header, 24, 8), bytes: number(header, 32, 8) })
            .collect();
        let names = numbered.get(index(number(&header, 62, 2))).copied().unwrap_or_default();
        let names = table(old, names, SECTION_NAMES_BYTES_MAX)?;
        let is_relocatable = number(&header, 16, 2) == RELOCATABLE;
        let mut this = Self {
            is_relocatable,
            parts: Vec::new(),
            told: Vec::new(),
            numbered,
            of_symbols: Vec::new(),
            types: Types::default(),
        };
        for (header, range) in headers.iter().zip(&this.numbered) {
            let what = what(header, &headers, (&this.numbered, is_relocatable), &names);
            let is_known = is_relocatable
                || !matches!(
                    what,
                    What::Any | What::Relocations { .. } | What::Symbols { .. } | What::Headers
                );
            if is_known && number(header, 4, 4) != NO_BITS && range.bytes > 0 {
                this.parts.push((*range, what));
            }
            if is_relocatable && number(header, 4, 4) == SYMBOLS {
                let symbols = table(old, *range, RECORD_BYTES * SECTION_SYMBOLS_MAX)?;
                this.of_symbols = symbols.chunks_exact(RECORD_BYTES).map(section_of).collect();
            }
        }
        if is_relocatable {
            this.parts.push((place, What::Headers));
        }
        this.parts.sort_by_key(|(range, _)| range.offset);
        Ok(this)
    }

    /// The same, with tables that are told; what they hold counts before what sections do.
    pub(crate) fn and(mut self, tables: &[Table], space: &Space) -> Option<Self> {
        for Table { offset, bytes, kind, from } in tables {
            let from = if *kind == Kind::Addresses { 0 } else { space.address(*from)? };
            let range = Range { offset: *offset, bytes: *bytes };
            self.told.push((range, What::Numbers { kind: *kind, from }));
        }
        self.told.sort_by_key(|(range, _)| range.offset);
        Some(self)
    }

    /// The same, with which words of its descriptions of types are what.
    pub(crate) fn with_types(mut self, old: &mut dyn Old) -> io::Result<Self> {
        let types = self.parts.iter().find(|(_, what)| *what == What::Types);
        if let Some((Range { offset, bytes }, _)) = types {
            self.types = Types::read(old, *offset, *bytes)?;
        }
        Ok(self)
    }

    /// Where a file of `length` bytes has code that is not relocated, in at most so many pieces.
    #[cfg(any(test, feature = "make"))]
    pub(crate) fn code(&self, most: usize, length: u64) -> Vec<Range> {
        let mut pieces: Vec<Range> = Vec::new();
        let code = self.parts.iter().filter(|(_, what)| *what == What::Code && !self.is_relocatable);
        for (range, _) in code {
            let end = pieces.last().map_or(0, |last| last.offset + last.bytes);
            let until = range.offset.saturating_add(range.bytes).min(length);
            match pieces.last_mut() {
                _ if range.offset < end || range.offset >= until => {}
                Some(last) if range.offset - end < CODE_GAP => last.bytes = until - last.offset,
                _ => pieces.push(Range { offset: range.offset, bytes: until - range.offset }),
            }
        }
        pieces.truncate(most);
        pieces
    }

    /// The parts of the file: tables that were told, then sections.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &(Range, What)> {
        self.told.iter().chain(&self.parts)
    }

    /// What a byte lies in, and how far the bytes behind it lie in the same.
    pub(crate) fn stretch(&self, at: u64) -> Stretch {
        let (mut part, mut end) = within(&self.told, at);
        if part.is_none() {
            let (section, next) = within(&self.parts, at);
            (part, end) = (section.map(|section| self.told.len() + section), end.min(next));
        }
        let elsewhere =
            (Range { offset: 0, bytes: 0 }, if self.is_relocatable { What::Data } else { What::Any });
        let (range, what) = part.and_then(|part| self.parts().nth(part)).copied().unwrap_or(elsewhere);
        Stretch { start: at, end, part, range, what }
    }

    /// How many bytes from a place of a table, or of a description, up to where a number may begin.
    pub(crate) fn quiet(&self, stretch: &Stretch, at: usize) -> usize {
        let (range, what) = stretch.whole();
        let place = at.saturating_sub(index(range.offset));
        let until = |starts: &[usize], within: usize| {
            let next = starts.iter().find(|start| **start >= within);
            next.map_or(0, |next| next - within)
        };
        match what {
            What::Relocations { .. } => until(&[0, 12, 16, RECORD_BYTES], place % RECORD_BYTES),
            What::Symbols { .. } => until(&[0, 8, 16, RECORD_BYTES], place % RECORD_BYTES),
            What::Headers => until(&[24, 32, SECTION_BYTES + 24], place % SECTION_BYTES),
            What::Types if self.types.form(place).is_none() => 4 - place % 4,
            What::Sums => (4 - place % 4) % 4,
            What::Types
            | What::Any
            | What::Code
            | What::Plain
            | What::Alternatives
            | What::Data
            | What::Numbers { .. } => 0,
        }
    }

    /// The number in a table, or the word of a description, that begins at `at` in that part.
    #[inline]
    pub(crate) fn word(
        &self,
        view: &View<'_>,
        at: usize,
        address: Option<u64>,
        (range, what): (Range, What),
    ) -> Option<Word> {
        let place = at.checked_sub(index(range.offset))?;
        match what {
            What::Any | What::Code | What::Plain | What::Data => None,
            What::Alternatives => {
                let bits = u64::from(view.word(at).filter(|_| matches!(place % 14, 0 | 4))?);
                let form = Form::Offset;
                Some(Word { form, bytes: bits, target: form.target(bits, address?, 0) })
            }
            What::Sums => {
                let bits = u64::from(view.word(at).filter(|_| place.is_multiple_of(4))?);
                Some(Word { form: Form::Shift(Shift::Sum), bytes: bits, target: 0 })
            }
            What::Types => {
                let form = self.types.form(place)?;
                Some(Word { form, bytes: view.word(at)?.into(), target: 0 })
            }
            What::Relocations { place: section, is_code, symbols } => {
                let place = place % RECORD_BYTES;
                match place {
                    0 => field(Field::Place, view.long(at)?, section, 0),
                    12 => field(Field::Symbol, view.word(at)?.into(), symbols, 0),
                    16 => {
                        let kind = view.long(at - 8)?;
                        let section = self.of_symbols.get(index(kind >> 32))?;
                        let section = self.numbered.get(*section).filter(|_| *section != 0)?;
                        let is_behind = is_code && FROM_BEHIND.contains(&(kind & 0xffff_ffff));
                        field(Field::Addend, view.long(at)?, *section, if is_behind { BEHIND } else { 0 })
                    }
                    _ => None,
                }
            }
            What::Symbols { names } => {
                let (place, record) = (place % RECORD_BYTES, at - place % RECORD_BYTES);
                let section = || self.numbered.get(index((view.word(record + 4)? >> 16).into())).copied();
                match place {
                    0 => field(Field::Name, view.word(at)?.into(), names, 0),
                    8 => field(Field::Value, view.long(at)?, section()?, 0),
                    16 => length(view.long(at)?, section()?.offset.checked_add(view.long(at - 8)?)?),
                    _ => None,
                }
            }
            What::Numbers { kind, from } => {
                let is_begin = place.is_multiple_of(kind.bytes());
                let bits = if kind == Kind::Entries { view.three(at)? } else { view.word(at)?.into() };
                let form = Form::Field { field: Field::Number(kind), from, behind: 0 };
                is_begin.then(|| Word { form, bytes: bits, target: form.target(bits, from, 0) })
            }
            What::Headers => match place % SECTION_BYTES {
                24 => field(Field::Value, view.long(at)?, Range { offset: 0, bytes: u64::MAX }, 0),
                32 => length(view.long(at)?, view.long(at - 8)?),
                _ => None,
            },
        }
    }
}

/// The part that holds a byte, of parts by their offsets; and where this ends, or the next begins.
fn within(parts: &[(Range, What)], at: u64) -> (Option<usize>, u64) {
    let next = parts.partition_point(|(range, _)| range.offset <= at);
    let beyond = parts.get(next).map_or(u64::MAX, |(range, _)| range.offset);
    let last = next.checked_sub(1).and_then(|last| Some((last, parts.get(last)?.0)));
    match last.filter(|(_, range)| range.holds(at)) {
        Some((last, range)) => (Some(last), range.offset.saturating_add(range.bytes).min(beyond)),
        None => (None, beyond),
    }
}

/// A number from the beginning of a section: what it names lies `behind` bytes further on.
#[inline]
fn field(field: Field, bits: u64, section: Range, behind: u64) -> Option<Word> {
    let from = section.offset;
    let target = from.wrapping_add(bits.wrapping_mul(field.unit())).wrapping_add(behind);
    section.holds(target).then_some(Word { form: Form::Field { field, from, behind }, bytes: bits, target })
}

/// The length of what begins at `from`: told by its last byte.
fn length(bits: u64, from: u64) -> Option<Word> {
    let behind = u64::MAX;
    let target = from.checked_add(bits.checked_sub(1)?)?;
    Some(Word { form: Form::Field { field: Field::Length, from, behind }, bytes: bits, target })
}

/// The section that a symbol stands for.
fn section_of(symbol: &[u8]) -> usize {
    let is_section = symbol.get(4).is_some_and(|kind| kind & 15 == OF_SECTION);
    if is_section { index(number(symbol, 6, 2)) } else { 0 }
}

fn what(
    header: &[u8],
    headers: &[&[u8]],
    (numbered, is_relocatable): (&[Range], bool),
    names: &[u8],
) -> What {
    let link = |at| numbered.get(index(number(header, at, 4))).copied().unwrap_or_default();
    let is_code = |header: &[u8]| number(header, 8, 8) & IS_CODE != 0;
    let name = names.get(index(number(header, 0, 4))..).unwrap_or_default();
    match number(header, 4, 4) {
        RELOCATIONS => {
            let of = headers.get(index(number(header, 44, 4)));
            let is_code = of.is_some_and(|header| is_code(header));
            What::Relocations { place: link(44), is_code, symbols: link(40) }
        }
        SYMBOLS => What::Symbols { names: link(40) },
        _ if name.starts_with(b".BTF\0") => What::Types,
        _ if name.starts_with(b"__version") || name.starts_with(b"__kcrctab") => What::Sums,
        _ if is_code(header) => What::Code,
        _ if is_relocatable || name.starts_with(b".orc_unwind\0") => What::Data,
        _ if name.starts_with(b".altinstructions\0") => What::Alternatives,
        _ => What::Plain,
    }
}
