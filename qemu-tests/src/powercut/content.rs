//! What a disk holds, as two numbers that change with it: outside `state`, and in `state`.
//!
//! Every sector that differs from the beginning of the recording counts with a digest of its place and bytes; the sum does
//! not depend on the order of writes. Two moments with equal sums hold the same disk.

use super::{
    log::{Entry, Log, Operation},
    store::Store,
};
use anyhow::Result;
use coracle_format::{
    gpt::{Geometry, Table},
    layout::Role,
};
use sha2::{Digest as _, Sha256};
use std::{collections::HashMap, ops::Range};

/// What arrives whole or not at all.
pub(super) const SECTOR: u64 = 512;
const SECTOR_LEN: usize = 512;
/// How much is looked at in one go; a multiple of the sector.
const CHUNK: u64 = 1 << 20;
/// Bytes at both ends of a disk that may belong to a partition table of 4096-byte blocks.
const TABLE_BYTES: u64 = 6 * 4096;

/// A sum of sector digests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Sum {
    /// Of everything but the `state` partition.
    pub(super) outside: u128,
    /// Of the `state` partition.
    pub(super) state: u128,
}

impl Sum {
    pub(super) fn change(&mut self, state: &Range<u64>, sector: u64, old: u128, new: u128) {
        let half = if state.contains(&sector) { &mut self.state } else { &mut self.outside };
        *half = half.wrapping_sub(old).wrapping_add(new);
    }
}

/// What a written sector counts.
#[derive(Clone, Copy, Debug)]
struct Counted {
    /// Before the recording.
    before: u128,
    now: u128,
}

/// A disk with the sums of what has changed on it.
#[derive(Debug)]
pub(super) struct Content<S> {
    pub(super) store: S,
    sectors: HashMap<u64, Counted>,
    /// Sectors of the `state` partition; empty while there is none.
    pub(super) state: Range<u64>,
    pub(super) sum: Sum,
}

impl<S: Store> Content<S> {
    pub(super) fn new(store: S) -> Self {
        let state = state_sectors(&store);
        Self { store, sectors: HashMap::new(), state, sum: Sum::default() }
    }

    /// What a sector counts now.
    pub(super) fn sector(&self, sector: u64) -> Result<u128> {
        if let Some(counted) = self.sectors.get(&sector) {
            return Ok(counted.now);
        }
        let mut bytes = [0; SECTOR_LEN];
        self.store.read(sector * SECTOR, &mut bytes)?;
        Ok(digest(sector, &bytes))
    }

    /// Carries out a write or discard.
    pub(super) fn apply(&mut self, log: &Log, entry: &Entry) -> Result<()> {
        if entry.operation == Operation::Discard {
            self.discard(entry)?;
        } else {
            self.write(log, entry)?;
        }
        let touches_table =
            entry.offset < TABLE_BYTES || entry.end() > self.store.bytes().saturating_sub(TABLE_BYTES);
        if touches_table {
            self.find_state();
        }
        Ok(())
    }

    fn write(&mut self, log: &Log, entry: &Entry) -> Result<()> {
        let mut at = entry.offset;
        while at < entry.end() {
            let length = (entry.end() - at).min(CHUNK);
            let mut new = vec![0; usize::try_from(length)?];
            log.data(entry, at, &mut new)?;
            let mut old = vec![0; new.len()];
            self.store.read(at, &mut old)?;
            self.replace(at, &old, &new);
            self.store.write(at, &new)?;
            at += length;
        }
        Ok(())
    }

    fn discard(&mut self, entry: &Entry) -> Result<()> {
        let mut at = entry.offset;
        while let Some((from, to)) = self.store.data_from(at)? {
            let (from, to) = (from.max(entry.offset) / SECTOR * SECTOR, to.min(entry.end()));
            if from >= to {
                break;
            }
            let to = to.min(from + CHUNK);
            let mut old = vec![0; usize::try_from(to - from)?];
            self.store.read(from, &mut old)?;
            self.replace(from, &old, &vec![0; old.len()]);
            at = to;
        }
        self.store.zero(entry.offset, entry.bytes)
    }

    fn replace(&mut self, at: u64, old: &[u8], new: &[u8]) {
        let sectors = old.chunks(SECTOR_LEN).zip(new.chunks(SECTOR_LEN));
        for (sector, (old, new)) in (at / SECTOR..).zip(sectors) {
            if old == new {
                continue;
            }
            let counted = self.sectors.entry(sector).or_insert_with(|| {
                let before = digest(sector, old);
                Counted { before, now: before }
            });
            let now = digest(sector, new);
            self.sum.change(&self.state, sector, counted.now, now);
            counted.now = now;
        }
    }

    /// Reads the partition table again; what has become part of `state`, or ceased to be, changes sides.
    fn find_state(&mut self) {
        let state = state_sectors(&self.store);
        if state == self.state {
            return;
        }
        for (sector, Counted { before, now }) in &self.sectors {
            if self.state.contains(sector) != state.contains(sector) {
                self.sum.change(&self.state, *sector, *now, *before);
                self.sum.change(&state, *sector, *before, *now);
            }
        }
        self.state = state;
    }
}

/// What a sector counts.
pub(super) fn digest(sector: u64, bytes: &[u8]) -> u128 {
    if bytes.iter().all(|byte| *byte == 0) {
        return 0;
    }
    let mut hasher = Sha256::new();
    hasher.update(sector.to_le_bytes());
    hasher.update(bytes);
    let mut half = [0; 16];
    half.copy_from_slice(&hasher.finalize()[..16]);
    u128::from_le_bytes(half)
}

/// The sectors of `state`, by the partition table that is on this very disk.
fn state_sectors(store: &impl Store) -> Range<u64> {
    let read = |block_bytes: u32| {
        let geometry = Geometry::of_bytes(block_bytes, store.bytes());
        Table::parse_either(geometry, |lba, buffer| {
            store.read(lba.saturating_mul(u64::from(block_bytes)), buffer)
        })
    };
    let Ok((table, _)) = read(512).or_else(|_| read(4096)) else {
        return 0..0;
    };
    table.find(Role::State).map_or(0..0, |partition| {
        let (offset, bytes) = table.byte_range(partition);
        offset / SECTOR..offset.saturating_add(bytes) / SECTOR
    })
}
