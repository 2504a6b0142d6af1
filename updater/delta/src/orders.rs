//! Tables whose targets ascend: what is next is told by where all of them went, whatever was next in the old file.
//!
//! Relocations of tables of calls, returns and stack frames stand in the order of the code that they go to. When its pieces
//! change places, old and new records no longer pair, but the records of a piece still go to what it holds.

use crate::{
    file::Old,
    forms::Field,
    limits::ORDERED_MAX,
    references::Targets,
    sections::{RECORD_BYTES, Range, Sections, What},
    tables::Kind,
    words::View,
};
use std::io;

/// Records that are read at once.
const RECORDS: usize = 2048;
/// Ascending pairs of records, of four, in a table that counts as ascending.
const ASCENDING: usize = 3;

/// Where the targets of each part of the file went, ascending.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    parts: Vec<Vec<u32>>,
}

/// What the last record of a table went to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reached {
    pub(crate) part: usize,
    pub(crate) target: u64,
}

impl Orders {
    /// Of all ascending tables; no more records are looked at than the limit on them.
    pub(crate) fn read(old: &mut dyn Old, sections: &Sections, targets: &Targets<'_>) -> io::Result<Self> {
        let mut left = ORDERED_MAX;
        let mut parts = Vec::new();
        for part in sections.parts() {
            let record = match part.1 {
                What::Relocations { is_code: false, .. } => Some((RECORD_BYTES, 16)),
                What::Numbers { kind: Kind::Addresses | Kind::Distances | Kind::Inverted, .. } => {
                    Some((4, 0))
                }
                What::Relocations { .. } | What::Numbers { .. } | What::Symbols { .. } | What::Headers => {
                    None
                }
                What::Any
                | What::Code
                | What::Plain
                | What::Alternatives
                | What::Data
                | What::Sums
                | What::Types => None,
            };
            let Some(record) = record.filter(|(bytes, _)| part.0.bytes / wide(*bytes) <= wide(left)) else {
                parts.push(Vec::new());
                continue;
            };
            left -= usize::try_from(part.0.bytes).unwrap_or(usize::MAX).min(left * record.0) / record.0;
            let went = table(old, (sections, targets), *part, record)?;
            parts.push(went);
        }
        Ok(Self { parts })
    }

    /// Where the record after that one goes, in a section that begins at `from`.
    pub(crate) fn next(&self, part: usize, reached: Reached, (field, from): (Field, u64)) -> Option<u64> {
        let targets = self.parts.get(part).filter(|targets| !targets.is_empty())?;
        let goes_on = reached.part == part && reached.target >= from;
        let least = if goes_on { low(reached.target).checked_add(1)? } else { low(from) };
        let next = u64::from(*targets.get(targets.partition_point(|target| *target < least))?);
        Some(if field == Field::Number(Kind::Addresses) || from > u64::from(u32::MAX) {
            next | HIGH
        } else {
            next
        })
    }
}

/// The upper half of addresses whose lower half alone is kept.
const HIGH: u64 = 0xffff_ffff << 32;

fn low(target: u64) -> u32 {
    u32::try_from(target & 0xffff_ffff).unwrap_or(0)
}

fn wide(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Where the targets of one table went, of records of so many bytes with the number at that place; nothing if they do not
/// ascend.
fn table(
    old: &mut dyn Old,
    (sections, targets): (&Sections, &Targets<'_>),
    part: (Range, What),
    (bytes, place): (usize, usize),
) -> io::Result<Vec<u32>> {
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let records = size(part.0.bytes.min(old.length().saturating_sub(part.0.offset))) / bytes;
    let (mut out, mut ascending, mut last) = (Vec::with_capacity(records), 0, 0);
    let mut buffer = Vec::new();
    for first in (0..records).step_by(RECORDS) {
        let count = (records - first).min(RECORDS);
        let start = size(part.0.offset) + first * bytes;
        buffer.resize(count * bytes, 0);
        old.read_at(wide(start), &mut buffer)?;
        let view = View { bytes: &buffer, start };
        for at in (start..start + count * bytes).step_by(bytes) {
            let word = sections.word(&view, at + place, None, part);
            if let Some(word) = word {
                ascending += usize::from(word.target > last);
                last = word.target;
                out.extend(targets.by_copy(word.target).map(low));
            }
        }
    }
    if ascending * 4 < records * ASCENDING {
        return Ok(Vec::new());
    }
    out.sort_unstable();
    out.dedup();
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_next_is_the_least_that_is_beyond() {
        let orders = Orders { parts: vec![Vec::new(), vec![110, 120, 130, 210]] };
        let next =
            |reached, from| orders.next(1, Reached { part: 1, target: reached }, (Field::Addend, from));
        assert_eq!(
            [110, 115, 130, 210].map(|reached| next(reached, 100)),
            [Some(120), Some(120), Some(210), None]
        );
        // A section that begins behind, and another table.
        assert_eq!(next(120, 200), Some(210));
        assert_eq!(orders.next(1, Reached { part: 0, target: 120 }, (Field::Addend, 100)), Some(110));
        assert_eq!(orders.next(0, Reached::default(), (Field::Addend, 0)), None);
    }

    #[test]
    fn addresses_keep_their_upper_half() {
        let orders = Orders { parts: vec![vec![0x8100_0010, 0x8100_0020]] };
        let reached = Reached { part: 0, target: 0xffff_ffff_8100_0010 };
        let next = orders.next(0, reached, (Field::Number(Kind::Addresses), 0));
        assert_eq!(next, Some(0xffff_ffff_8100_0020));
    }
}
