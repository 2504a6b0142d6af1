//! A model of a disk with a volatile cache, for tests: what a power cut leaves of the writes that were not synced.
//!
//! Run the code under test on [`Model::disk`], then look at what each of [`Model::cuts`] left:
//!
//! ```
//! # use coracle_block::model::Model;
//! let model = Model::new(1 << 20);
//! // … put the disk into its first state …
//! model.settle();
//! let disk = model.disk().unwrap();
//! // … the code under test writes to `disk` and syncs it …
//! for cut in model.cuts(8, 42) {
//!     let after = cut.model.disk().unwrap();
//!     // … whatever reads `after` must find the old or the new state; `cut` says where it was …
//! }
//! ```
//!
//! It is a model: sectors of 512 bytes, of which any subset written since the last sync survives, in any mixture of old and
//! new bytes. A real device may do better, and one that lies about syncs does worse.

use crate::disk::Disk;
use crate::error::PathError;
use crate::medium::Medium;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of a sector: what the model writes, loses or tears.
pub const SECTOR_BYTES: usize = 512;
const SECTOR: u64 = 512;
/// Up to so many unsynced sectors every subset is tried; beyond, some at random.
const EXHAUSTIVE_SECTORS: usize = 4;

type Sector = Arc<[u8; SECTOR_BYTES]>;
type Image = BTreeMap<u64, Sector>;

/// A disk whose whole life is known. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct Model {
    bytes: u64,
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// What was durable when the log began.
    base: Image,
    /// What reads see.
    now: Image,
    log: Vec<Operation>,
    /// Operations left before the disk fails.
    remaining: Option<u64>,
}

#[derive(Clone, Debug)]
enum Operation {
    /// The sectors of one write, as they are afterwards.
    Write(Vec<(u64, Sector)>),
    Sync,
}

/// What one power cut left.
#[derive(Clone, Debug)]
pub struct Cut {
    /// The disk after it, with everything durable and an empty log.
    pub model: Model,
    /// How many operations had been issued before it.
    pub after: usize,
    /// How many sectors written since the last sync survived, torn ones included.
    pub survived: usize,
    /// How many sectors were written since the last sync.
    pub unsynced: usize,
}

impl Model {
    /// A disk of zeros.
    pub fn new(bytes: u64) -> Self {
        Self { bytes, state: Arc::default() }
    }

    /// The disk, for code that works on one. It has blocks of 512 bytes.
    pub fn disk(&self) -> Result<Disk, PathError> {
        Disk::over(Box::new(self.clone()), "model", SECTOR, self.bytes)
    }

    /// Makes everything durable and forgets how it came about: cuts are counted from here.
    pub fn settle(&self) {
        let mut state = self.lock();
        state.base = state.now.clone();
        state.log.clear();
    }

    /// Writes and syncs since [`Model::settle`].
    pub fn operations(&self) -> usize {
        self.lock().log.len()
    }

    /// Syncs since [`Model::settle`].
    pub fn syncs(&self) -> usize {
        self.lock().log.iter().filter(|operation| matches!(operation, Operation::Sync)).count()
    }

    /// After `operations` more writes and syncs, every further one fails; `None` for never.
    pub fn fail_after(&self, operations: Option<u64>) {
        self.lock().remaining = operations;
    }

    /// What power cuts leave: before the first and after every operation; each time nothing of what was not synced, all of it,
    /// every subset where there are few sectors, and `samples` random subsets with torn sectors. The same `seed` gives the same.
    pub fn cuts(&self, samples: usize, seed: u64) -> impl Iterator<Item = Cut> {
        let (bytes, state) = (self.bytes, self.lock().clone());
        let mut random = Random(seed);
        let mut synced = state.base;
        let mut pending: Vec<(u64, Sector)> = Vec::new();
        let operations = std::iter::once(None).chain(state.log.into_iter().map(Some)).enumerate();
        operations.flat_map(move |(after, operation)| {
            match operation {
                None => {}
                Some(Operation::Write(sectors)) => pending.extend(sectors),
                Some(Operation::Sync) => synced.extend(pending.drain(..)),
            }
            let fates = fates(pending.len(), samples, &mut random);
            let cut = |fate: Vec<Fate>| Cut {
                model: Self::holding(bytes, survivors(&synced, &pending, &fate)),
                after,
                survived: fate.iter().filter(|fate| !matches!(fate, Fate::Lost)).count(),
                unsynced: pending.len(),
            };
            fates.into_iter().map(cut).collect::<Vec<_>>()
        })
    }

    fn holding(bytes: u64, image: Image) -> Self {
        let state = State { base: image.clone(), now: image, ..State::default() };
        Self { bytes, state: Arc::new(Mutex::new(state)) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, offset: u64, length: usize) -> io::Result<()> {
        let end = u64::try_from(length).ok().and_then(|length| offset.checked_add(length));
        match end {
            Some(end) if end <= self.bytes => Ok(()),
            Some(_) | None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl State {
    fn spend(&mut self) -> io::Result<()> {
        if let Some(remaining) = &mut self.remaining {
            *remaining = remaining.checked_sub(1).ok_or_else(|| io::Error::other("the disk has failed"))?;
        }
        Ok(())
    }
}

impl Medium for Model {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.check(offset, buffer.len())?;
        let state = self.lock();
        for (sector, skip, range) in pieces(offset, buffer.len()) {
            let length = range.len();
            match state.now.get(&sector) {
                Some(bytes) => buffer[range].copy_from_slice(&bytes[skip..skip + length]),
                None => buffer[range].fill(0),
            }
        }
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.check(offset, bytes.len())?;
        let mut state = self.lock();
        state.spend()?;
        let mut sectors = Vec::new();
        for (sector, skip, range) in pieces(offset, bytes.len()) {
            let mut contents = content(&state.now, sector);
            contents[skip..skip + range.len()].copy_from_slice(&bytes[range]);
            let contents: Sector = Arc::new(contents);
            state.now.insert(sector, Arc::clone(&contents));
            sectors.push((sector, contents));
        }
        state.log.push(Operation::Write(sectors));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.lock();
        state.spend()?;
        state.log.push(Operation::Sync);
        Ok(())
    }
}

/// Sector number, first byte in it, and the range of the caller's bytes, for each sector that is touched.
fn pieces(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut sector = offset / SECTOR;
    let mut skip = usize::try_from(offset % SECTOR).unwrap_or(0);
    let mut done = 0;
    std::iter::from_fn(move || {
        (done < length).then(|| {
            let end = length.min(done + SECTOR_BYTES - skip);
            let piece = (sector, skip, done..end);
            (sector, skip, done) = (sector + 1, 0, end);
            piece
        })
    })
}

fn content(image: &Image, sector: u64) -> [u8; SECTOR_BYTES] {
    image.get(&sector).map_or([0; SECTOR_BYTES], |bytes| **bytes)
}

/// What becomes of one unsynced sector.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Lost,
    Written,
    /// New up to this byte, old from there.
    Head(usize),
    /// Old up to this byte, new from there.
    Tail(usize),
}

fn fates(sectors: usize, samples: usize, random: &mut Random) -> Vec<Vec<Fate>> {
    let whole = |survives: bool| if survives { Fate::Written } else { Fate::Lost };
    if sectors == 0 {
        return vec![Vec::new()];
    }
    let mut out: Vec<Vec<Fate>> = if sectors <= EXHAUSTIVE_SECTORS {
        let subsets = 0..1_usize << sectors;
        subsets.map(|subset| (0..sectors).map(|bit| whole(subset >> bit & 1 == 1)).collect()).collect()
    } else {
        vec![vec![Fate::Lost; sectors], vec![Fate::Written; sectors]]
    };
    for _ in 0..samples {
        out.push((0..sectors).map(|_| random.fate()).collect());
    }
    out
}

fn survivors(synced: &Image, pending: &[(u64, Sector)], fates: &[Fate]) -> Image {
    let mut image = synced.clone();
    for ((sector, new), fate) in pending.iter().zip(fates) {
        let mut bytes = content(&image, *sector);
        match *fate {
            Fate::Lost => continue,
            Fate::Written => bytes = **new,
            Fate::Head(end) => bytes[..end].copy_from_slice(&new[..end]),
            Fate::Tail(start) => bytes[start..].copy_from_slice(&new[start..]),
        }
        image.insert(*sector, Arc::new(bytes));
    }
    image
}

/// SplitMix64: reproducible, and good enough to choose what is lost.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ value >> 31
    }

    fn fate(&mut self) -> Fate {
        let value = self.next();
        let at = usize::try_from(value >> 32 & (SECTOR - 1)).unwrap_or(0);
        match value & 7 {
            0..=2 => Fate::Lost,
            3..=5 => Fate::Written,
            6 => Fate::Head(at),
            _ => Fate::Tail(at),
        }
    }
}

#[cfg(test)]
mod tests;
