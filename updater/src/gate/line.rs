//! The line to PID 1: heartbeats, readiness and orders, as every supervised service has it.

use coracle_format::ipc::{HEARTBEAT_SECONDS, MESSAGE_BYTES, Message, SERVICE_FD};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketType, recv, send, sockopt};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Orders taken at a time.
const ORDERS_PER_TURN: usize = 16;
/// How long the last message may wait for room on the line.
const LAST_MESSAGE: Duration = Duration::from_secs(2);

/// The line. Without one (the gate tried by hand) nothing is sent and nothing is received.
#[derive(Debug)]
pub(crate) struct Line {
    socket: Option<OwnedFd>,
    beat_due: Instant,
}

impl Line {
    /// Takes over the inherited socket, if there is one.
    pub(crate) fn inherit() -> io::Result<Self> {
        Ok(Self::over(inherited()?))
    }

    /// A line over this socket (`SOCK_SEQPACKET`), or over none.
    pub(crate) fn over(socket: Option<OwnedFd>) -> Self {
        Self { socket, beat_due: Instant::now() }
    }

    /// Waits for orders, at most so long, and sends the heartbeat if it is due. A closed line reads as the order to stop.
    pub(crate) fn wait(&mut self, limit: Duration) -> io::Result<Vec<Message>> {
        self.wait_beside(limit, &[])
    }

    /// The same; what comes on one of the others ends the wait too.
    pub(crate) fn wait_beside(
        &mut self,
        limit: Duration,
        others: &[BorrowedFd<'_>],
    ) -> io::Result<Vec<Message>> {
        self.beat_if_due();
        let others = others.iter().map(|other| PollFd::from_borrowed_fd(*other, PollFlags::IN));
        let mut fds: Vec<PollFd<'_>> =
            self.socket.iter().map(|socket| PollFd::new(socket, PollFlags::IN)).chain(others).collect();
        let timeout = Timespec::try_from(limit).map_err(io::Error::other)?;
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
        self.receive()
    }

    /// Tells PID 1 something for good: waits a moment if the line is full.
    pub(crate) fn tell(&self, message: &Message) -> io::Result<()> {
        let until = Instant::now() + LAST_MESSAGE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.send(message) {
                Err(Errno::AGAIN) if !left.is_zero() => {
                    let mut fds: Vec<PollFd<'_>> =
                        self.socket.iter().map(|socket| PollFd::new(socket, PollFlags::OUT)).collect();
                    let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
                    match poll(&mut fds, Some(&timeout)) {
                        Ok(_) | Err(Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                sent => return Ok(sent?),
            }
        }
    }

    /// A heartbeat that cannot be sent is one that PID 1 misses: that is the message.
    fn beat_if_due(&mut self) {
        let now = Instant::now();
        if now >= self.beat_due {
            let share = if self.send(&Message::Heartbeat).is_ok() { 2 } else { 10 };
            self.beat_due = now + Duration::from_secs(HEARTBEAT_SECONDS) / share;
        }
    }

    fn send(&self, message: &Message) -> Result<(), Errno> {
        match &self.socket {
            Some(socket) => {
                let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                send(socket, &message.encode(), flags).map(drop)
            }
            None => Ok(()),
        }
    }

    fn receive(&self) -> io::Result<Vec<Message>> {
        let mut orders = Vec::new();
        let Some(socket) = &self.socket else {
            return Ok(orders);
        };
        // One byte more than a message, so that a longer datagram is told from one.
        let mut buffer = [0; MESSAGE_BYTES + 1];
        for _ in 0..ORDERS_PER_TURN {
            match recv(socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) | Err(Errno::CONNRESET) => {
                    orders.push(Message::Stop);
                    break;
                }
                Ok((length, _)) => orders.extend(buffer.get(..length).and_then(Message::decode)),
                Err(Errno::AGAIN | Errno::INTR) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(orders)
    }
}

/// The inherited descriptor as an owned one, if it is a `SOCK_SEQPACKET` socket. The number itself stays open: the
/// children of the gate run in containers and get no descriptors but the standard ones from crun.
fn inherited() -> io::Result<Option<OwnedFd>> {
    // Asking the kernel for a duplicate of a descriptor "of another process", here this one, is the one way to own a
    // descriptor known by number alone that needs no unsafe code; the duplicate is close-on-exec.
    let this = pidfd_open(getpid(), PidfdFlags::empty())?;
    match pidfd_getfd(&this, SERVICE_FD, PidfdGetfdFlags::empty()) {
        Ok(socket) if sockopt::socket_type(&socket) == Ok(SocketType::SEQPACKET) => Ok(Some(socket)),
        Ok(_) | Err(Errno::BADF) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, socketpair};

    fn pair() -> (Line, OwnedFd) {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        (Line::over(Some(ours)), theirs)
    }

    #[test]
    fn waiting_sends_the_heartbeat_that_is_due_and_no_second_one() {
        let (mut line, pid1) = pair();
        line.wait(Duration::ZERO).unwrap();
        line.wait(Duration::ZERO).unwrap();
        let mut buffer = [0; MESSAGE_BYTES];
        recv(&pid1, &mut buffer[..], RecvFlags::DONTWAIT).unwrap();
        assert_eq!(Message::decode(&buffer), Some(Message::Heartbeat));
        assert_eq!(recv(&pid1, &mut buffer[..], RecvFlags::DONTWAIT), Err(Errno::AGAIN));
    }

    #[test]
    fn orders_arrive_and_a_closed_line_means_stop() {
        let (mut line, pid1) = pair();
        send(&pid1, &Message::StateMounted.encode(), SendFlags::empty()).unwrap();
        send(&pid1, b"noise", SendFlags::empty()).unwrap();
        assert_eq!(line.wait(Duration::ZERO).unwrap(), [Message::StateMounted]);
        drop(pid1);
        assert_eq!(line.wait(Duration::ZERO).unwrap(), [Message::Stop]);
    }

    #[test]
    fn a_last_message_waits_for_room() {
        let (line, pid1) = pair();
        while line.send(&Message::Heartbeat).is_ok() {}
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; MESSAGE_BYTES];
            loop {
                recv(&pid1, &mut buffer[..], RecvFlags::empty()).unwrap();
                if Message::decode(&buffer) == Some(Message::Ready) {
                    return;
                }
            }
        });
        line.tell(&Message::Ready).unwrap();
        reader.join().unwrap();
    }
}
