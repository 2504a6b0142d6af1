//! What a [`crate::Disk`] is made of: positioned reads, writes, and a sync.

use std::fmt;
use std::io;

/// Bytes that survive a power cut once [`Medium::sync`] has returned.
pub trait Medium: fmt::Debug + Send + Sync {
    /// Fills `buffer` from byte `offset`.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `bytes` at byte `offset`; durable only after a sync.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Returns when everything written so far is durable.
    fn sync(&self) -> io::Result<()>;
}
