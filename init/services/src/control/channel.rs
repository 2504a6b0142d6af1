//! A byte stream as frames, with deadlines; the other end may vanish, return, or never have been there.

use coracle_format::control::{Frame, Reader, STALE_SECONDS, encode};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long a client may take no bytes.
const SEND_LIMIT: Duration = Duration::from_secs(20);
/// Bytes read at once.
const READ_BYTES: usize = 16 << 10;

/// What was heard.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// A frame.
    Frame(Frame),
    /// Nothing until the moment that was named.
    Silence,
    /// The other end is gone.
    Gone,
}

/// The stream.
#[derive(Debug)]
pub(super) struct Channel {
    fd: OwnedFd,
    reader: Reader,
    /// When a frame that is not whole yet was seen first.
    begun: Option<Instant>,
    gone: bool,
}

impl Channel {
    /// A channel over a stream, which must be able not to block.
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        let flags = fcntl_getfl(&fd)?;
        fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
        Ok(Self { fd, reader: Reader::new(), begun: None, gone: false })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The stream itself, for another client.
    pub(super) fn into_fd(self) -> OwnedFd {
        self.fd
    }

    pub(super) const fn is_gone(&self) -> bool {
        self.gone
    }

    /// Reads what has come, without waiting, and gives the next frame if there is a whole one.
    pub(super) fn take(&mut self) -> Option<Frame> {
        if let Some(frame) = self.reader.take() {
            self.begun = None;
            return Some(frame);
        }
        self.fill();
        // Counted from the frame's beginning, not from the last byte: a new client's words must not keep alive what the
        // one before it has left half said.
        if !self.reader.is_waiting() {
            self.begun = None;
        } else if self.begun.get_or_insert_with(Instant::now).elapsed() >= Duration::from_secs(STALE_SECONDS)
        {
            self.reader.give_up();
            self.begun = None;
        }
        let frame = self.reader.take();
        if frame.is_some() {
            self.begun = None;
        }
        frame
    }

    /// The next frame, waiting for it until `until`.
    pub(super) fn hear(&mut self, until: Instant) -> io::Result<Heard> {
        loop {
            if let Some(frame) = self.take() {
                return Ok(Heard::Frame(frame));
            }
            if self.gone {
                return Ok(Heard::Gone);
            }
            let now = Instant::now();
            if now >= until {
                return Ok(Heard::Silence);
            }
            let mut wait = until.saturating_duration_since(now);
            if self.reader.is_waiting() {
                wait = wait.min(Duration::from_secs(STALE_SECONDS));
            }
            wait_for(&mut [PollFd::new(&self.fd, PollFlags::IN)], wait)?;
        }
    }

    /// Sends a frame; an error if the other end is gone or takes nothing for too long.
    pub(super) fn send(&mut self, frame: &Frame) -> io::Result<()> {
        let bytes = encode(frame);
        let mut rest = &bytes[..];
        let until = Instant::now() + SEND_LIMIT;
        while !rest.is_empty() {
            match rustix::io::write(&self.fd, rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => rest = &rest[length..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.wait_to_send(until)?,
                Err(error) => {
                    self.gone = true;
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }

    fn wait_to_send(&mut self, until: Instant) -> io::Result<()> {
        let wait = until.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(&self.fd, PollFlags::OUT)];
        wait_for(&mut fds, wait)?;
        let seen = fds[0].revents();
        if wait.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if seen.intersects(PollFlags::HUP | PollFlags::ERR) {
            self.gone = true;
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(())
    }

    /// Takes what the stream has. A stream that ended, or a port whose host is not connected, reads as nothing.
    fn fill(&mut self) {
        let mut buffer = [0; READ_BYTES];
        let room = self.reader.room().min(READ_BYTES);
        match rustix::io::read(&self.fd, &mut buffer[..room]) {
            Ok(0) => self.gone = true,
            Ok(length) => {
                self.reader.push(&buffer[..length]);
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.gone = true,
        }
    }
}

/// Waits until one of the descriptors is ready or the time has passed.
pub(super) fn wait_for(fds: &mut [PollFd<'_>], wait: Duration) -> io::Result<()> {
    // Rounded up: waking a moment early would spin.
    let wait = wait + Duration::from_millis(1);
    let timeout = Timespec {
        tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: wait.subsec_nanos().into(),
    };
    match poll(fds, Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Lets time pass: there is nothing to wait for.
pub(super) fn pause(time: Duration) {
    match wait_for(&mut [], time) {
        Ok(()) | Err(_) => {}
    }
}
