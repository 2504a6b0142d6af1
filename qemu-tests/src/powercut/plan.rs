//! Which cuts to make of a recording.

use super::{
    content::{Content, SECTOR, Sum, digest},
    cut::{Chance, Cut},
    log::{Entry, Log},
    random::Random,
    store::Store,
};
use anyhow::{Result, ensure};
use std::{
    collections::{BTreeMap, HashMap, btree_map::Entry as Slot},
    ops::Range,
};

/// Bytes of a sector, as a length.
const SECTOR_LEN: usize = 512;

/// Which cuts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// At every flush behind which the disk is another one outside `state`.
    EveryFlush,
    /// At random points, with random losses.
    Random {
        /// How many.
        count: u64,
        /// What the numbers are made of.
        seed: u64,
        /// Bytes that the disk writes whole or not at all: 512 or 4096.
        atomic: u64,
    },
}

/// What a recording consists of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epochs {
    /// Flushes.
    pub flushes: u64,
    /// Stretches between flushes in which something outside `state` was written.
    pub outside: u64,
    /// Writes and discards.
    pub writes: u64,
    /// Bytes written, discards left out.
    pub bytes: u64,
}

/// The cuts of a recording.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In the order of the recording.
    pub cuts: Vec<Cut>,
    /// Cuts that were left out because another one leaves the same disk.
    pub merged: u64,
    /// What the recording consists of.
    pub epochs: Epochs,
}

/// Chooses the cuts of a recording that began with the disk `begin`, which is called for a copy of it to work on.
pub fn plan<S: Store>(log: &Log, mut begin: impl FnMut() -> Result<S>, mode: Mode) -> Result<Plan> {
    let survey = Survey::of(log, begin()?)?;
    let (cuts, merged) = match mode {
        Mode::EveryFlush => survey.at_flushes(log),
        Mode::Random { count, seed, atomic } => {
            ensure!(matches!(atomic, 512 | 4096), "a disk does not write {atomic} bytes at once");
            let cuts = survey.at_random(log, count, seed, atomic);
            merge(log, begin()?, cuts)?
        }
    };
    Ok(Plan { cuts, merged, epochs: survey.epochs })
}

/// A stretch between two flushes with something in it.
#[derive(Clone, Debug)]
struct Stretch {
    /// Its operations.
    operations: Range<usize>,
    /// Whether one of them wrote outside `state`.
    outside: bool,
    /// What the disk holds at its end.
    sum: Sum,
    /// Whether a flush ends it, or the recording does.
    flushed: bool,
}

struct Survey {
    stretches: Vec<Stretch>,
    epochs: Epochs,
}

impl Survey {
    fn of(log: &Log, disk: impl Store) -> Result<Self> {
        let mut content = Content::new(disk);
        let mut this = Self { stretches: Vec::new(), epochs: Epochs::default() };
        let (mut start, mut outside) = (0, false);
        for (index, entry) in log.entries.iter().enumerate() {
            if entry.writes() {
                content.apply(log, entry)?;
                outside |= !within(entry, &content.state);
                this.epochs.writes += 1;
                this.epochs.bytes += entry.bytes;
            } else {
                this.end(start..index, outside, content.sum, Some(()));
                (start, outside) = (index + 1, false);
            }
        }
        this.end(start..log.entries.len(), outside, content.sum, None);
        Ok(this)
    }

    fn end(&mut self, operations: Range<usize>, outside: bool, sum: Sum, flush: Option<()>) {
        self.epochs.flushes += u64::from(flush.is_some());
        self.epochs.outside += u64::from(outside);
        if !operations.is_empty() {
            self.stretches.push(Stretch { operations, outside, sum, flushed: flush.is_some() });
        }
    }

    fn at_flushes(&self, log: &Log) -> (Vec<Cut>, u64) {
        let mut cuts = Vec::new();
        let mut merged = 0;
        let mut last = Sum::default().outside;
        for stretch in self.stretches.iter().filter(|stretch| stretch.flushed) {
            if stretch.sum.outside == last {
                merged += 1;
                continue;
            }
            last = stretch.sum.outside;
            let number = u64::try_from(cuts.len()).unwrap_or(u64::MAX) + 1;
            cuts.push(Cut::at_flush(log, number, stretch.operations.end));
        }
        (cuts, merged)
    }

    /// Half of the cuts are spread over the stretches that write outside `state`, whatever their length, half over all
    /// operations.
    fn at_random(&self, log: &Log, count: u64, seed: u64, atomic: u64) -> Vec<Cut> {
        let mut telling: Vec<_> = self.stretches.iter().filter(|stretch| stretch.outside).collect();
        if telling.is_empty() {
            telling = self.stretches.iter().collect();
        }
        let all: usize = self.stretches.iter().map(|stretch| stretch.operations.len()).sum();
        let mut cuts = Vec::new();
        for number in (1..=count).take_while(|_| all > 0) {
            let mut chance = Chance { random: Random::new(seed, number), atomic };
            let chosen = if chance.random.one_in(2) {
                telling[chance.random.below(telling.len())]
            } else {
                self.stretch_of(chance.random.below(all))
            };
            let Range { start, end } = chosen.operations;
            let until = start + 1 + chance.random.below(end - start);
            cuts.push(Cut::anywhere(log, start, until, number, &mut chance));
        }
        cuts.sort_by_key(|cut| cut.durable);
        cuts
    }

    /// The stretch of the `n`th writing operation.
    fn stretch_of(&self, mut n: usize) -> &Stretch {
        let mut stretches = self.stretches.iter();
        loop {
            let Some(stretch) = stretches.next() else {
                return &self.stretches[0];
            };
            match n.checked_sub(stretch.operations.len()) {
                None => return stretch,
                Some(rest) => n = rest,
            }
        }
    }
}

fn within(entry: &Entry, state: &Range<u64>) -> bool {
    entry.offset / SECTOR >= state.start && entry.end().div_ceil(SECTOR) <= state.end
}

/// Leaves out cuts that leave the same disk as an earlier one; the earlier one then has to keep what either must.
fn merge(log: &Log, disk: impl Store, cuts: Vec<Cut>) -> Result<(Vec<Cut>, u64)> {
    let mut content = Content::new(disk);
    let mut at = 0;
    let mut digests = BTreeMap::new();
    let mut seen: HashMap<Sum, usize> = HashMap::new();
    let mut out: Vec<Cut> = Vec::new();
    let mut merged = 0;
    for cut in cuts {
        if at < cut.durable {
            digests.clear();
        }
        for entry in log.entries[at..cut.durable].iter().filter(|entry| entry.writes()) {
            content.apply(log, entry)?;
        }
        at = cut.durable;
        let sum = sum_of(log, &content, &cut, &mut digests)?;
        if let Some(same) = seen.get(&sum) {
            let kept: &mut Cut = &mut out[*same];
            kept.entries = kept.entries.max(cut.entries);
            merged += 1;
        } else {
            seen.insert(sum, out.len());
            out.push(cut);
        }
    }
    Ok((out, merged))
}

/// What the disk of a cut counts; `digests` keeps those of whole operations.
fn sum_of(
    log: &Log,
    content: &Content<impl Store>,
    cut: &Cut,
    digests: &mut BTreeMap<usize, Vec<u128>>,
) -> Result<Sum> {
    let mut sectors: HashMap<u64, u128> = HashMap::new();
    for kept in &cut.kept {
        let entry = &log.entries[kept.index];
        let of_entry = match digests.entry(kept.index) {
            Slot::Occupied(known) => known.into_mut(),
            Slot::Vacant(place) => place.insert(digests_of(log, entry)?),
        };
        for range in &kept.ranges {
            let skipped = usize::try_from((range.start - entry.offset) / SECTOR)?;
            let place = range.start / SECTOR..range.end / SECTOR;
            sectors.extend(place.zip(of_entry[skipped..].iter().copied()));
        }
    }
    let mut sum = content.sum;
    for (sector, now) in sectors {
        sum.change(&content.state, sector, content.sector(sector)?, now);
    }
    Ok(sum)
}

fn digests_of(log: &Log, entry: &Entry) -> Result<Vec<u128>> {
    let mut bytes = vec![0; usize::try_from(entry.bytes)?];
    log.data(entry, entry.offset, &mut bytes)?;
    let sectors = bytes.chunks(SECTOR_LEN).zip(entry.offset / SECTOR..);
    Ok(sectors.map(|(bytes, sector)| digest(sector, bytes)).collect())
}
