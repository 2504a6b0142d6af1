//! Tables whose targets ascend: what is next is told by where all of them went, whatever was next in the old file.
//!
//! Relocations of tables of calls, returns and stack frames stand in the order of the code that they go to. When its pieces
//! change places, old and new records no longer pair, but the records of a piece still go to what it holds.

use crate::{
    file::Old,
    limits::ORDERED_MAX,
    references::Targets,
    sections::{RECORD_BYTES, Range, Sections, What},
    words::{Field, Form, View},
};
use std::io;

/// Records that are read at once.
const RECORDS: u64 = 2048;
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
            let is_table = matches!(part.1, What::Relocations { is_code: false, .. });
            let went = if is_table { table(old, sections, targets, *part, left)? } else { Vec::new() };
            left -= went.len();
            parts.push(went);
        }
        Ok(Self { parts })
    }

    /// Where the record after that one goes, in a section that begins at `from`.
    pub(crate) fn next(&self, part: usize, reached: Reached, from: u64) -> Option<u64> {
        let targets = self.parts.get(part).filter(|targets| !targets.is_empty())?;
        let least = if reached.part == part && reached.target >= from { reached.target + 1 } else { from };
        let next = targets.partition_point(|target| u64::from(*target) < least);
        targets.get(next).map(|target| u64::from(*target))
    }
}

/// Where the targets of one table went; nothing if they do not ascend.
fn table(
    old: &mut dyn Old,
    sections: &Sections,
    targets: &Targets<'_>,
    part: (Range, What),
    left: usize,
) -> io::Result<Vec<u32>> {
    let record = u64::try_from(RECORD_BYTES).unwrap_or(1);
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let records = part.0.bytes.min(old.length().saturating_sub(part.0.offset)) / record;
    let (mut out, mut ascending, mut last) = (Vec::new(), 0, 0);
    if size(records) > left {
        return Ok(out);
    }
    let mut buffer = Vec::new();
    for first in (0..records).step_by(size(RECORDS)) {
        let count = (records - first).min(RECORDS);
        let start = part.0.offset + first * record;
        buffer.resize(size(count * record), 0);
        old.read_at(start, &mut buffer)?;
        let view = View { bytes: &buffer, start: size(start) };
        for number in 0..size(count) {
            let word = sections.word(&view, size(start) + number * RECORD_BYTES + 16, part);
            let Some(word) =
                word.filter(|word| matches!(word.form, Form::Field { field: Field::Addend, .. }))
            else {
                continue;
            };
            ascending += usize::from(word.target > last);
            last = word.target;
            out.extend(targets.by_copy(word.target).and_then(|target| u32::try_from(target).ok()));
        }
    }
    if ascending * 4 < size(records) * ASCENDING {
        return Ok(Vec::new());
    }
    out.sort_unstable();
    out.dedup();
    Ok(out)
}
