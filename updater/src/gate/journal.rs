//! What the gate says: lines in the kernel log and its status file.

use super::view::{View, one_line};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Bytes of a line that are kept; the kernel cuts at about a thousand.
const LINE_BYTES: usize = 900;

/// Importance of a line, the kernel's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// Something failed.
    Error,
    /// Something is not as it should be.
    Warning,
    /// Normal and worth keeping.
    Notice,
}

/// Where the gate speaks.
#[derive(Debug)]
pub(super) struct Journal {
    kmsg: Option<File>,
    status: PathBuf,
    shown: String,
}

impl Journal {
    /// Opens the kernel log; standard error takes its place where there is none.
    pub(super) fn open(kmsg: &Path, status: &Path) -> Self {
        Self {
            kmsg: OpenOptions::new().append(true).open(kmsg).ok(),
            status: status.to_owned(),
            shown: String::new(),
        }
    }

    /// A line of the gate's.
    pub(super) fn line(&mut self, level: Level, text: &str) {
        self.write(level, &format!("coracle-update: {text}"));
    }

    /// The line for programs: how the trial ended.
    pub(super) fn outcome(&mut self, result: Result<(), &str>, took_ms: u64, at_ms: u64) {
        match result {
            Ok(()) => {
                self.write(Level::Notice, &format!("coracle: phase=commit ok ms={took_ms} at={at_ms}"));
            }
            Err(why) => {
                let why = why.replace('"', "'");
                let text = format!("coracle: phase=commit failed ms={took_ms} at={at_ms} why=\"{why}\"");
                self.write(Level::Error, &text);
            }
        }
    }

    /// Shows a view in the status file, if it says something new. The file is replaced as a whole.
    pub(super) fn show(&mut self, view: &View) -> io::Result<()> {
        let text = view.text();
        if text == self.shown {
            return Ok(());
        }
        let temporary = self.status.with_extension("new");
        File::create(&temporary)?.write_all(text.as_bytes())?;
        fs::rename(&temporary, &self.status)?;
        self.shown = text;
        Ok(())
    }

    fn write(&mut self, level: Level, text: &str) {
        let mut line = one_line(text);
        line.truncate(line.floor_char_boundary(LINE_BYTES));
        let number = match level {
            Level::Error => 3,
            Level::Warning => 4,
            Level::Notice => 5,
        };
        let written = match &mut self.kmsg {
            Some(kmsg) => kmsg.write_all(format!("<{number}>{line}\n").as_bytes()),
            None => io::stderr().write_all(format!("{line}\n").as_bytes()),
        };
        match written {
            // There is no place left to report that there is no place to report to.
            Ok(()) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outcome_is_one_machine_readable_line() {
        let directory = tempfile::tempdir().unwrap();
        let kmsg = directory.path().join("kmsg");
        File::create(&kmsg).unwrap();
        let mut journal = Journal::open(&kmsg, &directory.path().join("update"));
        journal.outcome(Ok(()), 5, 9);
        journal.outcome(Err("check api: said \"no\"\nphase=commit ok"), 5, 9);
        journal.line(Level::Notice, "waits");
        assert_eq!(
            fs::read_to_string(&kmsg).unwrap(),
            "<5>coracle: phase=commit ok ms=5 at=9\n\
             <3>coracle: phase=commit failed ms=5 at=9 why=\"check api: said 'no' phase=commit ok\"\n\
             <5>coracle-update: waits\n"
        );
    }
}
