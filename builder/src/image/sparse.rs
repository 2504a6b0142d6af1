//! Writing a new file so that what is zero takes no room.

use crate::error::{Doing, Result};
use rustix::{fs::SeekFrom, io::Errno};
use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// What is looked at, and left out if all of it is zero: a block of the usual file systems.
const BLOCK: usize = 4096;
/// How much is read at a time.
const BUFFER: usize = 1 << 20;

/// A new file of a given length, zero everywhere so far.
#[derive(Debug)]
pub(super) struct SparseFile {
    file: File,
    path: PathBuf,
}

impl SparseFile {
    /// Makes an empty file `bytes` long; `path` is for messages.
    pub(super) fn new(file: File, path: &Path, bytes: u64) -> Result<Self> {
        file.set_len(bytes).doing("size", path)?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Writes bytes at an offset, leaving out blocks of zeros.
    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut start = 0;
        while start < bytes.len() {
            let rest = &bytes[start..];
            let zeros = run(rest, Blocks::Zero);
            let data = run(&rest[zeros..], Blocks::Data);
            let chunk = &rest[zeros..zeros + data];
            let at = offset.saturating_add(u64::try_from(start + zeros).unwrap_or(u64::MAX));
            self.file.write_all_at(chunk, at).doing("write", &self.path)?;
            start += zeros + data;
        }
        Ok(())
    }

    /// Writes all of another file at an offset. Returns how many bytes that was.
    pub(super) fn copy(&self, offset: u64, source: &Path) -> Result<u64> {
        let file = File::open(source).doing("open", source)?;
        let mut buffer = vec![0; BUFFER];
        let mut done = 0;
        loop {
            let n = fill(&file, &mut buffer, done).doing("read", source)?;
            if n == 0 {
                return Ok(done);
            }
            self.write(offset.saturating_add(done), &buffer[..n])?;
            done = done.saturating_add(u64::try_from(n).unwrap_or(u64::MAX));
        }
    }

    /// Makes what was written durable.
    pub(super) fn sync(&self) -> Result<()> {
        self.file.sync_data().doing("sync", &self.path)
    }
}

/// Copies a file to the new file `out`, `bytes` long, leaving out what is zero. Holes are passed over without being read.
pub fn duplicate(source: &Path, out: &Path, bytes: u64) -> Result<()> {
    let file = File::open(source).doing("open", source)?;
    let copy = SparseFile::new(File::create(out).doing("create", out)?, out, bytes)?;
    let mut buffer = vec![0; BUFFER];
    let mut at = 0;
    loop {
        at = match rustix::fs::seek(&file, SeekFrom::Data(at)) {
            Ok(data) => data,
            // There is nothing but holes from here on.
            Err(Errno::NXIO) => return Ok(()),
            Err(error) => return Err(std::io::Error::from(error)).doing("seek in", source),
        };
        let n = fill(&file, &mut buffer, at).doing("read", source)?;
        if n == 0 {
            return Ok(());
        }
        copy.write(at, &buffer[..n])?;
        at = at.saturating_add(u64::try_from(n).unwrap_or(u64::MAX));
    }
}

/// Reads from an offset until the buffer is full or the file ends.
pub(super) fn fill(file: &File, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        let at = offset.saturating_add(u64::try_from(done).unwrap_or(u64::MAX));
        match file.read_at(&mut buffer[done..], at) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Blocks {
    Zero,
    Data,
}

/// Length of the run of blocks of one kind that the bytes begin with.
fn run(bytes: &[u8], kind: Blocks) -> usize {
    let of_kind = |block: &&[u8]| {
        let is_zero = **block == [0; BLOCK][..block.len()];
        is_zero == (kind == Blocks::Zero)
    };
    bytes.chunks(BLOCK).take_while(of_kind).map(<[u8]>::len).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn what_is_written_reads_back_and_zeros_take_no_room() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let mut bytes = vec![0; 8 << 20];
        bytes[5_000_000..5_000_100].fill(7);
        bytes[8_388_607] = 1;
        let file = File::create_new(&path).unwrap();
        let sparse = SparseFile::new(file, &path, 16 << 20).unwrap();
        sparse.write(1 << 20, &bytes).unwrap();
        let read = std::fs::read(&path).unwrap();
        assert_eq!(read.len(), 16 << 20);
        assert!(read[1 << 20..9 << 20] == bytes[..]);
        assert!(std::fs::metadata(&path).unwrap().blocks() * 512 < 1 << 20);

        let second = dir.path().join("copy");
        let file = File::create_new(&second).unwrap();
        let sparse = SparseFile::new(file, &second, 16 << 20).unwrap();
        assert_eq!(sparse.copy(0, &path).unwrap(), 16 << 20);
        assert!(std::fs::read(&second).unwrap() == read);
        assert!(std::fs::metadata(&second).unwrap().blocks() * 512 < 1 << 20);
    }
}
