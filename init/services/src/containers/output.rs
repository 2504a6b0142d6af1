//! One container's output, from its pipe to the console or its log file.

use super::budget::Budget;
use super::console::Console;
use super::crun::Outputs;
use super::lines::{Splitter, escape};
use super::logfile::{self, LogFile};
use coracle_format::device::{Container, Log};
use core::time::Duration;
use std::io::{self, PipeReader, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::process::Stdio;

/// Bytes read in one turn of the main loop.
const TURN_BYTES: usize = 64 << 10;
/// Bytes read at once, and per second after that. A container that writes more waits, so that its flood costs the machine
/// no more than this.
const BURST_BYTES: u64 = 1 << 20;
const BYTES_PER_SECOND: u64 = 512 << 10;
/// When a container that has used up its share is looked at again.
const PAUSE: Duration = Duration::from_millis(50);
/// Most that a pipe holds: what is read when nobody writes any more.
const REST_BYTES: usize = 1 << 20;

/// One container's output.
#[derive(Debug)]
pub(super) struct Output {
    index: usize,
    pipe: Option<PipeReader>,
    splitter: Splitter,
    sink: Sink,
    budget: Budget,
}

#[derive(Debug)]
enum Sink {
    Console,
    File(LogFile),
    Discard,
}

/// Why reading ended.
#[derive(Debug, PartialEq, Eq)]
enum Reading {
    /// As much as allowed was read.
    Enough,
    /// There is nothing more for now.
    Empty,
    /// There will be nothing more.
    Closed,
}

impl Output {
    /// The output of the container with this index.
    pub(super) fn new(index: usize, container: &Container) -> Self {
        let sink = match container.log {
            Log::Console => Sink::Console,
            Log::File { max_bytes, files } => {
                Sink::File(LogFile::new(logfile::DIRECTORY, &container.name, max_bytes, files))
            }
            Log::Discard => Sink::Discard,
        };
        Self {
            index,
            pipe: None,
            splitter: Splitter::default(),
            sink,
            budget: Budget::new(BURST_BYTES, BYTES_PER_SECOND),
        }
    }

    /// The writing ends for a new run. What the last one wrote must have been taken with [`Output::finish`].
    pub(super) fn open(&mut self) -> io::Result<Outputs> {
        if matches!(self.sink, Sink::Discard) {
            return Ok(Outputs { stdout: Stdio::null(), stderr: Stdio::null() });
        }
        let (reader, writer) = io::pipe()?;
        rustix::io::ioctl_fionbio(&reader, true)?;
        self.pipe = Some(reader);
        Ok(Outputs { stdout: writer.try_clone()?.into(), stderr: writer.into() })
    }

    /// The descriptor to wait for, if there is something to wait for and the container has not used up its share.
    pub(super) fn descriptor(&mut self, now: Duration) -> Option<BorrowedFd<'_>> {
        (self.budget.left(now) > 0).then_some(())?;
        self.pipe.as_ref().map(|pipe| pipe.as_fd())
    }

    /// When to look again at a container that has used up its share.
    pub(super) fn wait_limit(&mut self, now: Duration) -> Option<Duration> {
        (self.pipe.is_some() && self.budget.left(now) == 0).then_some(PAUSE)
    }

    /// Takes what there is, up to the share of one turn.
    pub(super) fn read(&mut self, console: &mut Console, now: Duration) {
        let allowed = usize::try_from(self.budget.left(now)).unwrap_or(usize::MAX);
        if self.take(allowed.min(TURN_BYTES), console, now) == Reading::Closed {
            self.pipe = None;
        }
        self.flush(now);
    }

    /// Takes the rest of a run whose processes are gone, and ends its last line.
    pub(super) fn finish(&mut self, console: &mut Console, now: Duration) {
        self.take(REST_BYTES, console, now);
        self.pipe = None;
        let Self { splitter, sink, index, .. } = self;
        splitter.finish(|line| sink.push(*index, line, (&mut *console, now)));
        self.flush(now);
    }

    fn take(&mut self, limit: usize, console: &mut Console, now: Duration) -> Reading {
        let Self { pipe, splitter, sink, budget, index } = self;
        let Some(pipe) = pipe else {
            return Reading::Closed;
        };
        let mut buffer = [0; 16 << 10];
        let mut taken = 0;
        while taken < limit {
            let room = buffer.len().min(limit - taken);
            let bytes = match pipe.read(&mut buffer[..room]) {
                Ok(0) => return Reading::Closed,
                Ok(length) => &buffer[..length],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Reading::Empty,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return Reading::Closed,
            };
            taken += bytes.len();
            budget.spend(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            splitter.feed(bytes, |line| sink.push(*index, line, (&mut *console, now)));
        }
        Reading::Enough
    }

    fn flush(&mut self, now: Duration) {
        match &mut self.sink {
            Sink::File(file) => file.flush(now),
            Sink::Console | Sink::Discard => {}
        }
    }
}

impl Sink {
    fn push(&mut self, index: usize, line: &[u8], (console, now): (&mut Console, Duration)) {
        match self {
            Self::Console => console.push(index, line, now),
            Self::File(file) => file.push(&escape(line), now),
            Self::Discard => {}
        }
    }
}
