//! The disks that power cuts leave.

use super::{
    cut::Cut,
    log::{Entry, Log, Operation},
    store::{Image, Store},
};
use anyhow::{Result, ensure};
use std::{ops::Range, path::Path};

/// How much of a write is in memory at a time.
const CHUNK: u64 = 1 << 20;

/// A disk that goes through a recording once, from its beginning. Cuts are made in the order of the recording, so that
/// every write is replayed once.
#[derive(Debug)]
pub struct Replay<'l, S> {
    log: &'l Log,
    disk: S,
    at: usize,
}

impl<'l, S: Store> Replay<'l, S> {
    /// Begins with the disk that the recording began with; it is changed.
    pub const fn new(log: &'l Log, disk: S) -> Self {
        Self { log, disk, at: 0 }
    }

    /// Goes on to where everything that is durable at a cut is on the disk, and nothing else.
    pub fn advance(&mut self, cut: &Cut) -> Result<&S> {
        ensure!(
            self.at <= cut.durable && cut.durable <= self.log.entries.len(),
            "cut {} is behind the replay",
            cut.number
        );
        for entry in &self.log.entries[self.at..cut.durable] {
            put(self.log, entry, entry.offset..entry.end(), &mut self.disk)?;
        }
        self.at = cut.durable;
        Ok(&self.disk)
    }

    /// Puts what of the cache has arrived onto a copy of the disk.
    pub fn finish(&self, cut: &Cut, copy: &mut impl Store) -> Result<()> {
        for kept in &cut.kept {
            let entry = &self.log.entries[kept.index];
            for range in &kept.ranges {
                put(self.log, entry, range.clone(), copy)?;
            }
        }
        Ok(())
    }
}

impl Replay<'_, Image> {
    /// Makes the disk of a cut.
    pub fn image(&mut self, cut: &Cut, path: &Path) -> Result<()> {
        let mut copy = self.advance(cut)?.copy(path)?;
        self.finish(cut, &mut copy)
    }
}

fn put(log: &Log, entry: &Entry, range: Range<u64>, disk: &mut impl Store) -> Result<()> {
    match entry.operation {
        Operation::Flush => return Ok(()),
        Operation::Discard => return disk.zero(range.start, range.end - range.start),
        Operation::Write | Operation::WriteForced => {}
    }
    let mut at = range.start;
    while at < range.end {
        let mut bytes = vec![0; usize::try_from((range.end - at).min(CHUNK))?];
        log.data(entry, at, &mut bytes)?;
        disk.write(at, &bytes)?;
        at += CHUNK.min(range.end - at);
    }
    Ok(())
}
