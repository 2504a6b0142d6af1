//! A container's log on the state file system: appended, rotated by size, bounded, and never in the way.
//!
//! What cannot be written (disk full, file system read-only) is dropped and counted; the count is written as soon as
//! writing works again.

use core::time::Duration;
use rustix::fs::{Mode, OFlags};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

/// Where the logs are.
pub(super) const DIRECTORY: &str = "/state/log";
/// A file is not rotated before it has this size, whatever the configuration says: it holds some lines of any length.
const SMALLEST_FILE: u64 = 16 << 10;
/// Bytes collected before they are written in any case.
const BUFFER_BYTES: usize = 64 << 10;
/// When opening is tried again after it failed.
const RETRY: Duration = Duration::from_secs(1);

/// The log file of one container.
#[derive(Debug)]
pub(super) struct LogFile {
    directory: PathBuf,
    name: String,
    max_bytes: u64,
    files: u8,
    file: Option<File>,
    size: u64,
    pending: String,
    dropped: u64,
    retry_at: Duration,
}

impl LogFile {
    /// The log of the container `name`: `files` files of at most `max_bytes` each. Opens nothing yet.
    pub(super) fn new(directory: impl Into<PathBuf>, name: &str, max_bytes: u64, files: u8) -> Self {
        Self {
            directory: directory.into(),
            name: name.to_owned(),
            max_bytes: max_bytes.max(SMALLEST_FILE),
            files: files.max(1),
            file: None,
            size: 0,
            pending: String::new(),
            dropped: 0,
            retry_at: Duration::ZERO,
        }
    }

    /// Adds a line; it is written by [`LogFile::flush`] at the latest.
    pub(super) fn push(&mut self, line: &str, now: Duration) {
        if self.pending.len() >= BUFFER_BYTES {
            self.flush(now);
        }
        self.pending.push_str(line);
        self.pending.push('\n');
    }

    /// Writes what was added. What cannot be written is dropped and counted.
    pub(super) fn flush(&mut self, now: Duration) {
        if self.pending.is_empty() {
            return;
        }
        let pending = core::mem::take(&mut self.pending);
        if !self.is_open(now) {
            self.drop_lines(&pending);
            return;
        }
        if self.dropped > 0 {
            let notice = format!("… {} lines dropped\n", self.dropped);
            if self.append(&notice) == notice.len() {
                self.dropped = 0;
            }
        }
        let mut rest = pending.as_str();
        while !rest.is_empty() {
            let part = self.part_that_fits(rest);
            let written = self.append(part);
            rest = &rest[written..];
            if written < part.len() {
                self.drop_lines(rest);
                return;
            }
        }
    }

    /// As many whole lines as fit into the file, rotated if not one does.
    fn part_that_fits<'a>(&mut self, lines: &'a str) -> &'a str {
        let room = |size: u64| usize::try_from(self.max_bytes.saturating_sub(size)).unwrap_or(usize::MAX);
        let fitting = |room: usize| {
            let room = lines.floor_char_boundary(room);
            lines[..room].rfind('\n').map_or("", |end| &lines[..=end])
        };
        let part = fitting(room(self.size));
        if !part.is_empty() {
            return part;
        }
        let room = room(0);
        self.rotate();
        match fitting(room) {
            "" => lines,
            part => part,
        }
    }

    /// Appends whole lines and returns how many bytes are in the file for good: all of them, or those of the lines that
    /// were written whole.
    fn append(&mut self, lines: &str) -> usize {
        let Some(file) = &mut self.file else {
            return 0;
        };
        let mut written = 0;
        while written < lines.len() {
            match file.write(&lines.as_bytes()[written..]) {
                Ok(0) => break,
                Ok(length) => written += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        let whole =
            lines.as_bytes()[..written].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.size = self.size.saturating_add(u64::try_from(whole).unwrap_or(u64::MAX));
        // Half a line is taken back. If that fails too, opening the file again ends the line.
        if whole < written && file.set_len(self.size).is_err() {
            self.file = None;
        }
        whole
    }

    fn is_open(&mut self, now: Duration) -> bool {
        if self.file.is_none() && now >= self.retry_at {
            self.retry_at = now + RETRY;
            if let Ok((file, size)) = self.open() {
                self.file = Some(file);
                self.size = size;
            }
        }
        self.file.is_some()
    }

    fn open(&self) -> io::Result<(File, u64)> {
        match DirBuilder::new().mode(0o750).create(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        // A manifest that keeps fewer files than the last one did must not leave the others behind.
        let surplus = (self.files..u8::MAX).map(|number| self.rotated(number));
        for path in surplus {
            if fs::remove_file(path).is_err() {
                break;
            }
        }
        let flags = OFlags::CREATE | OFlags::APPEND | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::open(self.current(), flags, Mode::from_raw_mode(0o640))?;
        let mut file = File::from(file);
        let mut size = file.metadata()?.len();
        // A line that a power cut left unfinished ends here.
        if size > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
                size += 1;
            }
        }
        Ok((file, size))
    }

    /// Moves every file one further and starts a new one. If that fails the current one is emptied: the bound holds.
    fn rotate(&mut self) {
        let renamed = (1..self.files).rev().try_for_each(|number| {
            let from = match number {
                1 => self.current(),
                _ => self.rotated(number - 1),
            };
            match fs::rename(from, self.rotated(number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                Ok(()) | Err(_) => Ok(()),
            }
        });
        let reopened = match renamed {
            Ok(()) if self.files > 1 => self.open(),
            Ok(()) | Err(_) => Err(io::ErrorKind::Unsupported.into()),
        };
        if let Ok((file, size)) = reopened {
            self.file = Some(file);
            self.size = size;
            return;
        }
        match self.file.as_mut().map(|file| file.set_len(0)) {
            Some(Ok(())) => self.size = 0,
            Some(Err(_)) | None => self.file = None,
        }
    }

    fn drop_lines(&mut self, lines: &str) {
        let count = lines.bytes().filter(|byte| *byte == b'\n').count();
        self.dropped = self.dropped.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
    }

    fn current(&self) -> PathBuf {
        self.directory.join(format!("{}.log", self.name))
    }

    fn rotated(&self, number: u8) -> PathBuf {
        self.directory.join(format!("{}.log.{number}", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Path;

    const NOW: Duration = Duration::from_secs(10);

    fn read(directory: &Path, name: &str) -> String {
        fs::read_to_string(directory.join(name)).unwrap()
    }

    fn write(log: &mut LogFile, lines: impl IntoIterator<Item = String>) {
        for line in lines {
            log.push(&line, NOW);
        }
        log.flush(NOW);
    }

    fn numbered(range: core::ops::Range<u32>) -> impl Iterator<Item = String> {
        range.map(|number| format!("{number:099}"))
    }

    #[test]
    fn lines_are_appended_over_restarts_and_a_torn_line_is_ended() {
        let directory = tempfile::tempdir().unwrap();
        let new = || LogFile::new(directory.path(), "web", 1 << 20, 2);
        write(&mut new(), ["one".to_owned()]);
        let mut torn = File::options().append(true).open(directory.path().join("web.log")).unwrap();
        torn.write_all(b"torn").unwrap();
        write(&mut new(), ["two".to_owned()]);
        assert_eq!(read(directory.path(), "web.log"), "one\ntorn\ntwo\n");
    }

    #[test]
    fn files_rotate_by_size_and_the_oldest_goes() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = LogFile::new(directory.path(), "web", 16_400, 3);
        write(&mut log, numbered(0..600));
        let names = fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(names, 3);
        assert_eq!(read(directory.path(), "web.log").lines().count(), 600 - 3 * 164);
        assert_eq!(read(directory.path(), "web.log.1").lines().count(), 164);
        assert!(read(directory.path(), "web.log.2").starts_with(&format!("{:099}\n", 164)));
    }

    #[test]
    fn fewer_files_than_before_leave_none_behind() {
        let directory = tempfile::tempdir().unwrap();
        write(&mut LogFile::new(directory.path(), "web", 0, 5), numbered(0..2000));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 5);
        write(&mut LogFile::new(directory.path(), "web", 0, 1), numbered(0..400));
        let names: Vec<_> =
            fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["web.log"]);
        assert!(read(directory.path(), "web.log").len() <= 16 << 10);
    }

    #[test]
    fn lines_that_cannot_be_written_are_dropped_and_counted() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("log");
        // A file in place of the directory: nothing can be opened.
        File::create(&place).unwrap();
        let mut log = LogFile::new(&place, "web", 0, 2);
        write(&mut log, numbered(0..7));
        fs::remove_file(&place).unwrap();
        write(&mut log, numbered(7..8));
        assert!(!place.exists(), "it is not tried again at once");
        log.push("after", NOW + RETRY);
        log.flush(NOW + RETRY);
        assert_eq!(read(&place, "web.log"), "… 8 lines dropped\nafter\n");
    }

    #[test]
    fn a_full_disk_leaves_whole_lines_and_a_count() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = LogFile::new(directory.path(), "web", 0, 2);
        log.file = Some(File::options().write(true).open("/dev/full").unwrap());
        write(&mut log, numbered(0..3));
        assert_eq!((log.dropped, log.size), (3, 0));
        log.file = None;
        write(&mut log, ["after".to_owned()]);
        assert_eq!(read(directory.path(), "web.log"), "… 3 lines dropped\nafter\n");
    }

    #[test]
    fn a_link_in_place_of_the_log_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/nowhere/else", directory.path().join("web.log")).unwrap();
        let mut log = LogFile::new(directory.path(), "web", 0, 2);
        write(&mut log, numbered(0..1));
        assert_eq!(log.dropped, 1);
    }

    proptest! {
        #[test]
        fn disk_use_is_bounded_and_no_kept_line_is_torn(
            lengths in proptest::collection::vec(0_usize..8192, 1..120), files in 1_u8..4,
        ) {
            let directory = tempfile::tempdir().unwrap();
            let mut log = LogFile::new(directory.path(), "web", 0, files);
            write(&mut log, lengths.iter().map(|length| "x".repeat(*length)));
            let mut total = 0;
            for entry in fs::read_dir(directory.path()).unwrap() {
                let text = fs::read_to_string(entry.unwrap().path()).unwrap();
                total += text.len();
                for line in text.lines() {
                    prop_assert!(lengths.contains(&line.len()));
                }
            }
            prop_assert!(total <= usize::from(files) * (16 << 10));
        }
    }
}
