//! What a failed program leaves behind: its log, and an error that a person can act on.

use crate::{
    context::Context,
    error::{Doing, Error, Kind, Result},
};
use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{self, ExitStatus, Stdio},
    sync::atomic::{AtomicU64, Ordering},
};

/// How many of a program's last lines an error shows.
const LAST_LINES: usize = 12;
/// How many bytes of the log's end are read for them.
const TAIL_BYTES: u64 = 8 << 10;

/// Quotes a word for a POSIX shell; plain words stay as they are.
pub fn quote(word: impl AsRef<OsStr>) -> String {
    let word = word.as_ref().to_string_lossy();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=:,+@%".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.into_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A program's log file: the exact command line, then what the program wrote.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: File,
    keep: Keep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    Always,
    OnFailure,
}

impl Log {
    /// A log that stays.
    pub(super) fn kept(path: &Path) -> Result<Self> {
        Self::create(path.to_owned(), Keep::Always)
    }

    /// A log in the cache that stays only if [`Log::keep`] is called. Its name is this run's own.
    pub(super) fn scratch(ctx: &Context, name: &str) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let dir = ctx.cache.root().join("log");
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let file = format!("{name}-{}-{number}.log", process::id());
        Self::create(dir.join(file), Keep::OnFailure)
    }

    fn create(path: PathBuf, keep: Keep) -> Result<Self> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).doing("create log directory", dir)?;
        }
        // Appending: the program and this process write to it in turn.
        let file = File::options()
            .read(true)
            .append(true)
            .create(true)
            .open(&path)
            .and_then(|file| file.set_len(0).map(|()| file))
            .doing("create log", &path)?;
        Ok(Self { path, file, keep })
    }

    /// A handle for the program itself.
    pub(super) fn handle(&self) -> Result<Stdio> {
        let copy = self.file.try_clone().doing("duplicate log", &self.path)?;
        Ok(copy.into())
    }

    /// Writes a line.
    pub(super) fn line(&self, text: &str) -> Result<()> {
        self.append(text.as_bytes())?;
        self.append(b"\n")
    }

    /// Writes bytes.
    pub(super) fn append(&self, bytes: &[u8]) -> Result<()> {
        (&self.file).write_all(bytes).doing("write log", &self.path)
    }

    /// Keeps it, and names it.
    pub(super) fn keep(&mut self) -> &Path {
        self.keep = Keep::Always;
        &self.path
    }

    /// The last lines that the program wrote.
    pub(super) fn last_lines(&mut self) -> Result<String> {
        let mut tail = || -> io::Result<Vec<u8>> {
            let end = self.file.seek(SeekFrom::End(0))?;
            self.file.seek(SeekFrom::Start(end.saturating_sub(TAIL_BYTES)))?;
            let mut bytes = Vec::new();
            (&self.file).take(TAIL_BYTES).read_to_end(&mut bytes)?;
            // The first line is the command itself, or cut in two.
            let first = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
            Ok(bytes.split_off(first))
        };
        let bytes = tail().doing("read log", &self.path)?;
        let text = String::from_utf8_lossy(&bytes);
        let printable = |c: char| if c.is_control() { ' ' } else { c };
        let lines: Vec<String> = text
            .lines()
            .map(|line| line.trim_end().chars().map(printable).collect::<String>())
            .filter(|line| !line.trim().is_empty())
            .collect();
        Ok(lines[lines.len().saturating_sub(LAST_LINES)..].join("\n"))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if self.keep == Keep::OnFailure && fs::remove_file(&self.path).is_err() {
            // Somebody emptied the cache meanwhile: nothing is left to clean up.
        }
    }
}

/// The error of a program that ran but did not do its work: `how` is "exited with status 1".
pub(super) fn failure(shown: &str, how: &str, log: &mut Log) -> Error {
    let lines = log.last_lines();
    let hint = format!(
        "the whole log, and the exact command line on its first line, are in {}",
        log.keep().display()
    );
    let error = Error::new(Kind::Tool, format!("`{shown}` {how}")).hint(hint);
    match lines {
        Ok(lines) if lines.is_empty() => error,
        Ok(lines) => error.because(lines),
        Err(unread) => error.because(unread),
    }
}

/// How a program ended: "exited with status 1", "was killed by SIGSEGV".
pub(super) fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(number)) => match nix::sys::signal::Signal::try_from(number) {
            Ok(signal) => format!("was killed by {signal}"),
            Err(_) => format!("was killed by signal {number}"),
        },
        (None, None) => "ended in an unknown way".to_owned(),
    }
}
