//! The kernel log is init's only output.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::OnceLock;

/// Bytes of one record that are kept; the kernel cuts at about a thousand.
const RECORD_BYTES_MAX: usize = 900;

/// Importance of a line, the kernel's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something is not as it should be, and the machine goes on.
    Warning,
    /// Normal and worth keeping.
    Notice,
}

impl Level {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Error => "<3>",
            Self::Warning => "<4>",
            Self::Notice => "<5>",
        }
    }
}

/// Writes one line, `coracle: ` before it. Without a kernel log (before `/dev` is mounted) it goes to the console.
pub fn log(level: Level, text: &str) {
    static KMSG: OnceLock<File> = OnceLock::new();
    let record = record(level, text);
    if KMSG.get().is_none()
        && let Ok(file) = OpenOptions::new().write(true).open("/dev/kmsg")
        && KMSG.set(file).is_err()
    {
        // Another thread opened it first: that one is used.
    }
    let written = match KMSG.get() {
        Some(mut kmsg) => kmsg.write_all(record.as_bytes()),
        None => std::io::stderr().write_all(&record.as_bytes()[3..]),
    };
    if written.is_err() {
        // There is no place left to report that there is no place to report to.
    }
}

fn record(level: Level, text: &str) -> String {
    let mut record = format!("{}coracle: {}", level.prefix(), one_line(text));
    record.truncate(record.floor_char_boundary(RECORD_BYTES_MAX));
    record.push('\n');
    record
}

/// The text with everything that could end or split a line replaced by a space.
pub fn one_line(text: &str) -> String {
    text.trim_end().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// `phase=<name> ok ms=<took> at=<since boot>`
pub fn phase_ok(name: &str, took_ms: u64, at_ms: u64) -> String {
    format!("phase={name} ok ms={took_ms} at={at_ms}")
}

/// `phase=<name> failed ms=<took> at=<since boot> why="<one line>"`
pub fn phase_failed(name: &str, took_ms: u64, at_ms: u64, why: &str) -> String {
    let why = one_line(why).replace('"', "'");
    format!("phase={name} failed ms={took_ms} at={at_ms} why=\"{why}\"")
}

/// Milliseconds since the kernel started, suspend included.
pub fn now_ms() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let milliseconds = time.tv_sec.saturating_mul(1000).saturating_add(time.tv_nsec / 1_000_000);
    u64::try_from(milliseconds).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line_with_its_level() {
        assert_eq!(record(Level::Warning, "a\nb\n"), "<4>coracle: a b\n");
    }

    #[test]
    fn a_long_record_is_cut_between_characters() {
        let record = record(Level::Notice, &"é".repeat(1000));
        assert!(record.len() <= RECORD_BYTES_MAX + 1);
        assert!(record.ends_with("é\n"));
    }

    #[test]
    fn a_reason_cannot_break_the_machine_readable_line() {
        assert_eq!(
            phase_failed("state", 3, 40, "said \"no\"\nphase=state ok"),
            "phase=state failed ms=3 at=40 why=\"said 'no' phase=state ok\""
        );
    }
}
