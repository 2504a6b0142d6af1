//! One supervised service: its process and the socket to it.

use super::life::Life;
use super::progress::{Name, Progress};
use crate::fault::{Attempt, Fault};
use crate::kmsg::{self, Level};
use crate::sys::spawn::{Program, spawn};
use crate::sys::wait::Ended;
use coracle_services::ipc::{MESSAGE_BYTES, Message, SERVICE_FD};
use nix::sys::signal::{Signal, killpg};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use nix::unistd::Pid;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Messages that are taken from one service before the others get their turn.
const MESSAGES_MAX: usize = 32;

/// One supervised service.
#[derive(Debug)]
pub(super) struct Service {
    name: Name,
    life: Life,
    link: Option<OwnedFd>,
    started: u64,
    killed: bool,
}

impl Service {
    /// A service that is due at once.
    pub(super) const fn new(name: Name) -> Self {
        Self { name, life: Life::NEW, link: None, started: 0, killed: false }
    }

    pub(super) const fn name(&self) -> Name {
        self.name
    }

    pub(super) const fn life(&self) -> Life {
        self.life
    }

    /// The socket to the running service.
    pub(super) fn link(&self) -> Option<BorrowedFd<'_>> {
        self.link.as_ref().map(AsFd::as_fd)
    }

    /// Starts it if it is time to, and tells it what is up already.
    pub(super) fn start_if_due(&mut self, now: u64, progress: Progress) {
        if !self.life.is_due(now) {
            return;
        }
        match start(self.name) {
            Ok((pid, link)) => {
                self.life = self.life.started(pid.as_raw(), now);
                self.link = Some(link);
                self.started = now;
                self.killed = false;
                for fact in progress.facts() {
                    self.tell(&fact);
                }
            }
            Err(fault) => {
                kmsg::log(Level::Error, &fault.line());
                self.life = self.life.failed(now);
            }
        }
    }

    /// Sends a message. A service that does not read what it is told is sick: it is killed, and told again when it
    /// starts anew.
    pub(super) fn tell(&mut self, message: &Message) {
        let Some(link) = &self.link else {
            return;
        };
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        match send(link.as_raw_fd(), &message.encode(), flags) {
            // It ended: its death is on its way to us.
            Ok(_) | Err(nix::Error::EPIPE | nix::Error::ECONNRESET | nix::Error::ENOTCONN) => {}
            Err(error) => self.kill(&format!("does not take messages ({error})")),
        }
    }

    /// Takes what the service has sent. Milestones and readiness are logged as phases.
    pub(super) fn take_messages(&mut self, now: u64) -> Vec<Message> {
        let mut messages = Vec::new();
        for _ in 0..MESSAGES_MAX {
            match self.receive() {
                Received::Message(message) => messages.push(message),
                Received::Junk => {}
                Received::Nothing => break,
                Received::End => {
                    // A service that closes its socket can no longer be told to stop: it counts as silent.
                    self.link = None;
                    break;
                }
            }
        }
        if !messages.is_empty() {
            self.life = self.life.heard(now);
        }
        let took = now.saturating_sub(self.started);
        for message in &messages {
            match message {
                Message::Milestone(text) if is_phase_name(text) => {
                    kmsg::log(Level::Notice, &kmsg::phase_ok(text, took, now));
                }
                Message::Ready => {
                    let name = format!("service-{}", self.name.word());
                    kmsg::log(Level::Notice, &kmsg::phase_ok(&name, took, now));
                }
                Message::Milestone(_)
                | Message::Heartbeat
                | Message::SystemMounted
                | Message::Committed
                | Message::StateMounted
                | Message::NetworkUp
                | Message::Stop => {}
            }
        }
        messages
    }

    fn receive(&self) -> Received {
        let Some(link) = &self.link else {
            return Received::Nothing;
        };
        // One byte more than a message: a longer datagram is told from one that fits.
        let mut buffer = [0; MESSAGE_BYTES + 1];
        match recv(link.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(0) | Err(nix::Error::ECONNRESET) => Received::End,
            Ok(length) => Message::decode(&buffer[..length]).map_or(Received::Junk, Received::Message),
            Err(_) => Received::Nothing,
        }
    }

    /// Kills it if it was silent for too long. Until it is gone the watchdog is not fed.
    pub(super) fn kill_if_silent(&mut self, now: u64) {
        if self.life.is_silent(now) {
            self.kill("is silent");
        }
    }

    fn kill(&mut self, why: &str) {
        let Some(pid) = self.life.pid() else {
            return;
        };
        // Only once: a process that survives this hangs in the kernel.
        if !std::mem::replace(&mut self.killed, true) {
            self.link = None;
            kmsg::log(Level::Error, &format!("service {} {why}: killed", self.name.word()));
            if let Err(error) = killpg(Pid::from_raw(pid), Signal::SIGKILL) {
                kmsg::log(Level::Error, &format!("cannot kill service {}: {error}", self.name.word()));
            }
        }
    }

    /// It ended: it is started again after a pause, unless the machine stops, or it is the gate.
    pub(super) fn take_end(&mut self, ended: Ended, running: bool, now: u64) {
        self.link = None;
        if running && self.name == Name::Gate {
            kmsg::log(Level::Notice, &format!("health gate: {ended}"));
            self.life = Life::Over;
        } else if running {
            kmsg::log(Level::Error, &format!("service {}: {ended}", self.name.word()));
            self.life = self.life.failed(now);
        } else {
            self.life = Life::Over;
        }
    }

    /// It is not started any more.
    pub(super) fn retire(&mut self) {
        if self.life.pid().is_none() {
            self.life = Life::Over;
        }
    }
}

enum Received {
    Message(Message),
    Junk,
    Nothing,
    End,
}

fn start(name: Name) -> Result<(Pid, OwnedFd), Fault> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .attempt("make a socket for service", name.word())?;
    let (path, program) = name.program();
    let pid = spawn(Program {
        path,
        arguments: &[program, name.word()],
        pass: Some((theirs.as_fd(), SERVICE_FD)),
        output: None,
    })?;
    Ok((pid, ours))
}

/// Whether a milestone may stand in a phase line.
fn is_phase_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connected() -> (Service, OwnedFd) {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
        let mut service = Service::new(Name::Network);
        service.life = service.life.started(i32::MAX, 0);
        service.link = Some(ours);
        (service, theirs)
    }

    #[test]
    fn messages_are_taken_and_count_as_signs_of_life() {
        let (mut service, theirs) = connected();
        for message in [Message::Heartbeat, Message::Ready] {
            send(theirs.as_raw_fd(), &message.encode(), MsgFlags::empty()).unwrap();
        }
        assert_eq!(service.take_messages(30_000), [Message::Heartbeat, Message::Ready]);
        assert!(!service.life().is_silent(40_000));
    }

    #[test]
    fn junk_is_no_sign_of_life() {
        let (mut service, theirs) = connected();
        send(theirs.as_raw_fd(), &[1; MESSAGE_BYTES + 1], MsgFlags::empty()).unwrap();
        send(theirs.as_raw_fd(), b"x", MsgFlags::empty()).unwrap();
        assert_eq!(service.take_messages(30_000), []);
        assert!(service.life().is_silent(30_000));
    }

    #[test]
    fn what_is_told_arrives() {
        let (mut service, theirs) = connected();
        service.tell(&Message::StateMounted);
        let mut buffer = [0; MESSAGE_BYTES];
        recv(theirs.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT).unwrap();
        assert_eq!(Message::decode(&buffer), Some(Message::StateMounted));
    }

    #[test]
    fn a_service_that_ended_is_due_again_only_while_the_machine_runs() {
        let (mut service, _theirs) = connected();
        service.take_end(Ended::Status(1), true, 100);
        assert!(service.life().is_due(100 + 250));
        let (mut service, _theirs) = connected();
        service.take_end(Ended::Status(0), false, 100);
        assert_eq!(service.life(), Life::Over);
    }

    #[test]
    fn the_gate_is_not_started_again() {
        let mut gate = Service::new(Name::Gate);
        gate.life = gate.life.started(i32::MAX, 0);
        gate.take_end(Ended::Status(0), true, 100);
        assert_eq!(gate.life(), Life::Over);
    }

    #[test]
    fn a_milestone_cannot_forge_a_line() {
        assert!(is_phase_name("container-web"));
        assert!(!is_phase_name("x ok ms=1 at=2"));
        assert!(!is_phase_name(""));
    }
}
