//! Reading from the device what was written to it, past the kernel's memory of it.
//!
//! A disk that has lost or mangled a write is found only when its own bytes are read. They are read with `O_DIRECT`, which
//! never answers from memory. Where the disk is a file on a file system that cannot do that, the file's pages are dropped
//! instead (`POSIX_FADV_DONTNEED`; all are clean after a sync, so they go), and a model of a disk has none.

use super::Spare;
use crate::error::Result;
use coracle_block::Doing;
use rustix::fs::{Advice, Mode, OFlags, fadvise};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Every disk accepts transfers of this alignment.
const ALIGNMENT: usize = 4096;
/// Bytes of one read.
pub(super) const CHUNK: usize = 1 << 20;

/// Reads the spare slot from the device.
pub(super) struct Device<'a> {
    spare: &'a Spare<'a>,
    direct: Option<File>,
    buffer: Vec<u8>,
    start: usize,
}

impl<'a> Device<'a> {
    /// Everything written to the slot must be synced.
    pub(super) fn open(spare: &'a Spare<'a>) -> Result<Self> {
        let buffer = vec![0; CHUNK + ALIGNMENT];
        let start = buffer.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        let mut this = Self { spare, direct: None, buffer, start };
        let disk = spare.disk();
        let Ok(file) = disk.file() else {
            return Ok(this);
        };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECT;
        this.direct = rustix::fs::open(disk.path(), flags, Mode::empty()).ok().map(File::from);
        // A file system may take the flag and refuse the reads.
        if this.read_direct(0, ALIGNMENT).is_none() {
            this.direct = None;
            let partition = spare.partition();
            let length = std::num::NonZero::new(partition.bytes);
            fadvise(file, partition.offset, length, Advice::DontNeed)
                .doing("drop the memory of", disk.path())?;
        }
        Ok(this)
    }

    /// `length` bytes, at most [`CHUNK`], from a multiple of 4096 on.
    pub(super) fn read(&mut self, offset: u64, length: usize) -> Result<&[u8]> {
        let whole = length.min(CHUNK).next_multiple_of(ALIGNMENT);
        if let Some(read) = self.read_direct(offset, whole) {
            read.doing("read back from", self.spare.disk().path())?;
        } else {
            let (spare, start) = (self.spare, self.start);
            spare.read(offset, &mut self.buffer[start..start + whole])?;
        }
        Ok(&self.buffer[self.start..self.start + length.min(CHUNK)])
    }

    fn read_direct(&mut self, offset: u64, whole: usize) -> Option<std::io::Result<()>> {
        let file = self.direct.as_ref()?;
        let at = self.spare.partition().offset.saturating_add(offset);
        let buffer = &mut self.buffer[self.start..self.start + whole];
        match file.read_exact_at(buffer, at) {
            Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => None,
            other => Some(other),
        }
    }
}
