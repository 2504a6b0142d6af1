//! The updater as a child: the client's stream goes in, output comes out, nobody waits for the other.

use super::channel::{Channel, wait_for};
use super::machine::Machine;
use coracle_format::control::{ALIVE_SECONDS, Frame, Hello, IDLE_SECONDS, Output, Request};
use nix::sys::signal::{SigSet, Signal};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, kill_process_group, pidfd_open};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// Bytes of the stream that wait for the child at most, give or take a frame.
const QUEUE_BYTES: usize = 64 << 10;
/// Output taken at once.
const READ_BYTES: usize = 8 << 10;
/// The client is told how far its stream is at least this often.
const TELL_BYTES: u64 = 256 << 10;
/// How long a child without a stream may go on when its client is gone.
const FINISH: Duration = Duration::from_secs(30);

/// How a request ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// With this exit code.
    Code(u8),
    /// The client is gone, and with it what it wanted.
    Gone,
    /// The client owes bytes of its stream and sends none.
    Stalled,
    /// Another client is there.
    Anew(Hello),
}

/// Runs the updater with these arguments and relays until it ends. A client that goes away takes a `check` or `apply`
/// with it: the updater can be stopped at any moment. What else was begun is finished.
pub(super) fn run(
    channel: &mut Channel,
    machine: &Machine,
    request: &Request,
    arguments: &[String],
) -> io::Result<Ended> {
    let mut relay = Relay::start(machine, request, arguments)?;
    let ended = relay.turn(channel);
    relay.finish(matches!(request, Request::Check { .. } | Request::Apply { .. }));
    ended
}

struct Relay {
    child: Child,
    ended: OwnedFd,
    stdin: Option<ChildStdin>,
    outputs: [(Output, Option<OwnedFd>); 2],
    queue: VecDeque<u8>,
    /// Bytes that the client still owes.
    owed: u64,
    passed: u64,
    told: (u64, Instant),
    heard: Instant,
}

impl Relay {
    fn start(machine: &Machine, request: &Request, arguments: &[String]) -> io::Result<Self> {
        let owed = request.stream_bytes();
        let stdin = if owed.is_some() { Stdio::piped() } else { Stdio::null() };
        let mut child = spawn(machine, arguments, stdin)?;
        let pid = Pid::from_child(&child);
        let ended = pidfd_open(pid, PidfdFlags::empty())?;
        let stdin = child.stdin.take();
        let outputs = [
            (Output::Standard, child.stdout.take().map(OwnedFd::from)),
            (Output::Error, child.stderr.take().map(OwnedFd::from)),
        ];
        for fd in outputs.iter().filter_map(|(_, fd)| fd.as_ref()) {
            unblock(fd)?;
        }
        if let Some(stdin) = &stdin {
            unblock(stdin)?;
        }
        let now = Instant::now();
        let mut relay = Self {
            child,
            ended,
            stdin,
            outputs,
            queue: VecDeque::new(),
            owed: owed.unwrap_or(0),
            passed: 0,
            told: (0, now),
            heard: now,
        };
        relay.close_when_passed();
        Ok(relay)
    }

    /// Relays until the child or the client is at its end.
    fn turn(&mut self, channel: &mut Channel) -> io::Result<Ended> {
        loop {
            // First of all: the beginning of the stream may have come together with the request.
            if let Some(ended) = self.listen(channel) {
                return Ok(ended);
            }
            self.feed();
            let over = self.child.try_wait()?;
            // What the child has said before it ended is in the pipes by now.
            self.relay_output(channel)?;
            if let Some(status) = over {
                let code = status.code().and_then(|code| u8::try_from(code).ok());
                return Ok(Ended::Code(code.unwrap_or(1)));
            }
            self.tell(channel)?;
            if self.owed > 0
                && self.stdin.is_some()
                && self.queue.is_empty()
                && self.heard.elapsed() >= Duration::from_secs(IDLE_SECONDS)
            {
                return Ok(Ended::Stalled);
            }
            self.wait(channel)?;
            // What a client that is gone has sent before is of no use to anybody.
            if channel.is_gone() {
                return Ok(Ended::Gone);
            }
        }
    }

    fn wait(&self, channel: &mut Channel) -> io::Result<()> {
        let room = if self.queue.len() < QUEUE_BYTES { PollFlags::IN } else { PollFlags::empty() };
        let mut fds = vec![PollFd::new(&self.ended, PollFlags::IN)];
        for fd in self.outputs.iter().filter_map(|(_, fd)| fd.as_ref()) {
            fds.push(PollFd::new(fd, PollFlags::IN));
        }
        if let Some(stdin) = &self.stdin
            && !self.queue.is_empty()
        {
            fds.push(PollFd::new(stdin, PollFlags::OUT));
        }
        channel.wait(room, fds, Duration::from_secs(ALIVE_SECONDS).saturating_sub(self.told.1.elapsed()))
    }

    /// Takes what the client has sent.
    fn listen(&mut self, channel: &mut Channel) -> Option<Ended> {
        while self.queue.len() < QUEUE_BYTES {
            match channel.take() {
                Some(Frame::Data(bytes)) => {
                    self.heard = Instant::now();
                    // More than was announced is not passed on.
                    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX).min(self.owed);
                    self.owed -= length;
                    if self.stdin.is_some() {
                        self.queue.extend(bytes.iter().take(usize::try_from(length).unwrap_or(usize::MAX)));
                    }
                }
                Some(Frame::Hello(hello)) => return Some(Ended::Anew(hello)),
                Some(Frame::Bye) => return Some(Ended::Gone),
                Some(_) => {}
                None if channel.is_gone() => return Some(Ended::Gone),
                None => return None,
            }
        }
        None
    }

    /// Gives the child what it takes of the queue.
    fn feed(&mut self) {
        while let Some(stdin) = &self.stdin
            && !self.queue.is_empty()
        {
            match rustix::io::write(stdin, self.queue.as_slices().0) {
                Ok(length) => {
                    self.queue.drain(..length);
                    self.passed += u64::try_from(length).unwrap_or(0);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // The child has read what it needs: a refusal often comes before the end of the stream.
                Err(_) => {
                    self.stdin = None;
                    self.queue.clear();
                }
            }
        }
        self.close_when_passed();
    }

    fn close_when_passed(&mut self) {
        if self.owed == 0 && self.queue.is_empty() {
            self.stdin = None;
        }
    }

    /// Passes on what the child has said.
    fn relay_output(&mut self, channel: &mut Channel) -> io::Result<()> {
        let mut buffer = [0; READ_BYTES];
        for (output, end) in &mut self.outputs {
            while let Some(fd) = end {
                match rustix::io::read(&*fd, &mut buffer) {
                    Ok(0) => *end = None,
                    Ok(length) => channel.send(&Frame::Output(*output, buffer[..length].to_vec()))?,
                    Err(Errno::INTR) => {}
                    Err(Errno::AGAIN) => break,
                    Err(_) => *end = None,
                }
            }
        }
        Ok(())
    }

    /// Tells the client that the machine is still there, and how far its stream is.
    fn tell(&mut self, channel: &mut Channel) -> io::Result<()> {
        let (passed, at) = self.told;
        if self.passed - passed >= TELL_BYTES || at.elapsed() >= Duration::from_secs(ALIVE_SECONDS) {
            channel.send(&Frame::Alive(self.passed))?;
            self.told = (self.passed, Instant::now());
        }
        Ok(())
    }

    /// Leaves no child behind.
    fn finish(&mut self, at_once: bool) {
        self.stdin = None;
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            // Output that nobody reads must not stop it.
            for (_, end) in &mut self.outputs {
                *end = None;
            }
            let until = if at_once { Duration::ZERO } else { FINISH };
            match wait_for(&mut [PollFd::new(&self.ended, PollFlags::IN)], until) {
                Ok(()) | Err(_) => {}
            }
        }
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            // The whole group: the part that speaks to the network is its own child.
            match kill_process_group(Pid::from_child(&self.child), rustix::process::Signal::KILL) {
                Ok(()) | Err(_) => {}
            }
            match self.child.wait() {
                Ok(_) | Err(_) => {}
            }
        }
    }
}

fn unblock(fd: impl AsFd) -> io::Result<()> {
    let flags = fcntl_getfl(&fd)?;
    Ok(fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?)
}

/// The child must hear the SIGTERM that this service takes by other means, and signal masks are inherited. One that
/// arrives in between ends the service, as it should.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that makes a command; the program is fixed, its arguments are our own words"
)]
fn spawn(machine: &Machine, arguments: &[String], stdin: Stdio) -> io::Result<Child> {
    let mut terminate = SigSet::empty();
    terminate.add(Signal::SIGTERM);
    let before = SigSet::thread_get_mask()?;
    terminate.thread_unblock()?;
    let child = Command::new(&machine.updater)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin")
        .env("LC_ALL", "C")
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .current_dir("/")
        .process_group(0)
        .spawn();
    before.thread_set_mask()?;
    child
}
