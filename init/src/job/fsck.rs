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
        (ended, last) => Err(Fault::new("make a file system on", device, format!("{ended}: {last}"))),
    }
}

/// Checks and, where that is safe without asking, repairs. What needs a person is left alone.
pub(super) fn check(device: &str) -> Result<(), Fault> {
    let (ended, last) = run(CHECK, &["e2fsck", "-p", device], CHECK_MS, "/run/coracle/log/e2fsck")?;
    match ended {
        Ended::Status(0) => Ok(()),
        Ended::Status(status) if SOUND.contains(&status) => {
            kmsg::log(Level::Warning, &format!("{device} was repaired: {last}"));
            Ok(())
        }
        Ended::Status(_) | Ended::Signal(_) | Ended::Deadline => {
            Err(Fault::new("check", device, format!("{ended}: {last}")))
        }
    }
}

/// Runs a program and returns its end and the last line it wrote.
fn run(path: &str, arguments: &[&str], within_ms: u64, log: &str) -> Result<(Ended, String), Fault> {
    let log = Path::new(log);
    let pid = spawn(Program { path, arguments, pass: None, output: Some(log) })?;
    let ended = wait::child(pid, within_ms)?;
    let text = coracle_block::read_limited(log, 1 << 20).unwrap_or_default();
    Ok((ended, last_line(&String::from_utf8_lossy(&text))))
}

fn last_line(text: &str) -> String {
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it said nothing").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_one_with_something_in_it() {
        assert_eq!(last_line("a\n  b \n\n"), "b");
        assert_eq!(last_line("\n"), "it said nothing");
    }
}
