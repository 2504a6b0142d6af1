//! What is said about a file before its bytes: where both are in memory, which tables the old one has, what is copied.

use crate::{
    coder::Coder,
    file::{Failure, Model, Result},
    limits::{CODE_MAX, FILE_BYTES_MAX, HOLES_MAX, SEGMENTS_MAX, TABLES_MAX},
    model::Numbers,
    moves::{Copy, Packed},
    sections::Range,
    space::{Isa, Segment, Space},
    tables::{Kind, Table},
};
use std::ops;

/// What is said about a file before its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// What of the new file is told of.
    pub(crate) new_bytes: ops::Range<u64>,
    /// What of that is not made: a machine has it already. In ascending order, no two overlapping.
    pub(crate) holes: Vec<Range>,
    pub(crate) isa: Isa,
    pub(crate) old: Space,
    pub(crate) new: Space,
    /// Bytes at the beginning of the old file whose section headers count; 0: none do.
    pub(crate) headed: u64,
    pub(crate) tables: Vec<Table>,
    /// Where the new file has x86-64 code, if its operands are told by where they go.
    pub(crate) code: Vec<Range>,
    pub(crate) copies: Vec<Packed>,
}

/// Bytes of the old file, and how many of the new one have to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) old: u64,
    pub(crate) made: u64,
}

/// Codes a plan. A reader passes an empty one and gets what it reads.
pub(crate) fn plan<C: Coder>(coder: &mut C, model: &mut Model, ends: Ends, plan: &Plan) -> Result<Plan> {
    let start = model.layout.code(coder, plan.new_bytes.start);
    let holes = ranges((coder, &mut model.layout), (HOLES_MAX, "pieces that are not made"), &plan.holes)?;
    let all: u64 = holes.iter().map(|hole| hole.bytes).sum();
    let last = holes.last().map_or(0, |hole| hole.offset + hole.bytes);
    let is_told = |end: &u64| (last..=FILE_BYTES_MAX).contains(end);
    let is_behind = holes.first().is_none_or(|hole| hole.offset >= start);
    let end = start.saturating_add(ends.made).saturating_add(all);
    let end = Some(end).filter(is_told).filter(|_| is_behind).ok_or(Failure::Corrupt("start"))?;
    let isa = Isa::from_code(model.layout.code(coder, plan.isa.code())).ok_or(Failure::Corrupt("code"))?;
    let old = space(coder, &mut model.layout, &plan.old)?;
    let new = space(coder, &mut model.layout, &plan.new)?;
    let headed = model.layout.code(coder, plan.headed);
    if headed > ends.old {
        return Err(Failure::Corrupt("bytes with sections"));
    }
    let tables = tables(coder, &mut model.layout, ends.old, &plan.tables)?;
    let code = ranges((coder, &mut model.layout), (CODE_MAX, "pieces of code"), &plan.code)?;
    let new_bytes = start..end;
    let copies = copies(coder, model, (ends.old, &new_bytes), &plan.copies)?;
    Ok(Plan { new_bytes, holes, isa, old, new, headed, tables, code, copies })
}

fn copies<C: Coder>(
    coder: &mut C,
    model: &mut Model,
    (end_of_old, new): (u64, &ops::Range<u64>),
    known: &[Packed],
) -> Result<Vec<Packed>> {
    let count = model.layout.code(coder, u64::try_from(known.len()).unwrap_or(0));
    let count = usize::try_from(count).ok().filter(|count| *count <= model.scale.copies_max());
    let count = count.ok_or(Failure::Corrupt("number of copies"))?;
    let (mut copies, end_of_new) = (Vec::with_capacity(count), new.end);
    let (mut at_new, mut at_old) = (new.start, 0_u64);
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
        if at_new > end_of_new || at_old > end_of_old {
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

/// Ranges one behind the other, no more than `most`; `what` they are.
fn ranges<C: Coder>(
    (coder, numbers): (&mut C, &mut Numbers),
    (most, what): (usize, &'static str),
    known: &[Range],
) -> Result<Vec<Range>> {
    let count = numbers.code(coder, u64::try_from(known.len()).unwrap_or(0));
    let count = usize::try_from(count).ok().filter(|count| *count <= most);
    let (mut ranges, mut end) = (Vec::new(), 0_u64);
    for number in 0..count.ok_or(Failure::Corrupt(what))? {
        let Range { offset, bytes } = known.get(number).copied().unwrap_or_default();
        let offset = end + numbers.code(coder, offset.saturating_sub(end));
        let range = Range { offset, bytes: numbers.code(coder, bytes) };
        end = range.offset + range.bytes;
        ranges.push(range);
    }
    Ok(ranges)
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
