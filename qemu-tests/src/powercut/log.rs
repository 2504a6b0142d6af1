//! The recording of QEMU's `blklogwrites` driver.
//!
//! One sector with magic, version, number of entries and sector size, then entries: one sector with place, length and
//! flags, followed by the bytes of a write. All integers are little-endian and count sectors. The number of entries is
//! brought up to date at flushes only, so entries behind it are read as far as they are whole.

use anyhow::{Context as _, Result, ensure};
use std::{fs::File, io, os::unix::fs::FileExt as _, path::Path};

/// What a recording begins with.
const MAGIC: u64 = 0x006a_7366_7773_6872;
/// The one version there is.
const VERSION: u64 = 1;
/// Bytes of the first sector that say something.
const SUPER_BYTES: usize = 28;
/// Bytes of an entry's sector that say something.
const ENTRY_BYTES: usize = 32;
/// The most entries that are read.
const ENTRIES_MAX: usize = 1 << 21;
/// The longest single operation, and the end of the largest disk.
const DISK_BYTES_MAX: u64 = 1 << 44;

const FLUSH: u64 = 1;
const FORCED: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;

/// What the machine did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Bytes written; they may stay in the cache.
    Write,
    /// Bytes written past the cache (forced unit access).
    WriteForced,
    /// A range that is not needed any more; it reads as zeros from then on.
    Discard,
    /// The cache is emptied.
    Flush,
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub operation: Operation,
    /// Where on the disk, bytes.
    pub offset: u64,
    /// How many bytes; 0 for a flush.
    pub bytes: u64,
    /// Its number in the recording. An entry that flushes and writes counts once and is two operations.
    pub number: u64,
    /// Where its bytes are in the recording.
    data: u64,
}

impl Entry {
    /// Whether it changes the disk.
    pub const fn writes(&self) -> bool {
        !matches!(self.operation, Operation::Flush)
    }

    /// Where it ends on the disk.
    pub const fn end(&self) -> u64 {
        self.offset.saturating_add(self.bytes)
    }
}

/// How a recording ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With a whole entry.
    Whole,
    /// With an entry that is not all there: QEMU was killed.
    Truncated,
}

/// A recording, opened. The bytes of writes stay in the file.
#[derive(Debug)]
pub struct Log {
    file: File,
    /// What the machine did, in order.
    pub entries: Vec<Entry>,
    /// How it ends.
    pub end: End,
}

/// The first sector.
#[derive(Clone, Copy, Debug)]
struct Super {
    entries: u64,
    sector_bytes: u64,
}

impl Super {
    fn read(file: &File) -> Result<Self> {
        let mut bytes = [0; SUPER_BYTES];
        file.read_exact_at(&mut bytes, 0)?;
        ensure!(word(&bytes, 0) == MAGIC, "not a recording of blklogwrites");
        ensure!(word(&bytes, 8) == VERSION, "unknown version {}", word(&bytes, 8));
        let sector_bytes = u64::from(u32::from_le_bytes([bytes[24], bytes[25], bytes[26], bytes[27]]));
        ensure!(matches!(sector_bytes, 512 | 1024 | 2048 | 4096), "sectors of {sector_bytes} bytes");
        Ok(Self { entries: word(&bytes, 16), sector_bytes })
    }
}

/// How many entries a recording that is being written had at its last flush. What the machine has said to be durable
/// before the call stands before that entry.
pub fn recorded(path: &Path) -> Result<u64> {
    let read = || Ok::<_, anyhow::Error>(Super::read(&File::open(path)?)?.entries);
    read().with_context(|| format!("cannot read the write log {}", path.display()))
}

impl Log {
    /// Reads a recording.
    pub fn open(path: &Path) -> Result<Self> {
        let doing = || format!("cannot read the write log {}", path.display());
        let file = File::open(path).with_context(doing)?;
        Self::read(file).with_context(doing)
    }

    fn read(file: File) -> Result<Self> {
        let header = Super::read(&file)?;
        let length = file.metadata()?.len();
        let mut log = Self { file, entries: Vec::new(), end: End::Whole };
        let mut at = header.sector_bytes;
        let mut number = 0;
        while at < length {
            ensure!(log.entries.len() < ENTRIES_MAX, "more than {ENTRIES_MAX} entries");
            let Some(next) = log.entry(header, at, length, number)? else {
                log.end = End::Truncated;
                break;
            };
            at = next;
            number += 1;
        }
        ensure!(
            number >= header.entries,
            "entry {number} of {} is damaged: the recording is not whole",
            header.entries
        );
        Ok(log)
    }

    /// Reads the entry at `at` and returns where the next one is; `None` if it is not all there.
    fn entry(&mut self, header: Super, at: u64, length: u64, number: u64) -> Result<Option<u64>> {
        let mut bytes = [0; ENTRY_BYTES];
        match self.file.read_exact_at(&mut bytes, at) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let [place, sectors, flags, text] = [0, 8, 16, 24].map(|at| word(&bytes, at));
        let known = flags & !(FLUSH | FORCED | DISCARD | MARK) == 0;
        if !known || (flags == 0 && sectors == 0) {
            // Nothing was written here yet, or not the beginning of an entry.
            ensure!(number >= header.entries, "entry {number} has flags {flags:#x}");
            return Ok(None);
        }
        let range = |count: u64| count.checked_mul(header.sector_bytes).filter(|n| *n <= DISK_BYTES_MAX);
        let (offset, bytes) = (range(place), range(sectors));
        let (Some(offset), Some(bytes)) = (offset, bytes) else {
            anyhow::bail!("entry {number} writes {sectors} sectors at sector {place}")
        };
        let data = at.saturating_add(header.sector_bytes);
        if data > length {
            return Ok(None);
        }
        let entry = |operation| Entry { operation, offset, bytes, number, data };
        if flags & MARK != 0 {
            // A mark of the recorder's user; its text has the length of the fourth word.
            let text = text.min(DISK_BYTES_MAX).next_multiple_of(header.sector_bytes);
            return Ok(Some(data.saturating_add(text)));
        }
        let has_data = flags & DISCARD == 0 && bytes > 0;
        let next = if has_data { data.saturating_add(bytes) } else { data };
        if has_data && next > length {
            return Ok(None);
        }
        if flags & FLUSH != 0 {
            self.entries.push(Entry { offset: 0, bytes: 0, ..entry(Operation::Flush) });
        }
        if flags & DISCARD != 0 {
            self.entries.push(entry(Operation::Discard));
        } else if bytes > 0 {
            let forced = flags & FORCED != 0;
            self.entries.push(entry(if forced { Operation::WriteForced } else { Operation::Write }));
        }
        Ok(Some(next))
    }

    /// Reads bytes that an entry wrote, from `offset` of the disk on.
    pub fn data(&self, entry: &Entry, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let into = offset.checked_sub(entry.offset).context("before the beginning of the write")?;
        let length = u64::try_from(buffer.len())?;
        ensure!(into.saturating_add(length) <= entry.bytes, "behind the end of the write");
        if entry.operation == Operation::Discard {
            buffer.fill(0);
            return Ok(());
        }
        Ok(self.file.read_exact_at(buffer, entry.data + into)?)
    }

    /// How many entries there are from the beginning up to and with the operation at `index`.
    pub fn number_after(&self, index: usize) -> u64 {
        self.entries.get(index).map_or(0, |entry| entry.number + 1)
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}
