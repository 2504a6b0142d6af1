//! Where a replayed disk is kept: a sparse file, or memory for tests.

use anyhow::{Context as _, Result, ensure};
use rustix::{
    fs::{FallocateFlags, SeekFrom},
    io::Errno,
};
use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

/// What is left out of a file when it is zero.
const BLOCK: usize = 4096;
/// The most bytes that are copied by one call.
const COPY_BYTES: u64 = 64 << 20;

/// A disk that writes are replayed to.
pub trait Store {
    /// Its length.
    fn bytes(&self) -> u64;
    /// Reads at an offset.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()>;
    /// Writes at an offset.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()>;
    /// Makes a range zero.
    fn zero(&mut self, offset: u64, bytes: u64) -> Result<()>;
    /// The next range at or behind `offset` that may hold something else than zeros.
    fn data_from(&self, offset: u64) -> Result<Option<(u64, u64)>>;
}

/// A sparse file.
#[derive(Debug)]
pub struct Image {
    file: File,
    path: PathBuf,
    bytes: u64,
}

impl Image {
    /// Opens a disk that is there.
    pub fn open(path: &Path) -> Result<Self> {
        let doing = || format!("cannot open the disk {}", path.display());
        let file = OpenOptions::new().read(true).write(true).open(path).with_context(doing)?;
        let bytes = file.metadata()?.len();
        Ok(Self { file, path: path.to_owned(), bytes })
    }

    /// A copy of it at `path`: by reference where the file system can, else without its holes.
    pub fn copy(&self, path: &Path) -> Result<Self> {
        let doing = || format!("cannot copy {} to {}", self.path.display(), path.display());
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
            .with_context(doing)?;
        let out = Self { file, path: path.to_owned(), bytes: self.bytes };
        if rustix::fs::ioctl_ficlone(&out.file, &self.file).is_ok() {
            return Ok(out);
        }
        out.file.set_len(self.bytes)?;
        let mut at = 0;
        while let Some((from, to)) = self.data_from(at)? {
            self.copy_range(&out, from, to).with_context(doing)?;
            at = to;
        }
        Ok(out)
    }

    fn copy_range(&self, out: &Self, from: u64, to: u64) -> Result<()> {
        let (mut source, mut target) = (from, from);
        while source < to {
            let wanted = usize::try_from((to - source).min(COPY_BYTES))?;
            let done = rustix::fs::copy_file_range(
                &self.file,
                Some(&mut source),
                &out.file,
                Some(&mut target),
                wanted,
            )?;
            ensure!(done > 0, "the file ended at {source}");
        }
        Ok(())
    }
}

impl Store for Image {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let done = self.file.read_exact_at(buffer, offset);
        done.with_context(|| {
            format!("cannot read {} bytes at {offset} of {}", buffer.len(), self.path.display())
        })
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let doing = || format!("cannot write {} bytes at {offset} of {}", bytes.len(), self.path.display());
        let end = offset.saturating_add(u64::try_from(bytes.len())?);
        ensure!(end <= self.bytes, "a write ends at {end}, the disk at {}", self.bytes);
        if bytes.len() >= BLOCK && bytes.iter().all(|byte| *byte == 0) {
            return self.zero(offset, end - offset);
        }
        self.file.write_all_at(bytes, offset).with_context(doing)
    }

    fn zero(&mut self, offset: u64, bytes: u64) -> Result<()> {
        let end = offset.saturating_add(bytes);
        ensure!(end <= self.bytes, "a range ends at {end}, the disk at {}", self.bytes);
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let done = rustix::fs::fallocate(&self.file, hole, offset, bytes);
        done.with_context(|| format!("cannot make a hole in {}", self.path.display()))
    }

    fn data_from(&self, offset: u64) -> Result<Option<(u64, u64)>> {
        if offset >= self.bytes {
            return Ok(None);
        }
        let data = match rustix::fs::seek(&self.file, SeekFrom::Data(offset)) {
            Ok(data) => data,
            Err(Errno::NXIO) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(&self.file, SeekFrom::Hole(data))?;
        Ok(Some((data, end)))
    }
}

/// A disk in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory(pub Vec<u8>);

impl Memory {
    fn range(&self, offset: u64, bytes: usize) -> Result<std::ops::Range<usize>> {
        let start = usize::try_from(offset)?;
        let end = start.checked_add(bytes).filter(|end| *end <= self.0.len());
        Ok(start..end.with_context(|| format!("{bytes} bytes at {offset} are behind the end"))?)
    }
}

impl Store for Memory {
    fn bytes(&self) -> u64 {
        u64::try_from(self.0.len()).unwrap_or(u64::MAX)
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        buffer.copy_from_slice(&self.0[self.range(offset, buffer.len())?]);
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let range = self.range(offset, bytes.len())?;
        self.0[range].copy_from_slice(bytes);
        Ok(())
    }

    fn zero(&mut self, offset: u64, bytes: u64) -> Result<()> {
        let range = self.range(offset, usize::try_from(bytes)?)?;
        self.0[range].fill(0);
        Ok(())
    }

    fn data_from(&self, offset: u64) -> Result<Option<(u64, u64)>> {
        Ok((offset < self.bytes()).then(|| (offset, self.bytes())))
    }
}
