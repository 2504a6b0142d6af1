//! Logs: the last lines, then what is added while the client stays.

use super::channel::Channel;
use super::child::Ended;
use super::machine::Machine;
use super::session::send_text;
use coracle_format::control::{ALIVE_SECONDS, Frame, Output, PAYLOAD_BYTES_MAX};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Most bytes of the lines from before the request.
const TAIL_BYTES: usize = 1 << 20;
/// Longest record of the kernel log.
const RECORD_BYTES: usize = 8 << 10;
/// How often a file is looked at for more.
const LOOK: Duration = Duration::from_millis(500);
/// Rotated files that are looked into for older lines.
const ROTATED: u32 = 255;

/// The kernel log.
pub(super) fn kernel(channel: &mut Channel, machine: &Machine, tail: u32, follow: bool) -> io::Result<Ended> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let log = match rustix::fs::open(&machine.kernel_log, flags, Mode::empty()) {
        Ok(log) => File::from(log),
        Err(error) => return cannot_read(channel, &machine.kernel_log, &error.into()),
    };
    let mut lines = Tail::new(tail);
    let mut records = Records(&log);
    while let Some(line) = records.next()? {
        lines.push(line);
    }
    send_text(channel, Output::Standard, &lines.text())?;
    if !follow {
        return Ok(Ended::Code(0));
    }
    let mut watch = Watch::new();
    loop {
        if let Some(ended) = watch.turn(channel, machine)? {
            return Ok(ended);
        }
        let mut text = String::new();
        while let Some(line) = records.next()? {
            text += &line;
            if text.len() >= PAYLOAD_BYTES_MAX {
                break;
            }
        }
        send_text(channel, Output::Standard, &text)?;
        channel.wait(PollFlags::IN, vec![PollFd::new(&log, PollFlags::IN)], watch.left())?;
    }
}

/// A container's log file: its name, how many lines, whether to follow.
pub(super) fn container(
    channel: &mut Channel,
    machine: &Machine,
    (name, tail, follow): (&str, u32, bool),
) -> io::Result<Ended> {
    let path = machine.logs.join(format!("{name}.log"));
    let (text, mut log) = match read_tail(&path, tail) {
        Ok(read) => read,
        Err(error) => return cannot_read(channel, &path, &error),
    };
    send_text(channel, Output::Standard, &text)?;
    if !follow {
        return Ok(Ended::Code(0));
    }
    let mut watch = Watch::new();
    loop {
        if let Some(ended) = watch.turn(channel, machine)? {
            return Ok(ended);
        }
        let added = log.more()?;
        channel_bytes(channel, &added)?;
        if added.is_empty() && !log.was_rotated(&path) {
            channel.wait(PollFlags::IN, Vec::new(), LOOK)?;
        }
    }
}

fn cannot_read(channel: &mut Channel, path: &Path, error: &io::Error) -> io::Result<Ended> {
    let text = format!("error: cannot read {}: {error}\n", path.display());
    send_text(channel, Output::Error, &text)?;
    Ok(Ended::Code(1))
}

fn channel_bytes(channel: &mut Channel, bytes: &[u8]) -> io::Result<()> {
    for piece in bytes.chunks(PAYLOAD_BYTES_MAX) {
        channel.send(&Frame::Output(Output::Standard, piece.to_vec()))?;
    }
    Ok(())
}

/// What ends a log that is followed.
struct Watch {
    told: Instant,
}

impl Watch {
    fn new() -> Self {
        Self { told: Instant::now() }
    }

    fn left(&self) -> Duration {
        Duration::from_secs(ALIVE_SECONDS).saturating_sub(self.told.elapsed())
    }

    fn turn(&mut self, channel: &mut Channel, machine: &Machine) -> io::Result<Option<Ended>> {
        match channel.take() {
            Some(Frame::Hello(hello)) => return Ok(Some(Ended::Anew(hello))),
            Some(Frame::Bye) => return Ok(Some(Ended::Gone)),
            None if channel.is_gone() => return Ok(Some(Ended::Gone)),
            Some(_) | None => {}
        }
        if machine.busy.is_ending() {
            return Ok(Some(Ended::Code(0)));
        }
        if self.left().is_zero() {
            channel.send(&Frame::Alive(0))?;
            self.told = Instant::now();
        }
        Ok(None)
    }
}

/// The last lines, bounded in number and bytes.
struct Tail {
    lines: VecDeque<String>,
    bytes: usize,
    limit: usize,
}

impl Tail {
    fn new(limit: u32) -> Self {
        Self { lines: VecDeque::new(), bytes: 0, limit: usize::try_from(limit).unwrap_or(usize::MAX) }
    }

    fn push(&mut self, line: String) {
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.lines.len() > self.limit || self.bytes > TAIL_BYTES {
            let Some(oldest) = self.lines.pop_front() else {
                return;
            };
            self.bytes -= oldest.len();
        }
    }

    fn text(self) -> String {
        self.lines.into_iter().collect()
    }
}

/// The records of the kernel log, one per read.
struct Records<'a>(&'a File);

impl Records<'_> {
    /// The next one as a line; `None` if there is none yet.
    fn next(&mut self) -> io::Result<Option<String>> {
        let mut buffer = [0; RECORD_BYTES];
        loop {
            match rustix::io::read(self.0, &mut buffer) {
                Ok(0) | Err(Errno::AGAIN) => return Ok(None),
                Ok(length) => {
                    if let Some(line) = format_record(&buffer[..length]) {
                        return Ok(Some(line));
                    }
                }
                // Records were overwritten before they were read: go on with the oldest there is.
                Err(Errno::PIPE | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// `6,339,5140900,-;NET: Registered` becomes `[    5.140900] NET: Registered`.
fn format_record(record: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(record);
    let (head, rest) = text.split_once(';')?;
    let microseconds: u64 = head.split(',').nth(2)?.parse().ok()?;
    // Further lines are properties for programs.
    let message = rest.lines().next().unwrap_or_default();
    let (seconds, fraction) = (microseconds / 1_000_000, microseconds % 1_000_000);
    Some(format!("[{seconds:5}.{fraction:06}] {message}\n"))
}

/// A file that grows.
struct Growing {
    file: File,
    inode: u64,
}

impl Growing {
    /// What was added since the last time.
    fn more(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let limit = u64::try_from(PAYLOAD_BYTES_MAX).unwrap_or(u64::MAX);
        (&self.file).take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Goes on with the new file if there is one.
    fn was_rotated(&mut self, path: &Path) -> bool {
        match open(path) {
            Ok(new) if new.inode != self.inode => {
                *self = new;
                true
            }
            Ok(_) | Err(_) => false,
        }
    }
}

fn open(path: &Path) -> io::Result<Growing> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let inode = file.metadata()?.ino();
    Ok(Growing { file, inode })
}

/// The last lines of a log and of the files it was rotated to, and the log itself behind them.
fn read_tail(path: &Path, lines: u32) -> io::Result<(String, Growing)> {
    let lines = usize::try_from(lines).unwrap_or(usize::MAX);
    let mut log = open(path)?;
    let mut bytes = read_end(&mut log.file, TAIL_BYTES)?;
    for number in 1..=ROTATED {
        if count_lines(&bytes) >= lines || bytes.len() >= TAIL_BYTES {
            break;
        }
        let mut rotated = path.as_os_str().to_owned();
        rotated.push(format!(".{number}"));
        let Ok(mut older) = open(&PathBuf::from(rotated)) else {
            break;
        };
        let room = TAIL_BYTES - bytes.len();
        let before = read_end(&mut older.file, room)?;
        bytes.splice(..0, before);
    }
    Ok((last_lines(&bytes, lines), log))
}

fn count_lines(bytes: &[u8]) -> usize {
    bytes.split_inclusive(|byte| *byte == b'\n').count()
}

/// At most so many bytes from the end of a file, read to its end.
fn read_end(file: &mut File, limit: usize) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    file.seek(SeekFrom::Start(length.saturating_sub(limit)))?;
    let mut bytes = Vec::new();
    // What is added meanwhile comes with the next look.
    Read::by_ref(file).take(length.min(limit)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn last_lines(bytes: &[u8], lines: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let total = text.lines().count();
    let kept: Vec<_> = text.split_inclusive('\n').skip(total.saturating_sub(lines)).collect();
    kept.concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_record_of_the_kernel_log_becomes_a_line() {
        let record = b"6,339,5140900,-;NET: Registered\n SUBSYSTEM=net\n";
        assert_eq!(format_record(record).unwrap(), "[    5.140900] NET: Registered\n");
        assert_eq!(format_record(b"nonsense"), None);
    }

    #[test]
    fn the_tail_goes_back_into_rotated_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.log");
        for (name, text) in [("web.log.2", "1\n2\n"), ("web.log.1", "3\n4\n"), ("web.log", "5\n")] {
            File::create(directory.path().join(name)).unwrap().write_all(text.as_bytes()).unwrap();
        }
        for (lines, expected) in [(0, ""), (1, "5\n"), (3, "3\n4\n5\n"), (9, "1\n2\n3\n4\n5\n")] {
            assert_eq!(read_tail(&path, lines).unwrap().0, expected, "{lines} lines");
        }
    }

    #[test]
    fn a_followed_log_goes_on_over_a_rotation() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.log");
        let mut file = File::create(&path).unwrap();
        let (_, mut log) = read_tail(&path, 1).unwrap();
        file.write_all(b"one\n").unwrap();
        std::fs::rename(&path, directory.path().join("web.log.1")).unwrap();
        File::create(&path).unwrap().write_all(b"two\n").unwrap();
        assert_eq!(log.more().unwrap(), b"one\n");
        assert!(log.was_rotated(&path));
        assert_eq!(log.more().unwrap(), b"two\n");
        assert!(!log.was_rotated(&path));
    }

    #[test]
    fn a_tail_is_bounded_in_bytes() {
        let mut tail = Tail::new(10_000);
        for _ in 0..3 {
            tail.push("x".repeat(TAIL_BYTES / 2));
        }
        assert_eq!(tail.text().len(), TAIL_BYTES);
    }
}
