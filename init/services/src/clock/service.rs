//! The main loop: find servers, ask them, correct the clock, tell.

use super::discipline::{Correction, Discipline};
use super::round::{Outcome, Round};
use super::sample::{Nanos, Sample, choose};
use super::servers::{Lookup, Shunned, names, read_list};
use super::steering;
use crate::ServiceError;
use crate::ipc::Message;
use crate::link::{Link, Wake};
use crate::network::NTP;
use crate::status::{Level, Lines, Log, Status};
use coracle_format::device::Clock;
use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

const SECOND: Nanos = 1_000_000_000;
/// How often the list of servers is read while it is empty: DHCP may be slower than the first address.
const LOOK_AGAIN: Nanos = 5 * SECOND;
/// Names are looked up again after this long: pools change.
const ADDRESSES_LAST: Nanos = 3600 * SECOND;

/// What the service is about.
#[derive(Debug)]
enum Task {
    /// There is no network yet.
    AwaitNetwork,
    /// Nothing to do until that moment.
    Rest(Nanos),
    LookUp(Lookup),
    Ask(Round),
}

/// The service's state. Moments are those of `steering::running`.
#[derive(Debug)]
pub(super) struct Service {
    config: Clock,
    log: Log,
    status: Status,
    task: Task,
    discipline: Discipline,
    shunned: Shunned,
    names: Vec<String>,
    addresses: Vec<IpAddr>,
    looked_up: Nanos,
    /// When the slew under way ends, and the rate that is right then.
    slew: Option<(Nanos, i32)>,
    /// Since when the clock has run at its own rate alone.
    free_since: Nanos,
    /// The server gone by last, and what it said.
    last: Option<(IpAddr, Sample)>,
    untold: Vec<Message>,
    told_idle: bool,
}

impl Service {
    pub(super) fn new(config: Clock, status: Status, log: Log, network: Network) -> Self {
        Self {
            config,
            log,
            status,
            task: match network {
                Network::Awaited => Task::AwaitNetwork,
                Network::Assumed => Task::Rest(0),
            },
            discipline: Discipline::new(),
            shunned: Shunned::default(),
            names: Vec::new(),
            addresses: Vec::new(),
            looked_up: 0,
            slew: None,
            free_since: 0,
            last: None,
            untold: Vec::new(),
            told_idle: false,
        }
    }

    /// Turns until PID 1 says stop.
    pub(super) fn run(&mut self, mut line: Link) -> Result<(), ServiceError> {
        loop {
            self.end_slew();
            self.advance();
            self.publish();
            self.tell(&line);
            let (wake, open) = self
                .wait(&mut line)
                .map_err(|source| ServiceError::System { action: "wait for answers", source })?;
            if wake.stop() {
                return Ok(());
            }
            if matches!(self.task, Task::AwaitNetwork) && wake.orders.contains(&Message::NetworkUp) {
                self.task = Task::Rest(0);
            }
            if let Task::Ask(round) = &mut self.task {
                for (position, ready) in open.into_iter().zip(wake.ready) {
                    if ready {
                        round.receive(position, floor_seconds(&self.config));
                    }
                }
            }
        }
    }

    /// Waits for what the task waits for. Returns the positions of the questions that were waited for.
    fn wait(&self, line: &mut Link) -> io::Result<(Wake, Vec<usize>)> {
        let now = steering::running();
        let (mut fds, mut open): (Vec<BorrowedFd<'_>>, _) = (Vec::new(), Vec::new());
        let pause = match &self.task {
            Task::AwaitNetwork => None,
            Task::Rest(until) => Some(until.saturating_sub(now)),
            Task::LookUp(lookup) => {
                fds.push(lookup.fd());
                None
            }
            Task::Ask(round) => {
                for (position, fd) in round.open() {
                    open.push(position);
                    fds.push(fd);
                }
                Some(round.time_left())
            }
        };
        let slew = self.slew.map(|(end, _)| end.saturating_sub(now));
        let retry = (!self.untold.is_empty()).then_some(SECOND / 10);
        let timeout = pause.into_iter().chain(slew).chain(retry).min();
        let timeout = timeout.map(|nanos| Duration::from_nanos(nanos.max(0).unsigned_abs()));
        Ok((line.wait(&fds, timeout)?, open))
    }

    /// Takes the task as far as it goes without waiting.
    fn advance(&mut self) {
        let now = steering::running();
        self.task = match std::mem::replace(&mut self.task, Task::AwaitNetwork) {
            Task::Rest(until) if now >= until => self.begin(now),
            Task::LookUp(lookup) => match lookup.poll() {
                Ok(addresses) => self.found(addresses, now),
                Err(lookup) => Task::LookUp(lookup),
            },
            Task::Ask(round) if round.time_left() == 0 => self.conclude(&round, now),
            other @ (Task::AwaitNetwork | Task::Rest(_) | Task::Ask(_)) => other,
        };
    }

    /// It is time to ask: whom?
    fn begin(&mut self, now: Nanos) -> Task {
        let names = names(&self.config.ntp, &read_list(NTP));
        if names.is_empty() {
            if !self.told_idle {
                self.told_idle = true;
                let text = "no time servers are declared and DHCP has brought none: the clock is left alone";
                self.log.notice(text);
                self.untold.push(Message::Ready);
            }
            return Task::Rest(now + LOOK_AGAIN);
        }
        let fresh = now - self.looked_up < ADDRESSES_LAST && !self.addresses.is_empty();
        if fresh && names == self.names {
            return self.ask(now);
        }
        match Lookup::start(names.clone()) {
            Ok(lookup) => {
                self.names = names;
                Task::LookUp(lookup)
            }
            Err(error) => {
                let text = format!("cannot look up time servers: {error}");
                self.log.error(&text);
                self.fail(now)
            }
        }
    }

    fn found(&mut self, addresses: Vec<IpAddr>, now: Nanos) -> Task {
        if addresses.is_empty() {
            let text = format!("no address found for {}", self.names.join(", "));
            self.log.warning(&text);
            return self.fail(now);
        }
        self.addresses = addresses;
        self.looked_up = now;
        self.ask(now)
    }

    fn ask(&self, now: Nanos) -> Task {
        let allowed = |server: &IpAddr| self.shunned.allows(server, now);
        Task::Ask(Round::start(self.addresses.iter().copied().filter(allowed)))
    }

    /// No answer that could be believed. Old addresses are looked up again.
    fn fail(&mut self, now: Nanos) -> Task {
        self.addresses.clear();
        self.discipline.failed();
        self.rest(now)
    }

    fn rest(&self, now: Nanos) -> Task {
        let pause = Nanos::from(self.discipline.pause()) * SECOND;
        // Devices started together must not ask together: up to an eighth later.
        let jitter = steering::running().rem_euclid(1009) * (pause / 8 / 1009);
        Task::Rest(now.saturating_add(pause).saturating_add(jitter))
    }

    /// All have answered, or time is up.
    fn conclude(&mut self, round: &Round, now: Nanos) -> Task {
        let mut answers = Vec::new();
        for question in &round.questions {
            match question.outcome {
                Outcome::Answered(sample) => answers.push((question.server, sample)),
                Outcome::Refused(why) => {
                    if why == super::packet::Refused::Kiss {
                        self.shunned.add(question.server, now);
                    }
                    let text = format!("{} is not believed: {why}", question.server);
                    self.log.warning(&text);
                }
                Outcome::Open | Outcome::Unreachable => {}
            }
        }
        let samples: Vec<Sample> = answers.iter().map(|(_, sample)| *sample).collect();
        let Some((server, sample)) = choose(&samples).map(|position| answers[position]) else {
            let text = if answers.is_empty() {
                "no time server has answered"
            } else {
                "the time servers disagree: none is believed"
            };
            self.log.warning(text);
            return self.fail(now);
        };
        if let Err(error) = self.correct(server, &sample, now) {
            self.log.error(&format!("cannot correct the clock: {error}"));
            self.discipline.not_applied();
        }
        self.rest(now)
    }

    fn correct(&mut self, server: IpAddr, sample: &Sample, now: Nanos) -> io::Result<()> {
        let first = !self.discipline.is_synced();
        let free = if self.slew.is_none() { (now - self.free_since) / SECOND } else { 0 };
        let offset = milliseconds(sample.offset);
        match self.discipline.correct(sample, free) {
            Correction::Doubt => {
                let text = format!("{server} says that the clock is off by {offset} ms; asking again");
                self.log.warning(&text);
                return Ok(());
            }
            Correction::Step(by) => {
                steering::step(by, floor_nanos(&self.config))?;
                self.slew = None;
                self.free_since = now;
                self.log.notice(&format!("set by {offset} ms to the time of {server}"));
            }
            Correction::Slew { rate_ppb, milliseconds, drift_ppb } => {
                steering::set_rate(drift_ppb.saturating_add(rate_ppb))?;
                let time = Nanos::try_from(milliseconds).unwrap_or(0) * 1_000_000;
                self.slew = Some((now.saturating_add(time), drift_ppb));
                if first {
                    self.log.notice(&format!("within {offset} ms of the time of {server}"));
                }
            }
        }
        self.last = Some((server, *sample));
        if first {
            self.untold.push(Message::Milestone("clock".to_owned()));
            self.untold.push(Message::Ready);
        }
        steering::mark_synced(sample.distance)
    }

    /// Ends a slew whose time is over.
    fn end_slew(&mut self) {
        let now = steering::running();
        if let Some((end, drift_ppb)) = self.slew
            && now >= end
        {
            self.slew = None;
            self.free_since = now;
            if let Err(error) = steering::set_rate(drift_ppb) {
                self.log.error(&format!("cannot end a slew: {error}"));
            }
        }
    }

    fn publish(&mut self) {
        let mut lines = Lines::new();
        let synced = if self.discipline.is_synced() { "yes" } else { "no" };
        lines.add("synced", synced);
        lines.add("floor", self.config.floor);
        if let Some((server, sample)) = &self.last {
            lines.add("server", server);
            lines.add("stratum", sample.stratum);
            lines.add("offset_ms", milliseconds(sample.offset));
            lines.add("delay_ms", milliseconds(sample.delay));
        }
        for address in &self.addresses {
            lines.add("asks", address);
        }
        if let Err(error) = self.status.publish(lines) {
            self.log.failure(Level::Error, &error);
        }
    }

    fn tell(&mut self, line: &Link) {
        while let Some(message) = self.untold.first() {
            match line.send(message) {
                Ok(()) => drop(self.untold.remove(0)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    self.log.error(&format!("cannot tell PID 1: {error}"));
                    self.untold.clear();
                }
            }
        }
    }
}

/// Whether somebody will say that the network is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Network {
    Awaited,
    /// A service tried by hand.
    Assumed,
}

/// With three decimals.
fn milliseconds(nanos: Nanos) -> String {
    let micros = nanos / 1000;
    let sign = if micros < 0 { "-" } else { "" };
    let micros = micros.unsigned_abs();
    format!("{sign}{}.{:03}", micros / 1000, micros % 1000)
}

pub(super) fn floor_seconds(config: &Clock) -> i64 {
    i64::try_from(config.floor).unwrap_or(i64::MAX)
}

pub(super) fn floor_nanos(config: &Clock) -> Nanos {
    floor_seconds(config).saturating_mul(SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_keep_their_sign_and_decimals() {
        assert_eq!(milliseconds(-1_500_000), "-1.500");
        assert_eq!(milliseconds(-20_000), "-0.020");
        assert_eq!(milliseconds(12_345_678_900), "12345.678");
        assert_eq!(milliseconds(i64::MIN), "-9223372036854.775");
    }
}
