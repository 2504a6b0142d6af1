//! The programs that make and check the state file system.

use crate::fault::Fault;
use crate::kmsg::{self, Level};
use crate::sys::spawn::{Program, spawn};
use crate::sys::wait::{self, Ended};
use std::path::Path;

const MAKE: &str = "/usr/sbin/mke2fs";
const CHECK: &str = "/usr/sbin/e2fsck";
const MAKE_MS: u64 = 5 * 60_000;
const CHECK_MS: u64 = 15 * 60_000;
/// Bytes of a program's output that are kept for a message.
const SUMMARY_BYTES: usize = 400;
/// The checker's statuses that leave a sound file system: nothing to do, repaired, repaired (a root would reboot now).
const SOUND: [i32; 4] = [0, 1, 2, 3];

/// Makes a file system on an unused partition. It is complete, though not yet known to be durable, when this returns.
pub(super) fn make(device: &str, label: &str) -> Result<(), Fault> {
    // Blank areas are filled in the background by the kernel, and nothing is discarded: first boot waits for neither.
    let options = "lazy_itable_init=1,lazy_journal_init=1,nodiscard";
    let arguments =
        ["mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-m", "1", "-L", label, "-E", options, device];
    match run(MAKE, &arguments, MAKE_MS, "/run/coracle/log/mke2fs")? {
        (Ended::Status(0), _) => Ok(()),
        (ended, said) => Err(Fault::new("make a file system on", device, format!("{ended}: {said}"))),
    }
}

/// Checks and, where that is safe without asking, repairs. What needs a person is left alone.
pub(super) fn check(device: &str) -> Result<(), Fault> {
    let (ended, said) = run(CHECK, &["e2fsck", "-p", device], CHECK_MS, "/run/coracle/log/e2fsck")?;
    match ended {
        Ended::Status(0) => Ok(()),
        Ended::Status(status) if SOUND.contains(&status) => {
            kmsg::log(Level::Warning, &format!("{device} was repaired: {said}"));
            Ok(())
        }
        Ended::Status(_) | Ended::Signal(_) | Ended::Deadline => {
            Err(Fault::new("check", device, format!("{ended}: {said}")))
        }
    }
}

/// Runs a program and returns its end and what it wrote.
fn run(path: &str, arguments: &[&str], within_ms: u64, log: &str) -> Result<(Ended, String), Fault> {
    let log = Path::new(log);
    let pid = spawn(Program { path, arguments, pass: None, output: Some(log) })?;
    let ended = wait::child(pid, within_ms)?;
    let text = coracle_block::read_limited(log, 1 << 20).unwrap_or_default();
    Ok((ended, summary(&String::from_utf8_lossy(&text))))
}

/// What it wrote in one line: the reason may stand first or last.
fn summary(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let mut line = lines.join(" | ");
    line.truncate(line.floor_char_boundary(SUMMARY_BYTES));
    if line.is_empty() { "it said nothing".to_owned() } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_one_line_of_bounded_length() {
        assert_eq!(summary("a\n\n  b \n"), "a | b");
        assert_eq!(summary("\n"), "it said nothing");
        assert_eq!(summary(&"é".repeat(1000)).len(), SUMMARY_BYTES);
    }
}
