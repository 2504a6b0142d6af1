//! The main loop: waits for everything at once, feeds events to the containers' machines and performs their effects.

use super::board::{Board, Due};
use super::cgroup::{self, Life};
use super::console::Console;
use super::machine::{Available, Effect, Event, News};
use super::news;
use super::reaper;
use super::supervised::{Supervised, Surroundings};
use crate::ServiceError;
use crate::ipc::Message;
use crate::link::{Link, Wake};
use crate::status::{Level, Log};
use coracle_format::device::Container;
use core::time::Duration;
use nix::sys::signalfd::SignalFd;
use std::collections::VecDeque;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Instant;

/// Dead children without an owner that are taken in one turn.
const ORPHANS_PER_TURN: usize = 256;
/// When a message that PID 1 had no room for is sent again.
const RESEND: Duration = Duration::from_millis(50);
/// How long the console may take for the last lines at the end.
const LAST_LINES: Duration = Duration::from_millis(300);

/// Where things are going.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    Forward,
    Stopping,
}

/// The service at work.
#[derive(Debug)]
pub(super) struct Supervisor {
    containers: Vec<Supervised>,
    around: Surroundings,
    link: Link,
    children: SignalFd,
    begin: Instant,
    /// The same moment on the clock that counts from the kernel's start.
    begun: Duration,
    available: Available,
    events: VecDeque<(usize, Event)>,
    messages: VecDeque<Message>,
    board: Board,
    is_ready: bool,
    is_settled: bool,
    course: Course,
    has_orphans: bool,
}

impl Supervisor {
    /// A supervisor for these containers; starts nothing yet.
    pub(super) fn new(
        containers: Vec<Container>,
        life: Life,
        (link, children): (Link, SignalFd),
        log: Log,
    ) -> Self {
        let console = Console::open(containers.iter().map(|container| container.name.clone()));
        let mut events = VecDeque::new();
        let mut supervised = Vec::with_capacity(containers.len());
        for (index, container) in containers.into_iter().enumerate() {
            let container = Supervised::new(index, container);
            if container.has_remains(life) {
                events.push_back((index, Event::FoundRemains));
            }
            events.push_back((index, Event::Available(Available::default())));
            supervised.push(container);
        }
        Self {
            containers: supervised,
            around: Surroundings { log, console },
            link,
            children,
            begin: Instant::now(),
            begun: since_boot(),
            available: Available::default(),
            events,
            messages: VecDeque::new(),
            board: Board::default(),
            is_ready: false,
            is_settled: false,
            course: Course::Forward,
            has_orphans: false,
        }
    }

    /// Runs until PID 1 says to stop and everything has stopped.
    pub(super) fn run(mut self) -> Result<(), ServiceError> {
        // The containers that need nothing are on their way before anything else is done.
        self.handle_events();
        while !(self.course == Course::Stopping && self.containers.iter().all(|each| each.state.is_ended())) {
            self.turn()?;
        }
        self.publish(Due::Now);
        self.flush_console()
    }

    fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    /// What can wait until the first containers run: it would slow their start, the move to another control group most of
    /// all, since it holds up every fork in the machine. None of it is worth ending for.
    fn settle(&mut self) {
        if self.is_settled || self.containers.iter().any(Supervised::is_starting) {
            return;
        }
        self.is_settled = true;
        if let Err(error) = cgroup::settle() {
            self.around.log.failure(Level::Warning, &error);
        }
        if let Err(error) = self.board.open() {
            self.around.log.failure(Level::Warning, &error);
        }
    }

    /// One turn of the loop: tell what is new, wait, take what came, act on it.
    fn turn(&mut self) -> Result<(), ServiceError> {
        self.settle();
        self.tell_outside();
        let (wake, outputs) = self.wait()?;
        for order in wake.orders {
            self.obey(&order);
        }
        let now = self.now();
        for index in outputs {
            if let Some(each) = self.containers.get_mut(index) {
                each.output.read(&mut self.around.console, now);
            }
        }
        self.reap(now);
        for (index, each) in self.containers.iter().enumerate() {
            if each.state.deadline().is_some_and(|deadline| deadline <= now) {
                self.events.push_back((index, Event::Tick));
            }
        }
        self.handle_events();
        self.around.console.write(self.now());
        Ok(())
    }

    /// Waits for something to do. Returns also the containers that have written something.
    fn wait(&mut self) -> Result<(Wake, Vec<usize>), ServiceError> {
        let now = self.now();
        let timeout = self.wait_limit(now);
        let mut owners = Vec::new();
        let mut descriptors: Vec<BorrowedFd<'_>> = vec![self.children.as_fd()];
        for (index, each) in self.containers.iter_mut().enumerate() {
            if let Some(descriptor) = each.output.descriptor(now) {
                owners.push(index);
                descriptors.push(descriptor);
            }
        }
        let wake = self
            .link
            .wait(&descriptors, timeout)
            .map_err(|source| ServiceError::System { action: "wait for something to do", source })?;
        let ready = wake.ready.iter().skip(1);
        let outputs =
            owners.into_iter().zip(ready).filter_map(|(index, ready)| ready.then_some(index)).collect();
        Ok((wake, outputs))
    }

    /// How long the loop may wait without missing something that no descriptor tells.
    fn wait_limit(&mut self, now: Duration) -> Option<Duration> {
        if self.has_orphans {
            return Some(Duration::ZERO);
        }
        let resend = (!self.messages.is_empty()).then_some(RESEND);
        let status = self.board.wait_limit(now);
        let console = self.around.console.wait_limit();
        let containers = self.containers.iter_mut().flat_map(|each| {
            let deadline = each.state.deadline().map(|deadline| deadline.saturating_sub(now));
            [deadline, each.output.wait_limit(now)]
        });
        [resend, status, console].into_iter().chain(containers).flatten().min()
    }

    fn obey(&mut self, order: &Message) {
        let event = match order {
            Message::SystemMounted => {
                self.available.system = true;
                Event::Available(self.available)
            }
            Message::StateMounted => {
                self.available.state = true;
                Event::Available(self.available)
            }
            Message::NetworkUp => {
                self.available.network = true;
                Event::Available(self.available)
            }
            Message::Committed => {
                self.available.commit = true;
                Event::Available(self.available)
            }
            Message::Stop => {
                self.course = Course::Stopping;
                Event::Stop
            }
            // These are ours to send; PID 1 has no reason to.
            Message::Heartbeat | Message::Ready | Message::Milestone(_) => return,
        };
        self.events.extend((0..self.containers.len()).map(|index| (index, event)));
    }

    /// Takes the status of dead children.
    fn reap(&mut self, now: Duration) {
        // One notice may stand for many deaths, so notices are only emptied out.
        while let Ok(Some(_)) = self.children.read_signal() {}
        for (index, each) in self.containers.iter_mut().enumerate() {
            each.reap(&mut self.around, now, |event| self.events.push_back((index, event)));
        }
        // As long as a crun runs, a dead stranger may be the container that it has just made: it keeps its status until
        // crun has said which process that is.
        self.has_orphans = false;
        if self.containers.iter().any(Supervised::is_starting) {
            return;
        }
        for _ in 0..ORPHANS_PER_TURN {
            let Some(child) = reaper::reap_any() else {
                return;
            };
            for (index, each) in self.containers.iter_mut().enumerate() {
                let event = each.claim(child, &mut self.around, now);
                self.events.extend(event.map(|event| (index, event)));
            }
        }
        self.has_orphans = true;
    }

    /// Works off the events, and those that follow from them.
    fn handle_events(&mut self) {
        while let Some((index, event)) = self.events.pop_front() {
            let now = self.now();
            let Some(each) = self.containers.get_mut(index) else {
                continue;
            };
            let (state, effects) = each.state.step(&each.policy, event, now);
            each.state = state;
            for effect in effects {
                self.perform(index, effect);
            }
        }
    }

    fn perform(&mut self, index: usize, effect: Effect) {
        let now = self.now();
        let Some(each) = self.containers.get_mut(index) else {
            return;
        };
        let event = match effect {
            Effect::Start => each.start(),
            Effect::Signal => {
                each.signal(&mut self.around.log);
                None
            }
            Effect::Kill => {
                each.kill(&mut self.around.log);
                None
            }
            Effect::Abandon => {
                each.abandon();
                None
            }
            Effect::Clean => each.clean(&mut self.around, now),
            Effect::Tell(news) => {
                self.tell(index, news);
                None
            }
        };
        self.events.extend(event.map(|event| (index, event)));
    }

    fn tell(&mut self, index: usize, news: News) {
        let Some(each) = self.containers.get(index) else {
            return;
        };
        let name = &each.container.name;
        if news == News::FirstStart {
            self.messages.push_back(Message::Milestone(format!("container-{name}")));
        }
        let (level, text) = news::describe(name, news, &each.reason);
        self.around.log.line(level, &text);
    }

    /// Tells PID 1 and the status file what is new.
    fn tell_outside(&mut self) {
        self.tell_ready();
        self.publish(Due::Later);
        self.send_messages();
    }

    /// Ready means that no container has its first start still before it, but for those that wait for the commit.
    fn tell_ready(&mut self) {
        if !self.is_ready && self.containers.iter().all(|each| each.state.is_settled(&each.policy)) {
            self.is_ready = true;
            self.messages.push_back(Message::Ready);
        }
    }

    fn send_messages(&mut self) {
        while let Some(message) = self.messages.front() {
            match self.link.send(message) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                // A line that is closed reads as the order to stop.
                Ok(()) | Err(_) => self.messages.pop_front(),
            };
        }
    }

    fn publish(&mut self, due: Due) {
        let containers = self.containers.iter().map(|each| (each.container.name.as_str(), &each.state));
        let service = news::Service { is_ready: self.is_ready, pid: std::process::id(), begun: self.begun };
        let lines = news::status(service, containers);
        let now = self.begin.elapsed();
        if let Err(error) = self.board.publish(lines, due, now) {
            self.around.log.failure(Level::Warning, &error);
        }
    }

    /// Gives the console a moment for the last lines.
    fn flush_console(&mut self) -> Result<(), ServiceError> {
        let end = self.now() + LAST_LINES;
        while self.around.console.is_pending() && self.now() < end {
            self.around.console.write(self.now());
            let pause = self.around.console.wait_limit();
            self.link
                .wait(&[], pause)
                .map_err(|source| ServiceError::System { action: "wait for the console", source })?;
        }
        Ok(())
    }
}

/// The time since the kernel's start, suspend included.
fn since_boot() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::try_from(time).unwrap_or_default()
}
