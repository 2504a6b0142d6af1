//! A service's end of the line to PID 1, and its place in the main loop: heartbeats, orders and SIGTERM.
//!
//! Without an inherited socket (a service tried by hand) nothing is sent and nothing is received; SIGTERM still works.

use crate::ipc::{HEARTBEAT_SECONDS, MESSAGE_BYTES, Message, SERVICE_FD};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{MsgFlags, SockType, getsockopt, recv, send, sockopt};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Orders taken in one turn of the loop: a flood on the line must not starve the rest.
const ORDERS_PER_TURN: usize = 16;

/// The line to PID 1.
#[derive(Debug)]
pub struct Link {
    socket: Option<OwnedFd>,
    signals: SignalFd,
    heartbeat_due: Instant,
}

/// Why [`Link::wait`] returned.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Wake {
    /// What PID 1 said, in order. SIGTERM and a closed line read as [`Message::Stop`].
    pub orders: Vec<Message>,
    /// For each descriptor given to `wait`, in its order: there is something to read, or an error to fetch.
    pub ready: Vec<bool>,
}

impl Wake {
    /// Whether the service was told to stop.
    pub fn stop(&self) -> bool {
        self.orders.contains(&Message::Stop)
    }
}

impl Link {
    /// Takes over the inherited socket, if there is one, and blocks SIGTERM so that it is seen by [`Link::wait`].
    /// Children started later inherit that signal mask.
    pub fn inherit() -> io::Result<Self> {
        Self::over(take_inherited()?)
    }

    /// A link over the given socket (`SOCK_SEQPACKET`), or over none.
    pub fn over(socket: Option<OwnedFd>) -> io::Result<Self> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGTERM);
        mask.thread_block()?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { socket, signals, heartbeat_due: Instant::now() })
    }

    /// Whether there is a line: not so for a service tried by hand.
    pub const fn is_connected(&self) -> bool {
        self.socket.is_some()
    }

    /// Tells PID 1 something. It never blocks: a full line means that PID 1 has enough to read, so the message is
    /// dropped and [`io::ErrorKind::WouldBlock`] returned.
    pub fn send(&self, message: &Message) -> io::Result<()> {
        let Some(socket) = &self.socket else {
            return Ok(());
        };
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        send(socket.as_raw_fd(), &message.encode(), flags)?;
        Ok(())
    }

    /// Waits until one of `others` is readable, PID 1 says something, SIGTERM arrives or `timeout` has passed. Sends the
    /// heartbeats that fall due meanwhile, so a loop around this call needs no other.
    pub fn wait(&mut self, others: &[BorrowedFd<'_>], timeout: Option<Duration>) -> io::Result<Wake> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            self.beat_if_due();
            let now = Instant::now();
            let until = deadline.map_or(self.heartbeat_due, |deadline| deadline.min(self.heartbeat_due));
            let wake = self.poll_once(others, until.saturating_duration_since(now))?;
            let timed_out = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if timed_out || !wake.orders.is_empty() || wake.ready.contains(&true) {
                self.beat_if_due();
                return Ok(wake);
            }
        }
    }

    /// A heartbeat that cannot be sent is one that PID 1 misses: that is the message.
    fn beat_if_due(&mut self) {
        let now = Instant::now();
        if now >= self.heartbeat_due {
            let sent = self.send(&Message::Heartbeat);
            let pause = Duration::from_secs(HEARTBEAT_SECONDS) / if sent.is_ok() { 2 } else { 10 };
            self.heartbeat_due = now + pause;
        }
    }

    fn poll_once(&self, others: &[BorrowedFd<'_>], timeout: Duration) -> io::Result<Wake> {
        let mut fds: Vec<PollFd<'_>> = others.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
        fds.push(PollFd::new(self.signals.as_fd(), PollFlags::POLLIN));
        if let Some(socket) = &self.socket {
            fds.push(PollFd::new(socket.as_fd(), PollFlags::POLLIN));
        }
        // Rounded up: waking a moment early would spin.
        let milliseconds = timeout.as_micros().div_ceil(1000);
        let timeout = i32::try_from(milliseconds).unwrap_or(i32::MAX);
        match poll(&mut fds, PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX)) {
            Ok(_) => {}
            Err(nix::Error::EINTR) => return Ok(Wake::default()),
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(true)).collect();
        let mut orders = Vec::new();
        if ready.get(others.len()).is_some_and(|ready| *ready)
            && matches!(self.signals.read_signal(), Ok(Some(_)))
        {
            orders.push(Message::Stop);
        }
        if ready.get(others.len() + 1).is_some_and(|ready| *ready) {
            orders.extend(self.receive()?);
        }
        Ok(Wake { orders, ready: ready[..others.len()].to_vec() })
    }

    /// Everything PID 1 has said, at most [`ORDERS_PER_TURN`] at a time. What is not a message is dropped.
    fn receive(&self) -> io::Result<Vec<Message>> {
        let mut orders = Vec::new();
        let Some(socket) = &self.socket else {
            return Ok(orders);
        };
        // One byte more than a message, so that a longer datagram is told from one.
        let mut buffer = [0; MESSAGE_BYTES + 1];
        for _ in 0..ORDERS_PER_TURN {
            match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(0) | Err(nix::Error::ECONNRESET) => {
                    orders.push(Message::Stop);
                    break;
                }
                Ok(length) => orders.extend(buffer.get(..length).and_then(Message::decode)),
                Err(nix::Error::EAGAIN | nix::Error::EINTR) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(orders)
    }
}

/// The inherited descriptor as an owned one, if it is a `SOCK_SEQPACKET` socket. The inherited number is closed: it has
/// no close-on-exec flag, and children must not get at PID 1.
fn take_inherited() -> io::Result<Option<OwnedFd>> {
    // Asking the kernel for a duplicate of a descriptor "of another process", here this one, is the one way to own a
    // descriptor known by number alone that needs no unsafe code; the duplicate is close-on-exec.
    let this = rustix::process::pidfd_open(rustix::process::getpid(), rustix::process::PidfdFlags::empty())?;
    let flags = rustix::process::PidfdGetfdFlags::empty();
    let socket = match rustix::process::pidfd_getfd(&this, SERVICE_FD, flags) {
        Ok(socket) => socket,
        Err(rustix::io::Errno::BADF) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if this.as_raw_fd() == SERVICE_FD || getsockopt(&socket, sockopt::SockType) != Ok(SockType::SeqPacket) {
        return Ok(None);
    }
    nix::unistd::close(SERVICE_FD)?;
    Ok(Some(socket))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{AddressFamily, SockFlag, socketpair};

    fn pair() -> (Link, OwnedFd) {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
        (Link::over(Some(ours)).unwrap(), theirs)
    }

    fn next(fd: &OwnedFd) -> Option<Message> {
        let mut buffer = [0; MESSAGE_BYTES];
        let length = recv(fd.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT).ok()?;
        Message::decode(&buffer[..length])
    }

    #[test]
    fn waiting_sends_the_heartbeat_that_is_due_and_no_second_one() {
        let (mut link, pid1) = pair();
        let wake = link.wait(&[], Some(Duration::ZERO)).unwrap();
        assert_eq!(wake, Wake::default());
        link.wait(&[], Some(Duration::ZERO)).unwrap();
        assert_eq!(next(&pid1), Some(Message::Heartbeat));
        assert_eq!(next(&pid1), None);
    }

    #[test]
    fn orders_arrive_in_order_and_noise_is_dropped() {
        let (mut link, pid1) = pair();
        let flags = MsgFlags::MSG_DONTWAIT;
        send(pid1.as_raw_fd(), &Message::StateMounted.encode(), flags).unwrap();
        send(pid1.as_raw_fd(), b"noise", flags).unwrap();
        send(pid1.as_raw_fd(), &[1; MESSAGE_BYTES + 40], flags).unwrap();
        send(pid1.as_raw_fd(), &Message::NetworkUp.encode(), flags).unwrap();
        let wake = link.wait(&[], None).unwrap();
        assert_eq!(wake.orders, [Message::StateMounted, Message::NetworkUp]);
        assert!(!wake.stop());
    }

    #[test]
    fn a_closed_line_means_stop() {
        let (mut link, pid1) = pair();
        drop(pid1);
        assert!(link.wait(&[], None).unwrap().stop());
    }

    #[test]
    fn a_readable_descriptor_is_named_by_its_position() {
        let (mut link, _pid1) = pair();
        let (reader, writer) = nix::unistd::pipe().unwrap();
        let (silent, _held) = nix::unistd::pipe().unwrap();
        nix::unistd::write(&writer, b"x").unwrap();
        let wake = link.wait(&[silent.as_fd(), reader.as_fd()], None).unwrap();
        assert_eq!(wake.ready, [false, true]);
    }

    #[test]
    fn without_a_line_sending_is_a_no_op() {
        let mut link = Link::over(None).unwrap();
        link.send(&Message::Ready).unwrap();
        assert_eq!(link.wait(&[], Some(Duration::ZERO)).unwrap(), Wake::default());
    }
}
