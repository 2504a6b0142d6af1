//! The connection as frames in both directions, neither waiting for the other.

use coracle_format::control::{Frame, Reader, STALE_SECONDS, encode};
use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::{AsFd as _, OwnedFd},
    time::{Duration, Instant},
};

const READ_BYTES: usize = 16 << 10;

/// A connection.
#[derive(Debug)]
pub(super) struct Stream {
    file: File,
    reader: Reader,
    fed: Instant,
    unsent: Vec<u8>,
}

impl Stream {
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
        fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok(Self { file: fd.into(), reader: Reader::new(), fed: Instant::now(), unsent: Vec::new() })
    }

    /// Puts a frame behind what is to be sent.
    pub(super) fn send(&mut self, frame: &Frame) {
        self.unsent.extend(encode(frame));
    }

    /// Whether everything has been sent.
    pub(super) fn is_flushed(&self) -> bool {
        self.unsent.is_empty()
    }

    /// Sends what can be sent, and gives the next frame if one comes within `wait`; without one, returns as soon as
    /// there is nothing left to send. An error once the other end is gone.
    pub(super) fn turn(&mut self, wait: Duration) -> io::Result<Option<Frame>> {
        if let Some(frame) = self.reader.take() {
            return Ok(Some(frame));
        }
        let mut wanted = PollFlags::POLLIN;
        wanted.set(PollFlags::POLLOUT, !self.unsent.is_empty());
        let milliseconds = u16::try_from(wait.as_millis()).unwrap_or(u16::MAX);
        let mut fds = [PollFd::new(self.file.as_fd(), wanted)];
        match poll(&mut fds, PollTimeout::from(milliseconds)) {
            Ok(_) => {}
            Err(nix::Error::EINTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let seen = fds[0].revents().unwrap_or(PollFlags::empty());
        if seen.contains(PollFlags::POLLOUT) {
            self.write()?;
        }
        if seen.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
            self.read()?;
        }
        if self.reader.is_waiting() && self.fed.elapsed() >= Duration::from_secs(STALE_SECONDS) {
            self.reader.give_up();
        }
        Ok(self.reader.take())
    }

    fn write(&mut self) -> io::Result<()> {
        match self.file.write(&self.unsent) {
            Ok(length) => drop(self.unsent.drain(..length)),
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn read(&mut self) -> io::Result<()> {
        let mut buffer = [0; READ_BYTES];
        let room = self.reader.room().min(READ_BYTES);
        match self.file.read(&mut buffer[..room]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => {
                self.fed = Instant::now();
                self.reader.push(&buffer[..length]);
            }
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
