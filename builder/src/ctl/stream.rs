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
    half: Half,
    unsent: Vec<u8>,
}

impl Stream {
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
        fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok(Self { file: fd.into(), reader: Reader::new(), half: Half::default(), unsent: Vec::new() })
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
        if let Some(frame) = self.take() {
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
        if self.half.is_stale(self.reader.is_waiting(), Instant::now()) {
            self.reader.give_up();
        }
        Ok(self.take())
    }

    fn take(&mut self) -> Option<Frame> {
        let frame = self.reader.take()?;
        self.half = Half::default();
        Some(frame)
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
                self.reader.push(&buffer[..length]);
            }
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// A frame that is not whole yet, timed from when it was seen first, as machines do: what comes behind it must not keep it
/// alive.
#[derive(Debug, Default)]
struct Half(Option<Instant>);

impl Half {
    /// Whether the frame that is `waiting` for its rest, if one is, has waited for too long.
    fn is_stale(&mut self, waiting: bool, now: Instant) -> bool {
        if !waiting {
            self.0 = None;
            return false;
        }
        let begun = *self.0.get_or_insert(now);
        let stale = now.saturating_duration_since(begun) >= Duration::from_secs(STALE_SECONDS);
        if stale {
            self.0 = None;
        }
        stale
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn half_a_frame_is_given_up_by_its_own_age_however_often_more_comes() {
        let begun = Instant::now();
        let after = |milliseconds| begun + Duration::from_millis(milliseconds);
        let mut half = Half::default();
        let stale = [0, 700, 1400, 1999, 2000].map(|time| half.is_stale(true, after(time)));
        assert_eq!(stale, [false, false, false, false, true]);
        // What waits next is timed anew, and so is what waits once nothing did.
        assert!(!half.is_stale(true, after(2001)));
        assert!(!half.is_stale(false, after(3000)));
        assert!(!half.is_stale(true, after(4100)));
        assert!(half.is_stale(true, after(6100)));
    }

    #[test]
    fn a_whole_frame_ends_the_wait_for_the_one_before() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut stream = Stream::new(near.into()).unwrap();
        let frame = encode(&Frame::Alive(7));
        far.write_all(&frame[..5]).unwrap();
        assert_eq!(stream.turn(Duration::from_secs(5)).unwrap(), None);
        assert!(stream.half.0.is_some());
        far.write_all(&frame[5..]).unwrap();
        assert_eq!(stream.turn(Duration::from_secs(5)).unwrap(), Some(Frame::Alive(7)));
        assert!(stream.half.0.is_none());
    }
}
