//! One power cut: which operations are on the disk for certain, and what of the cache was lost.

use super::{
    content::SECTOR,
    log::{Entry, Log, Operation},
    random::Random,
};
use std::ops::Range;

/// Where in a recording a cut is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Right at a flush: the cache is empty.
    Flush,
    /// Anywhere: some of what was in the cache is lost.
    Anywhere,
}

/// An operation of the cache that reached the disk, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Index of the operation.
    pub index: usize,
    /// The bytes of the disk that arrived, ascending.
    pub ranges: Vec<Range<u64>>,
}

/// One power cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Its number: with the recording (and the seed) all that is needed to make it again.
    pub number: u64,
    /// What kind it is.
    pub point: Point,
    /// Every operation before this index is on the disk.
    pub durable: usize,
    /// What of the operations behind it is there too, in order.
    pub kept: Vec<Kept>,
    /// How many operations were in the cache.
    pub cached: usize,
    /// Entries of the recording up to the cut's last flush: what was acknowledged before that entry must be there.
    pub entries: u64,
}

/// How a disk may lose what is in its cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// Every operation has even odds.
    Half,
    /// A few are lost.
    Few,
    /// Most are lost.
    Most,
    /// One alone arrived: the drive took the last things first.
    AllButOne,
}

impl Cut {
    /// A cut right behind the flush at `index`.
    pub(super) fn at_flush(log: &Log, number: u64, index: usize) -> Self {
        let (durable, entries) = (index + 1, log.number_after(index));
        Self { number, point: Point::Flush, durable, kept: Vec::new(), cached: 0, entries }
    }

    /// A cut before the operation at `until`, when those from `durable` on were in the cache.
    pub(super) fn anywhere(log: &Log, durable: usize, until: usize, number: u64, from: &mut Chance) -> Self {
        let cached = &log.entries[durable..until];
        let loss = [Loss::Half, Loss::Few, Loss::Most, Loss::AllButOne][from.random.below(4)];
        let survivor = from.random.below(cached.len());
        let mut kept = Vec::new();
        for (index, entry) in cached.iter().enumerate() {
            let arrives = match loss {
                Loss::Half => from.random.one_in(2),
                Loss::Few => !from.random.one_in(8),
                Loss::Most => from.random.one_in(8),
                Loss::AllButOne => index == survivor,
            };
            let ranges = if entry.operation == Operation::WriteForced {
                entry.whole()
            } else if arrives {
                from.part_of(entry)
            } else {
                Vec::new()
            };
            if !ranges.is_empty() {
                kept.push(Kept { index: durable + index, ranges });
            }
        }
        let entries = durable.checked_sub(1).map_or(0, |flush| log.number_after(flush));
        Self { number, point: Point::Anywhere, durable, kept, cached: cached.len(), entries }
    }

    /// How many of the kept operations arrived in part.
    pub fn torn(&self, log: &Log) -> usize {
        let whole = |kept: &Kept| {
            let bytes: u64 = kept.ranges.iter().map(|range| range.end - range.start).sum();
            log.entries.get(kept.index).is_some_and(|entry| entry.bytes == bytes)
        };
        self.kept.iter().filter(|kept| !whole(kept)).count()
    }
}

impl Entry {
    /// All its bytes, as the one range they are.
    fn whole(&self) -> Vec<Range<u64>> {
        std::iter::once(self.offset..self.end()).collect()
    }
}

/// What decides about a cut.
#[derive(Debug)]
pub(super) struct Chance {
    pub(super) random: Random,
    /// Bytes that arrive whole or not at all.
    pub(super) atomic: u64,
}

impl Chance {
    /// What of a write arrives: mostly all of it, else its beginning, or any of its sectors.
    fn part_of(&mut self, entry: &Entry) -> Vec<Range<u64>> {
        let units: Vec<_> = units(entry, self.atomic).collect();
        if units.len() < 2 || !self.random.one_in(4) {
            return entry.whole();
        }
        let arrived: Vec<_> = if self.random.one_in(2) {
            let first = self.random.below(units.len());
            units.into_iter().take(first).collect()
        } else {
            units.into_iter().filter(|_| self.random.one_in(2)).collect()
        };
        joined(arrived)
    }
}

/// The parts of a write that arrive whole or not at all.
fn units(entry: &Entry, atomic: u64) -> impl Iterator<Item = Range<u64>> {
    let atomic = atomic.max(SECTOR);
    let (start, end) = (entry.offset, entry.end());
    let mut at = start;
    std::iter::from_fn(move || {
        let next = (at / atomic + 1).saturating_mul(atomic).min(end);
        let unit = (at < end).then_some(at..next);
        at = next;
        unit
    })
}

fn joined(units: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let mut out: Vec<Range<u64>> = Vec::new();
    for unit in units {
        match out.last_mut() {
            Some(last) if last.end == unit.start => last.end = unit.end,
            Some(_) | None => out.push(unit),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_cut_at_multiples_of_the_atomic_unit_of_the_disk() {
        let log = super::super::tests::log_of(&[super::super::tests::Op::write(7, 20)]);
        let parts: Vec<_> = units(&log.entries[0], 4096).collect();
        assert_eq!(parts, [7 * 512..4096, 4096..8192, 8192..12288, 12288..27 * 512]);
        assert_eq!(joined(parts), [Range { start: 7 * 512, end: 27 * 512 }]);
    }
}
