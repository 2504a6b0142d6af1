//! Reading the kernel log.

use crate::crash;
use crate::fault::{Attempt, Fault};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

const DEVICE: &str = "/dev/kmsg";
/// A record is never longer.
const RECORD_BYTES: usize = 8192;
/// Records that are taken at most at once: more than any kernel log holds.
const RECORDS_MAX: usize = 1 << 16;

/// The kernel log from its oldest record on.
#[derive(Debug)]
pub struct Journal(File);

impl Journal {
    /// Opens it at the oldest record.
    pub fn open() -> Result<Self, Fault> {
        let flags = nix::libc::O_NONBLOCK;
        Ok(Self(OpenOptions::new().read(true).custom_flags(flags).open(DEVICE).attempt("open", DEVICE)?))
    }

    /// Every line that is there and was not taken before.
    pub fn lines(&mut self) -> String {
        let mut lines = String::new();
        let mut record = [0; RECORD_BYTES];
        for _ in 0..RECORDS_MAX {
            match self.0.read(&mut record) {
                Ok(0) => break,
                Ok(length) => {
                    let text = String::from_utf8_lossy(&record[..length]);
                    lines.extend(crash::line_of_record(&text));
                }
                // Records were overwritten before they were read: the next read goes on behind them.
                Err(error) if error.raw_os_error() == Some(nix::libc::EPIPE) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        lines
    }
}

impl AsFd for Journal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The whole log as it is now; empty where it cannot be read.
pub fn read_all() -> String {
    Journal::open().map(|mut journal| journal.lines()).unwrap_or_default()
}
