//! The recording of a disk's writes that QEMU keeps (`blklogwrites`), for what the host itself writes between two starts
//! of a machine: without it the recording would not be whole.

use crate::error::{Doing as _, Error, Kind, Result};
use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

const MAGIC: u64 = 0x006a_7366_7773_6872;
const VERSION: u64 = 1;
/// QEMU's own choice: places and lengths are counted in these.
const SECTOR: u64 = 512;
const SECTOR_LEN: usize = 512;
/// Where the number of entries stands.
const ENTRIES_AT: u64 = 16;
const FLUSH: u64 = 1;
const DISCARD: u64 = 4;

/// A recording that is not being written by QEMU just now.
#[derive(Debug)]
pub(super) struct WriteLog {
    file: File,
    path: PathBuf,
    entries: u64,
    /// Where the next entry goes.
    end: u64,
}

impl WriteLog {
    /// Makes an empty recording, which QEMU then adds to.
    pub(super) fn create(path: &Path) -> Result<()> {
        let file = File::create(path).doing("create write log", path)?;
        let mut head = sector(&[MAGIC, VERSION, 0]);
        head[24..28].copy_from_slice(&512_u32.to_le_bytes());
        file.write_all_at(&head, 0).doing("write", path)
    }

    /// Opens a recording at its end.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path).doing("open write log", path)?;
        let head = words(&file, 0).doing("read", path)?;
        if head[0] != MAGIC || head[1] != VERSION {
            return Err(Error::new(Kind::Internal, format!("{} is no write log", path.display())));
        }
        let mut this = Self { file, path: path.to_owned(), entries: head[2], end: SECTOR };
        for _ in 0..this.entries {
            let [_, sectors, flags, _] = words(&this.file, this.end).doing("read", path)?;
            let data = if flags & DISCARD == 0 { sectors } else { 0 };
            this.end = this.end.saturating_add(data.saturating_add(1).saturating_mul(SECTOR));
        }
        Ok(this)
    }

    /// Adds a write of whole sectors.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut data = bytes.to_vec();
        data.resize(bytes.len().next_multiple_of(SECTOR_LEN), 0);
        let sectors = u64::try_from(data.len() / SECTOR_LEN).unwrap_or(u64::MAX);
        self.entry(&[offset / SECTOR, sectors, 0], &data)
    }

    /// Adds a flush.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.entry(&[0, 0, FLUSH], &[])
    }

    fn entry(&mut self, words: &[u64], data: &[u8]) -> Result<()> {
        let bytes = [&sector(words), data].concat();
        self.file.write_all_at(&bytes, self.end).doing("write", &self.path)?;
        self.end = self.end.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.entries = self.entries.saturating_add(1);
        self.file.write_all_at(&self.entries.to_le_bytes(), ENTRIES_AT).doing("write", &self.path)
    }
}

/// A sector that begins with these words.
fn sector(words: &[u64]) -> Vec<u8> {
    let mut out: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    out.resize(SECTOR_LEN, 0);
    out
}

/// The four words of a sector.
fn words(file: &File, at: u64) -> std::io::Result<[u64; 4]> {
    let mut bytes = [0; 32];
    file.read_exact_at(&mut bytes, at)?;
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_writes_is_added_behind_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        WriteLog::create(&path).unwrap();
        let mut log = WriteLog::open(&path).unwrap();
        log.write(1024, &[7; 600]).unwrap();
        log.flush().unwrap();
        let mut log = WriteLog::open(&path).unwrap();
        assert_eq!((log.entries, log.end), (2, 5 * SECTOR));
        log.write(0, &[1; 512]).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 7 * SECTOR_LEN);
        assert_eq!(bytes[SECTOR_LEN..SECTOR_LEN + 16], [[2, 0, 0, 0, 0, 0, 0, 0]; 2].concat());
        assert_eq!(bytes[2 * SECTOR_LEN..][..600], [7; 600]);
        assert_eq!(bytes[2 * SECTOR_LEN + 600..][..424], [0; 424], "padded to whole sectors");
        assert_eq!(bytes[4 * SECTOR_LEN + 16], 1, "a flush");
    }
}
