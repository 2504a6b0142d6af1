//! What a machine prints: lines as they come, and the phase lines among them.

use crate::error::{Doing as _, Error, Kind, Result};
use std::{
    collections::VecDeque,
    fs::File,
    io::{BufReader, Read, Write},
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    time::{Duration, Instant},
};

/// The longest line that is kept whole; the rest of a longer one becomes further lines.
const LINE_BYTES_MAX: usize = 8192;
/// How many lines are kept for error messages.
const RECENT_LINES: usize = 30;

/// One phase line of the boot: `coracle: phase=mounts ok ms=12 at=640`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase {
    /// Its name.
    pub name: String,
    /// Why it failed, if it did.
    pub failed: Option<String>,
    /// How long it took, milliseconds.
    pub ms: u64,
    /// When it ended, milliseconds since the kernel started.
    pub at: u64,
}

impl Phase {
    /// The phase in a console line, if there is one; whatever stands before `coracle: phase=` is the kernel's prefix.
    pub fn parse(line: &str) -> Option<Self> {
        let (_, rest) = line.split_once("coracle: phase=")?;
        let mut words = rest.split_whitespace();
        let name = words.next()?.to_owned();
        let outcome = words.next()?;
        let mut number = |key: &str| words.next()?.strip_prefix(key)?.parse().ok();
        let ms = number("ms=")?;
        let at = number("at=")?;
        let failed = match outcome {
            "ok" => None,
            "failed" => Some(rest.split_once("why=").map_or("", |(_, why)| why).trim_matches('"').to_owned()),
            _ => return None,
        };
        Some(Self { name, failed, ms, at })
    }
}

/// What a short wait for a line came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Polled {
    /// A line.
    Line(String),
    /// Nothing yet.
    Silent,
    /// The machine has ended.
    End,
}

/// A machine's console. Reading is bounded by deadlines; everything also goes to a log file.
#[derive(Debug)]
pub struct Console {
    lines: Receiver<String>,
    recent: VecDeque<String>,
    log: PathBuf,
}

impl Console {
    /// A console, and what it is fed by. Every line is copied to the file `log`.
    pub(super) fn open(log: &Path) -> Result<(Self, Pump)> {
        let copy = File::create(log).doing("create console log", log)?;
        let (send, lines) = mpsc::channel();
        Ok((Self { lines, recent: VecDeque::new(), log: log.to_owned() }, Pump { send, copy }))
    }

    /// The next line; `None` once the machine has ended. [`Kind::Machine`] if none comes before `deadline`.
    pub fn line(&mut self, deadline: Instant) -> Result<Option<String>> {
        let wait = deadline.saturating_duration_since(Instant::now());
        match self.poll(wait) {
            Polled::Line(line) => Ok(Some(line)),
            Polled::End => Ok(None),
            Polled::Silent => Err(self.silent("said nothing more before its deadline")),
        }
    }

    /// The next line if there is one within `wait`: [`Polled::End`] once the machine has ended.
    pub fn poll(&mut self, wait: Duration) -> Polled {
        match self.lines.recv_timeout(wait) {
            Ok(line) => {
                self.keep(&line);
                Polled::Line(line)
            }
            Err(RecvTimeoutError::Disconnected) => Polled::End,
            Err(RecvTimeoutError::Timeout) => Polled::Silent,
        }
    }

    fn keep(&mut self, line: &str) {
        if self.recent.len() == RECENT_LINES {
            self.recent.pop_front();
        }
        self.recent.push_back(line.to_owned());
    }

    /// The first line from now on that `found` accepts.
    pub fn expect<T>(
        &mut self,
        what: &str,
        within: Duration,
        mut found: impl FnMut(&str) -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + within;
        loop {
            match self.line(deadline) {
                Ok(Some(line)) => {
                    if let Some(value) = found(&line) {
                        return Ok(value);
                    }
                }
                Ok(None) => return Err(self.silent(&format!("ended before {what}"))),
                Err(_) if Instant::now() >= deadline => {
                    return Err(self.silent(&format!("did not reach {what} within {} s", within.as_secs())));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The phase of this name; an error if it, or one before it, failed.
    pub fn phase(&mut self, name: &str, within: Duration) -> Result<Phase> {
        let what = format!("phase {name}");
        let phase = self.expect(&what, within, |line| {
            Phase::parse(line).filter(|phase| phase.name == name || phase.failed.is_some())
        })?;
        match &phase.failed {
            None => Ok(phase),
            Some(why) => Err(self.silent(&format!("failed in phase {}: {why}", phase.name))),
        }
    }

    /// What QEMU itself said last, if anything: it may have ended by a fault of its own.
    fn last_of_qemu(&self) -> Option<String> {
        let text = std::fs::read_to_string(qemu_log(&self.log)).ok()?;
        text.lines().last().filter(|line| line.starts_with("qemu-system-")).map(str::to_owned)
    }

    /// The lines read last, for a message.
    fn silent(&self, what: &str) -> Error {
        let recent = self.recent.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
        let qemu = self.last_of_qemu().map_or_else(String::new, |line| format!("\nQEMU says: {line}"));
        Error::new(Kind::Machine, format!("the machine {what}"))
            .because(format!("its last lines:\n{recent}{qemu}"))
            .hint(format!("the whole console is in {}", self.log.display()))
    }
}

/// Where QEMU's own messages go, beside the console's log.
pub(super) fn qemu_log(log: &Path) -> PathBuf {
    crate::files::with_suffix(log, ".qemu")
}

/// What feeds a [`Console`]; the console ends when this is dropped.
#[derive(Debug)]
pub(super) struct Pump {
    send: Sender<String>,
    copy: File,
}

impl Pump {
    /// Reads `source` to its end; `hear` hears every line.
    pub(super) fn read(&mut self, source: impl Read, hear: impl Fn(&str)) {
        let mut splitter = Splitter::default();
        for byte in BufReader::new(source).bytes() {
            let Ok(byte) = byte else { break };
            if let Some(line) = splitter.push(byte) {
                hear(&line);
                self.say(&line);
            }
        }
        let rest = splitter.take();
        if !rest.is_empty() {
            self.say(&rest);
        }
    }

    /// Adds a line.
    pub(super) fn say(&mut self, line: &str) {
        // The log is a copy for people, the machine goes on without it; and a console that nobody holds has no readers.
        drop(writeln!(self.copy, "{line}"));
        drop(self.send.send(line.to_owned()));
    }
}

/// Cuts a byte stream into lines: ends them at `\n`, drops `\r` and terminal control sequences.
#[derive(Debug, Default)]
struct Splitter {
    line: Vec<u8>,
    escape: Escape,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    Begun,
    Sequence,
}

impl Splitter {
    fn push(&mut self, byte: u8) -> Option<String> {
        match (self.escape, byte) {
            (Escape::None, b'\n') => return Some(self.take()),
            (Escape::None, 0x1b) => self.escape = Escape::Begun,
            (Escape::None, b'\t' | b' '..=b'~' | 0x80..) => {
                self.line.push(byte);
                if self.line.len() >= LINE_BYTES_MAX {
                    return Some(self.take());
                }
            }
            (Escape::Begun, b'[') => self.escape = Escape::Sequence,
            (Escape::Begun, _) | (Escape::Sequence, b'@'..=b'~') => self.escape = Escape::None,
            (Escape::None | Escape::Sequence, _) => {}
        }
        None
    }

    fn take(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    const SOON: Duration = Duration::from_secs(20);

    fn console(text: &str) -> Console {
        let dir = tempfile::tempdir().unwrap();
        let (console, mut pump) = Console::open(&dir.path().join("console.log")).unwrap();
        pump.read(Cursor::new(text.as_bytes()), |_| {});
        console
    }

    #[test]
    fn phase_lines_are_found_behind_the_kernels_prefix() {
        let phase = Phase::parse("[    0.640000] coracle: phase=mounts ok ms=12 at=640").unwrap();
        assert_eq!(phase, Phase { name: "mounts".to_owned(), failed: None, ms: 12, at: 640 });
        let phase = Phase::parse("coracle: phase=state failed ms=1 at=2 why=\"disk is full\"").unwrap();
        assert_eq!(phase.failed.as_deref(), Some("disk is full"));
        assert_eq!(Phase::parse("coracle: phase=mounts ok"), None);
    }

    #[test]
    fn terminal_control_sequences_do_not_reach_the_reader() {
        let mut console = console("\u{1b}[2J\u{1b}[01;01Hhello\r\nworld");
        let line = |console: &mut Console| console.line(Instant::now() + SOON).unwrap();
        assert_eq!(line(&mut console).as_deref(), Some("hello"));
        assert_eq!(line(&mut console).as_deref(), Some("world"));
        assert_eq!(line(&mut console), None);
    }

    #[test]
    fn a_failed_phase_ends_the_wait_for_a_later_one() {
        let mut console = console("coracle: phase=state failed ms=1 at=2 why=\"disk is full\"\n");
        let error = console.phase("boot", SOON).unwrap_err();
        assert_eq!(error.to_string(), "the machine failed in phase state: disk is full");
        assert_eq!(error.kind(), Kind::Machine);
    }

    #[test]
    fn a_machine_that_ends_too_early_is_told_from_a_silent_one() {
        let error = console("one line\n").phase("boot", SOON).unwrap_err();
        assert_eq!(error.to_string(), "the machine ended before phase boot");
    }
}
