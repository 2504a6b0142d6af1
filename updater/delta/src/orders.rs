//! Tables whose targets ascend: what is next is told by where all of them went, whatever was next in the old file.
//!
//! Relocations of tables of calls, returns and stack frames stand in the order of the code that they go to. When its pieces
//! change places, old and new records no longer pair, but the records of a piece still go to what it holds.

use crate::{
    file::Old,
    limits::ORDERED_MAX,
    references::Targets,
    sections::{RECORD_BYTES, Range, Sections, What},
    tables::Kind,
    words::{Field, View},
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
    /// Of all ascending tables, up to a limit on their records.
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
            let went = table(old, (sections, targets), *part, record)?;
            left -= went.len();
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
