//! A byte stream as frames, with deadlines; the other end may vanish, return, or never have been there.
//!
//! A virtio-serial port brings bytes and news of its other end by separate ways, and the kernel may be late with the
//! news: that an earlier client has gone is seen when the next one has already made its request. So a cut line counts
//! only once it has stayed cut (`patience`); a client who does come anew says hello.

use coracle_format::control::{Frame, Reader, STALE_SECONDS, encode};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// How long a client may take no bytes.
const SEND_LIMIT: Duration = Duration::from_secs(20);
/// Bytes read at once.
const READ_BYTES: usize = 16 << 10;
/// How often a line that is cut is looked at: it is ready all the time, so there is nothing to wait for.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

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

/// The line to the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Whole,
    /// Since then.
    Cut(Instant),
    /// Cut for too long, or for ever.
    Gone,
}

impl Line {
    /// The line once it was seen whole, or cut, at `now`.
    fn seen(self, whole: bool, now: Instant, patience: Duration) -> Self {
        let since = match self {
            Self::Gone => return Self::Gone,
            _ if whole => return Self::Whole,
            Self::Whole => now,
            Self::Cut(since) => since,
        };
        if now.saturating_duration_since(since) >= patience { Self::Gone } else { Self::Cut(since) }
    }
}

/// The stream.
#[derive(Debug)]
pub(super) struct Channel {
    fd: OwnedFd,
    reader: Reader,
    /// When a frame that is not whole yet was seen first.
    begun: Option<Instant>,
    line: Line,
    patience: Duration,
}

impl Channel {
    /// A channel over a stream, which must be able not to block. Its line may be cut for `patience` and be whole again.
    pub(super) fn new(fd: OwnedFd, patience: Duration) -> io::Result<Self> {
        let flags = fcntl_getfl(&fd)?;
        fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
        Ok(Self { fd, reader: Reader::new(), begun: None, line: Line::Whole, patience })
    }

    /// The stream itself, for another client.
    pub(super) fn into_fd(self) -> OwnedFd {
        self.fd
    }

    pub(super) fn is_gone(&self) -> bool {
        self.line == Line::Gone
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
            if self.is_gone() {
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
            self.wait(PollFlags::IN, Vec::new(), wait)?;
        }
    }

    /// Waits until the stream has what is `wanted` of it, one of `others` is ready, or the time has passed.
    pub(super) fn wait(
        &mut self,
        wanted: PollFlags,
        others: Vec<PollFd<'_>>,
        wait: Duration,
    ) -> io::Result<()> {
        let mut fds = others;
        let wait = if matches!(self.line, Line::Cut(_)) {
            wait.min(LOOK_AGAIN)
        } else {
            fds.push(PollFd::new(&self.fd, wanted));
            wait
        };
        wait_for(&mut fds, wait)?;
        let mut now = [PollFd::new(&self.fd, PollFlags::empty())];
        poll(&mut now, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
        let cut = now[0].revents().intersects(PollFlags::HUP | PollFlags::ERR);
        self.see(!cut);
        Ok(())
    }

    fn see(&mut self, whole: bool) {
        self.line = self.line.seen(whole, Instant::now(), self.patience);
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
                    self.line = Line::Gone;
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }

    fn wait_to_send(&mut self, until: Instant) -> io::Result<()> {
        let wait = until.saturating_duration_since(Instant::now());
        if wait.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.wait(PollFlags::OUT, Vec::new(), wait)?;
        if self.is_gone() { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }

    /// Takes what the stream has. A stream that ended, or a port whose host is not connected, reads as nothing.
    fn fill(&mut self) {
        let mut buffer = [0; READ_BYTES];
        let room = self.reader.room().min(READ_BYTES);
        match rustix::io::read(&self.fd, &mut buffer[..room]) {
            Ok(0) => self.see(false),
            Ok(length) => {
                self.reader.push(&buffer[..length]);
                self.see(true);
            }
            Err(Errno::AGAIN) => self.see(true),
            Err(Errno::INTR) => {}
            Err(_) => self.line = Line::Gone,
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

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::Mode;

    const PATIENCE: Duration = Duration::from_secs(2);

    #[test]
    fn a_line_is_gone_once_it_has_stayed_cut() {
        let begun = Instant::now();
        let after = |line: Line, whole, milliseconds| {
            line.seen(whole, begun + Duration::from_millis(milliseconds), PATIENCE)
        };
        let cut = after(Line::Whole, false, 0);
        assert_eq!(cut, Line::Cut(begun));
        assert_eq!(after(cut, false, 1999), cut);
        // News of an earlier client that has gone.
        assert_eq!(after(cut, true, 1999), Line::Whole);
        assert_eq!(after(cut, false, 2000), Line::Gone);
        assert_eq!(after(Line::Gone, true, 2001), Line::Gone);
        // Each cut has its own time.
        assert_eq!(after(Line::Whole, false, 3000), Line::Cut(begun + Duration::from_secs(3)));
    }

    #[test]
    fn a_line_that_cannot_be_whole_again_is_gone_at_once() {
        assert_eq!(Line::Whole.seen(false, Instant::now(), Duration::ZERO), Line::Gone);
    }

    #[test]
    fn a_stream_that_has_ended_is_gone_after_its_time_and_does_not_spin() {
        let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
        let patience = LOOK_AGAIN * 10;
        let mut channel = Channel::new(near.into(), patience).unwrap();
        drop(far);
        let begun = Instant::now();
        let mut looks = 0;
        while !channel.is_gone() {
            assert_eq!(channel.take(), None);
            channel.wait(PollFlags::IN, Vec::new(), Duration::from_mins(1)).unwrap();
            looks += 1;
        }
        assert!(begun.elapsed() >= patience);
        assert!(looks <= 12, "looked {looks} times");
        assert_eq!(channel.hear(Instant::now() + Duration::from_mins(1)).unwrap(), Heard::Gone);
    }

    /// A pipe with a name is cut and whole again as a port is: it has ended while nobody has it open for writing.
    #[test]
    fn what_the_next_client_says_is_heard_though_the_one_before_is_seen_to_have_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("port");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let port = rustix::fs::open(&path, flags, Mode::empty()).unwrap();
        let say = |frame: &Frame| {
            let mut port = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
            std::io::Write::write_all(&mut port, &encode(frame)).unwrap();
        };
        say(&Frame::Alive(1));
        let mut channel = Channel::new(port, Duration::from_mins(1)).unwrap();
        let soon = || Instant::now() + LOOK_AGAIN * 3;
        assert_eq!(channel.hear(soon()).unwrap(), Heard::Frame(Frame::Alive(1)));
        assert_eq!(channel.hear(soon()).unwrap(), Heard::Silence);
        assert!(matches!(channel.line, Line::Cut(_)), "{:?}", channel.line);
        say(&Frame::Alive(2));
        assert_eq!(channel.hear(soon()).unwrap(), Heard::Frame(Frame::Alive(2)));
        assert_eq!(channel.line, Line::Whole);
    }
}
