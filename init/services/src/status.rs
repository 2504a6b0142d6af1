//! What a service tells the outside: its status file under [`DIRECTORY`] and its lines in the kernel log.

use crate::ServiceError;
use nix::unistd::Uid;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where the status files are.
pub const DIRECTORY: &str = "/run/coracle/status";
const RUN: &str = "/run/coracle";
/// Lines a service may write to the log in [`LOG_PERIOD`]: what a hostile network does must not fill the log.
const LOG_LINES: u32 = 120;
const LOG_PERIOD: Duration = Duration::from_mins(1);
/// Longest line; the kernel cuts at about 1,000 bytes.
const LINE_BYTES: usize = 900;

/// Replaces a file in memory (a tmpfs) as a whole: readers see the old or the new text, never a part. It is not made
/// durable, nothing under `/run` is.
pub fn replace_volatile(path: &Path, text: &str) -> Result<(), ServiceError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    File::create(&temporary)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(|source| ServiceError::Path { action: "write", path: path.to_owned(), source })
}

/// Makes `/run/coracle/<service>`, which belongs to user and group `id` if there is root to hand it over.
pub fn own_directory(service: &str, id: u32) -> Result<PathBuf, ServiceError> {
    let directory = Path::new(RUN).join(service);
    fs::create_dir_all(&directory).map_err(in_path("make the directory", &directory))?;
    if Uid::effective().is_root() {
        chown(&directory, Some(id), Some(id)).map_err(in_path("hand over the directory", &directory))?;
    }
    Ok(directory)
}

/// Makes `path` a symbolic link to `target`, whatever it was before.
pub fn lead(path: &Path, target: &str) -> Result<(), ServiceError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
    .and_then(|()| symlink(target, &temporary))
    .and_then(|()| fs::rename(&temporary, path))
    .map_err(in_path("make the link", path))
}

fn in_path<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> ServiceError + use<'a> {
    move |source| ServiceError::Path { action, path: path.to_owned(), source }
}

/// Text of `key=value` lines in the given order. Control characters cannot forge a line: they become spaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines(String);

impl Lines {
    /// No lines.
    pub const fn new() -> Self {
        Self(String::new())
    }

    /// Adds a line.
    pub fn add(&mut self, key: &str, value: impl std::fmt::Display) {
        let line = format!("{key}={value}");
        self.0.extend(line.chars().map(printable));
        self.0.push('\n');
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The status file of one service; written when its text has changed.
#[derive(Debug)]
pub struct Status {
    path: PathBuf,
    last: Option<Lines>,
}

impl Status {
    /// The status file of `service`, its directory made if need be.
    pub fn new(service: &str) -> Result<Self, ServiceError> {
        let directory = Path::new(DIRECTORY);
        fs::create_dir_all(directory).map_err(in_path("make the directory", directory))?;
        Ok(Self::at(directory.join(service)))
    }

    /// The status file of a service that will give up root and become user and group `id`: it is in a directory of that
    /// user, `/run/coracle/<service>`, and a link leads there.
    pub fn owned(service: &str, id: u32) -> Result<Self, ServiceError> {
        let directory = own_directory(service, id)?;
        let failed = |action| in_path(action, Path::new(DIRECTORY));
        fs::create_dir_all(DIRECTORY).map_err(failed("make the directory"))?;
        let target = format!("../{service}/status");
        lead(&Path::new(DIRECTORY).join(service), &target)?;
        Ok(Self::at(directory.join("status")))
    }

    /// A status file somewhere else.
    pub const fn at(path: PathBuf) -> Self {
        Self { path, last: None }
    }

    /// Publishes these lines instead of the last ones.
    pub fn publish(&mut self, lines: Lines) -> Result<(), ServiceError> {
        if self.last.as_ref() != Some(&lines) {
            replace_volatile(&self.path, lines.as_str())?;
            self.last = Some(lines);
        }
        Ok(())
    }
}

/// Kernel log levels that services use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something does not work.
    Error,
    /// Something is odd but handled.
    Warning,
    /// Worth knowing.
    Notice,
    /// Detail.
    Info,
}

impl Level {
    const fn number(self) -> u8 {
        match self {
            Self::Error => 3,
            Self::Warning => 4,
            Self::Notice => 5,
            Self::Info => 6,
        }
    }
}

/// Lines to the kernel log, `coracle-<service>: …`, at a bounded rate. Standard error takes its place where there is no
/// `/dev/kmsg` to write to.
#[derive(Debug)]
pub struct Log {
    service: &'static str,
    kmsg: Option<File>,
    budget: Budget,
}

impl Log {
    /// Opens the kernel log.
    pub fn open(service: &'static str) -> Self {
        Self {
            service,
            kmsg: OpenOptions::new().write(true).open("/dev/kmsg").ok(),
            budget: Budget::new(Instant::now()),
        }
    }

    /// Lines to standard error only.
    pub fn to_stderr(service: &'static str) -> Self {
        Self { service, kmsg: None, budget: Budget::new(Instant::now()) }
    }

    /// Writes one line. A line that cannot be logged is lost: there is nowhere else to tell.
    pub fn line(&mut self, level: Level, text: &str) {
        let (allowed, dropped) = self.budget.take(Instant::now());
        if dropped > 0 {
            self.write(Level::Warning, &format!("{dropped} lines left out"));
        }
        if allowed {
            self.write(level, text);
        }
    }

    /// Something does not work.
    pub fn error(&mut self, text: &str) {
        self.line(Level::Error, text);
    }

    /// Something is odd but handled.
    pub fn warning(&mut self, text: &str) {
        self.line(Level::Warning, text);
    }

    /// Worth knowing.
    pub fn notice(&mut self, text: &str) {
        self.line(Level::Notice, text);
    }

    /// Detail.
    pub fn info(&mut self, text: &str) {
        self.line(Level::Info, text);
    }

    /// An error with its causes on one line.
    pub fn failure(&mut self, level: Level, error: &dyn std::error::Error) {
        self.line(level, &chain(error));
    }

    fn write(&mut self, level: Level, text: &str) {
        let line = format_line(level, self.service, text);
        let written = match &mut self.kmsg {
            Some(kmsg) => kmsg.write_all(line.as_bytes()),
            None => io::stderr().write_all(line.as_bytes()),
        };
        match written {
            Ok(()) | Err(_) => {}
        }
    }
}

/// An error and its causes, separated by colons.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a String cannot fail.
        match write!(text, ": {cause}") {
            Ok(()) | Err(_) => {}
        }
        source = cause.source();
    }
    text
}

fn format_line(level: Level, service: &str, text: &str) -> String {
    let mut line = format!("<{}>coracle-{service}: ", level.number());
    let text = &text[..text.floor_char_boundary(LINE_BYTES)];
    line.extend(text.chars().map(printable));
    line.push('\n');
    line
}

fn printable(character: char) -> char {
    if character.is_control() { ' ' } else { character }
}

/// How many lines may still be written in the running period.
#[derive(Debug)]
struct Budget {
    since: Instant,
    left: u32,
    dropped: u32,
}

impl Budget {
    const fn new(now: Instant) -> Self {
        Self { since: now, left: LOG_LINES, dropped: 0 }
    }

    /// Whether a line may be written, and how many were left out in the period that has just ended.
    fn take(&mut self, now: Instant) -> (bool, u32) {
        let mut dropped = 0;
        if now.saturating_duration_since(self.since) >= LOG_PERIOD {
            dropped = self.dropped;
            *self = Self::new(now);
        }
        if self.left == 0 {
            self.dropped = self.dropped.saturating_add(1);
            return (false, dropped);
        }
        self.left -= 1;
        (true, dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_forge_a_line() {
        let mut lines = Lines::new();
        lines.add("server", "a\nready=yes");
        assert_eq!(lines.as_str(), "server=a ready=yes\n");
    }

    #[test]
    fn a_log_line_is_one_line_with_its_level() {
        assert_eq!(
            format_line(Level::Notice, "network", "eth0\u{1b}[2J\nup"),
            "<5>coracle-network: eth0 [2J up\n"
        );
    }

    #[test]
    fn status_is_replaced_as_a_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("network");
        let mut status = Status::at(path.clone());
        let mut lines = Lines::new();
        lines.add("ready", "no");
        status.publish(lines.clone()).unwrap();
        lines.add("interface", "eth0");
        status.publish(lines).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "ready=no\ninterface=eth0\n");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_takes_the_place_of_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("resolv.conf");
        File::create(&path).unwrap();
        lead(&path, "first").unwrap();
        lead(&path, "second").unwrap();
        assert_eq!(fs::read_link(&path).unwrap(), Path::new("second"));
    }

    #[test]
    fn a_flood_of_lines_is_cut_and_counted() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        let written = (0..LOG_LINES + 7).filter(|_| budget.take(start).0).count();
        assert_eq!(u32::try_from(written), Ok(LOG_LINES));
        assert_eq!(budget.take(start + LOG_PERIOD), (true, 7));
    }
}
