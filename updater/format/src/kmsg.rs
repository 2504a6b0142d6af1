//! Records of `/dev/kmsg` (Documentation/ABI/testing/dev-kmsg), as PID 1 and the updater keep them for last words.

use alloc::{format, string::String};

/// One record, `level,sequence,microseconds,flags;text`, as a line: `[seconds.microseconds] text`. `None` if it is not one.
pub fn line_of_record(record: &str) -> Option<String> {
    let (head, rest) = record.split_once(';')?;
    let micros: u64 = head.split(',').nth(2)?.parse().ok()?;
    let text = rest.lines().next().unwrap_or_default();
    Some(format!("[{:5}.{:06}] {text}\n", micros / 1_000_000, micros % 1_000_000))
}
