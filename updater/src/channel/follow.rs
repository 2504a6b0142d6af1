//! The service that follows the channel: it knows when to look, and that a stick was plugged in. Each look is a process of
//! its own that ends; what it needs of memory is gone with it.

use super::status::{self, Status};
use super::sticks::{self, Events};
use crate::error::{Error, Exit, Kind, Result};
use crate::gate::line::Line;
use crate::gate::now_ms;
use crate::own;
use coracle_format::device::{self, DeviceConfig};
use coracle_format::ipc::Message;
use coracle_rollout::schedule::{Past, next_poll};
use std::collections::VecDeque;
use std::io::Read as _;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

/// Its hidden command.
pub const COMMAND: &str = "follow";
/// The longest wait: the heartbeat is due several times in it.
const TURN: Duration = Duration::from_secs(2);
/// The longest wait while a look is under way.
const TURN_AT_WORK: Duration = Duration::from_millis(500);
/// Sticks that wait for their turn at most.
const STICKS_MAX: usize = 8;

/// When the next look is due. Pure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Timetable {
    poll_seconds: u64,
    failures: u32,
    due_ms: u64,
}

impl Timetable {
    fn new(poll_seconds: u32, now_ms: u64, draw: u64) -> Self {
        let poll_seconds = u64::from(poll_seconds);
        let first = next_poll(poll_seconds, Past::Started, draw);
        Self { poll_seconds, failures: 0, due_ms: after(now_ms, first) }
    }

    /// A look has ended; `again_ms` is when the next is to come, if that is before its time.
    fn ended(self, went_well: bool, again_ms: Option<u64>, now_ms: u64, draw: u64) -> Self {
        let failures = if went_well { 0 } else { self.failures.saturating_add(1) };
        let past = if went_well { Past::Looked } else { Past::Failed(failures) };
        let usual = after(now_ms, next_poll(self.poll_seconds, past, draw));
        let due_ms =
            again_ms.filter(|again| went_well && *again > now_ms).map_or(usual, |again| again.min(usual));
        Self { failures, due_ms, ..self }
    }
}

const fn after(now_ms: u64, seconds: u64) -> u64 {
    now_ms.saturating_add(seconds.saturating_mul(1000))
}

/// A look under way.
struct Look {
    child: Child,
    /// Whether it is one by the timetable, or at a stick.
    is_timely: bool,
}

struct Service {
    timetable: Timetable,
    has_network: bool,
    sticks: VecDeque<String>,
    look: Option<Look>,
}

/// Runs until PID 1 says stop.
pub fn run() -> Result<Exit> {
    let poll_seconds = poll_seconds()?;
    let mut line = Line::inherit()
        .map_err(|error| Error::new(Kind::Io, "cannot take over the line to PID 1").because(error))?;
    let events = Events::open().ok();
    let mut service = Service {
        timetable: Timetable::new(poll_seconds, now_ms(), draw()),
        has_network: false,
        sticks: sticks::present().into_iter().take(STICKS_MAX).collect(),
        look: None,
    };
    // A line that is full is noticed at the next heartbeat.
    drop(line.tell(&Message::Ready));
    loop {
        let others: Vec<BorrowedFd<'_>> = events.iter().map(Events::as_fd).collect();
        let limit = service.pause();
        let orders = line
            .wait_beside(limit, &others)
            .map_err(|error| Error::new(Kind::Io, "cannot wait for orders of PID 1").because(error))?;
        if orders.contains(&Message::Stop) {
            service.stop();
            return Ok(Exit::Done);
        }
        service.has_network |= orders.contains(&Message::NetworkUp);
        while let Some(disk) = events.as_ref().and_then(Events::next) {
            service.plugged_in(disk);
        }
        service.turn();
    }
}

impl Service {
    fn pause(&self) -> Duration {
        if self.look.is_some() {
            return TURN_AT_WORK;
        }
        let until = self.timetable.due_ms.saturating_sub(now_ms());
        if self.has_network { TURN.min(Duration::from_millis(until)) } else { TURN }
    }

    fn plugged_in(&mut self, disk: String) {
        if self.sticks.len() < STICKS_MAX && !self.sticks.contains(&disk) {
            self.sticks.push_back(disk);
        }
    }

    fn turn(&mut self) {
        if let Some(look) = &mut self.look {
            match look.child.try_wait() {
                Ok(None) => return,
                Ok(Some(status)) => self.take_end(status.success()),
                Err(_) => self.take_end(false),
            }
        }
        if let Some(disk) = self.sticks.pop_front() {
            self.start(&["poll", "--archive", &format!("/dev/{disk}")], false);
        } else if self.has_network && self.timetable.due_ms <= now_ms() {
            self.start(&["poll"], true);
        }
    }

    fn start(&mut self, arguments: &[&str], is_timely: bool) {
        match own::start(Path::new(own::PROGRAM), arguments, Stdio::null()) {
            Ok(child) => self.look = Some(Look { child, is_timely }),
            Err(_) if is_timely => self.timetable = self.timetable.ended(false, None, now_ms(), draw()),
            Err(_) => {}
        }
    }

    fn take_end(&mut self, went_well: bool) {
        if self.look.take().is_some_and(|look| look.is_timely) {
            let again = Status::load(Path::new(status::PATH)).map(|status| status.again_ms);
            let again = again.filter(|again| *again > 0);
            self.timetable = self.timetable.ended(went_well, again, now_ms(), draw());
        }
    }

    /// What is under way is ended: an update goes on at the next look from where it was.
    fn stop(&mut self) {
        if let Some(mut look) = self.look.take() {
            drop(look.child.kill());
            drop(look.child.wait());
        }
    }
}

fn poll_seconds() -> Result<u32> {
    let bytes = coracle_block::read_limited(Path::new(device::DEVICE_PATH), device::LIMIT_BYTES)?;
    let config: DeviceConfig = device::decode(&bytes).map_err(|error| {
        Error::new(Kind::Internal, format!("cannot decode {}", device::DEVICE_PATH)).because(error)
    })?;
    let channel = config.update.and_then(|update| update.channel);
    channel.map(|channel| channel.poll_seconds).ok_or_else(|| {
        Error::new(Kind::Usage, "this image follows no channel").hint("name one in [update] of the manifest")
    })
}

/// Any number, as good as the kernel's random ones.
pub(crate) fn draw() -> u64 {
    let mut bytes = [0; 8];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    // Without randomness the machine's own clock tells it from others.
    if read.is_ok() { u64::from_le_bytes(bytes) } else { now_ms() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_rarer_after_failures_and_as_usual_after_a_good_one() {
        let table = Timetable::new(3600, 1000, 0);
        assert_eq!(table.due_ms, 61_000);
        let wait = |table: Timetable, now: u64| (table.due_ms - now) / 1000;
        let good = table.ended(true, None, 61_000, 0);
        assert_eq!(wait(good, 61_000), 2880);
        let once = good.ended(false, None, 70_000, 0);
        let twice = once.ended(false, None, 80_000, 0);
        assert_eq!((wait(once, 70_000), wait(twice, 80_000)), (5760, 11_520));
        assert_eq!(wait(twice.ended(true, None, 90_000, 0), 90_000), 2880);
    }

    #[test]
    fn a_look_that_is_to_come_earlier_does_and_one_after_a_failure_does_not() {
        let table = Timetable::new(3600, 0, 0);
        assert_eq!(table.ended(true, Some(99_000), 61_000, 0).due_ms, 99_000);
        assert_eq!(table.ended(true, Some(60_000), 61_000, 0).due_ms, 61_000 + 2_880_000);
        assert_eq!(table.ended(true, Some(u64::MAX), 61_000, 0).due_ms, 61_000 + 2_880_000);
        assert!(table.ended(false, Some(99_000), 61_000, 0).due_ms > 99_000);
    }
}
