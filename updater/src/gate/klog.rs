//! The end of the kernel log, for the last words of a release that failed.

use coracle_format::kmsg::line_of_record;
use rustix::fs::{Mode, OFlags, open};
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

/// What is kept.
const TAIL_BYTES: usize = 8 << 10;
/// The kernel gives one record per read, and none is longer.
const RECORD_BYTES: usize = 8 << 10;
/// Records that are read at most: the log is written while it is read.
const RECORDS: usize = 100_000;

/// The last lines of the kernel log, `[seconds.microseconds] text`; empty if it cannot be read.
pub(super) fn tail(path: &Path) -> Vec<u8> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(mut log) = open(path, flags, Mode::empty()).map(File::from) else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    let mut record = [0; RECORD_BYTES];
    for _ in 0..RECORDS {
        match log.read(&mut record) {
            Ok(0) => break,
            Ok(length) => {
                let text = String::from_utf8_lossy(&record[..length]);
                lines.extend_from_slice(line_of_record(&text).unwrap_or_default().as_bytes());
                let surplus = lines.len().saturating_sub(TAIL_BYTES);
                lines.drain(..surplus);
            }
            // Records that were overwritten before they were read: the next read goes on behind them.
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::Interrupted) => {}
            Err(_) => break,
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_becomes_one_line() {
        let record = "6,339,5140900,-;NET: Registered protocol\n SUBSYSTEM=net\n";
        assert_eq!(line_of_record(record).as_deref(), Some("[    5.140900] NET: Registered protocol\n"));
        assert_eq!(line_of_record("junk"), None);
    }

    #[test]
    fn a_log_that_is_not_there_is_empty() {
        assert_eq!(tail(Path::new("/nonexistent/kmsg")), b"");
    }
}
