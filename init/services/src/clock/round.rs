//! One round of questions: every server once, at the same time, until all have answered or time is up.

use super::packet::{Exchange, LARGEST_BYTES, Refused, judge, request};
use super::sample::{Nanos, Sample};
use super::servers::NTP_PORT;
use super::steering;
use rustix::rand::{GetRandomFlags, getrandom};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd};

/// How long an answer may take.
const PATIENCE: Nanos = 3_000_000_000;
/// Datagrams read from one server in one turn: whoever floods the port must not keep us here.
const DATAGRAMS_PER_TURN: usize = 8;

/// What became of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Open,
    Answered(Sample),
    Refused(Refused),
    /// The network said that nobody is there.
    Unreachable,
}

/// A question to one server.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) server: IpAddr,
    pub(super) outcome: Outcome,
    socket: UdpSocket,
    nonce: u64,
    /// By the wall clock, and by the one that is never set.
    sent: (Nanos, Nanos),
}

/// The questions of one round.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) questions: Vec<Question>,
    began: Nanos,
}

impl Round {
    /// Asks all servers. One that cannot be asked is left out.
    pub(super) fn start(servers: impl Iterator<Item = IpAddr>) -> Self {
        Self {
            questions: servers.filter_map(|s| Question::ask(s).ok()).collect(),
            began: steering::running(),
        }
    }

    /// The sockets of the questions that are open, with their positions.
    pub(super) fn open(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>)> {
        self.questions
            .iter()
            .enumerate()
            .filter(|(_, question)| question.outcome == Outcome::Open)
            .map(|(position, question)| (position, question.socket.as_fd()))
    }

    /// Nanoseconds until the round is over; 0 when it is.
    pub(super) fn time_left(&self) -> Nanos {
        if self.open().next().is_none() {
            return 0;
        }
        (self.began + PATIENCE - steering::running()).max(0)
    }

    /// Reads what has come from the server at this position.
    pub(super) fn receive(&mut self, position: usize, floor: i64) {
        if let Some(question) = self.questions.get_mut(position) {
            question.receive(floor);
        }
    }
}

impl Question {
    fn ask(server: IpAddr) -> io::Result<Self> {
        let any: IpAddr = match server {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let mut nonce = [0; 8];
        getrandom(&mut nonce, GetRandomFlags::empty())?;
        let nonce = u64::from_ne_bytes(nonce);
        // A port of its own, and connected: the kernel drops what comes from elsewhere.
        let socket = UdpSocket::bind((any, 0))?;
        socket.set_nonblocking(true)?;
        socket.connect((server, NTP_PORT))?;
        let sent = (steering::wall(), steering::running());
        socket.send(&request(nonce))?;
        Ok(Self { server, outcome: Outcome::Open, socket, nonce, sent })
    }

    fn receive(&mut self, floor: i64) {
        let mut buffer = [0; LARGEST_BYTES + 1];
        for _ in 0..DATAGRAMS_PER_TURN {
            let length = match self.socket.recv(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.outcome = Outcome::Unreachable;
                    return;
                }
            };
            let (wall, running) = self.sent;
            let exchange =
                Exchange { nonce: self.nonce, sent: wall, received: wall + (steering::running() - running) };
            match judge(buffer.get(..length).unwrap_or_default(), exchange, floor) {
                Ok(sample) => self.outcome = Outcome::Answered(sample),
                Err(refused) if refused.is_noise() => continue,
                Err(refused) => self.outcome = Outcome::Refused(refused),
            }
            return;
        }
    }
}
