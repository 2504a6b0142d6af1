//! PID 1's one loop: it supervises services, reaps everything, feeds the watchdog, and stops the machine in order.
//!
//! Nothing in the loop blocks: what might is a job, a process of its own.

mod buttons;
mod deadman;
mod jobs;
mod life;
mod progress;
mod service;
mod stop;
mod trial;

use crate::fault::{Attempt, Fault};
use crate::kmsg::{self, Level, now_ms};
use crate::phase::Failed;
use crate::power::Stop;
use crate::root::Root;
use crate::sys::uevents::{Heard, MESSAGE_BYTES, Uevents};
use crate::sys::wait::{self, Ended};
use crate::sys::watchdog::Watchdog;
use crate::uevent;
use buttons::{Button, Seen};
use coracle_services::ipc::Message;
use deadman::Damage;
use jobs::{Jobs, Kind};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::reboot::set_cad_enabled;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use progress::{Job, Name, Progress};
use service::Service;
use std::os::fd::{AsFd, BorrowedFd};
use trial::{Event, Trial};

/// How often the watchdog is fed.
const FEED_MS: u64 = 2_000;
/// How far the job that mounts the root image steps back while containers start from memory.
const BEHIND: i32 = 10;
/// How often the loop turns when nothing happens.
const IDLE_MS: u64 = 60_000;

/// What PID 1 knows while it runs.
#[derive(Debug)]
struct Supervisor {
    root: Root,
    /// The armed watchdog.
    watchdog: Option<Watchdog>,
    signals: SignalFd,
    uevents: Option<Uevents>,
    buttons: Vec<Button>,
    services: Vec<Service>,
    jobs: Jobs,
    progress: Progress,
    /// Whether the machine runs or stops, and how.
    course: Course,
    /// Whether a container has started.
    has_container: bool,
    /// Whether a child process is left.
    childless: bool,
    fed: u64,
    trial: Trial,
    /// When the record is to be watched again, after the job that did had failed.
    watch_again: u64,
    damage: Damage,
}

/// Where the machine is heading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    /// It runs.
    Run,
    /// Somebody asked for a stop.
    Asked(Stop),
    /// It stops: nothing is started any more.
    Stopping,
}

/// Which descriptor is ready.
#[derive(Clone, Copy, Debug)]
enum Source {
    Signals,
    Uevents,
    Service(usize),
    Button(usize),
}

/// Supervises until the machine is asked to stop, and stops it. Returns only if it cannot begin.
pub(crate) fn run(root: Root) -> Failed {
    let mut supervisor = match Supervisor::new(root) {
        Ok(supervisor) => supervisor,
        Err(fault) => return Failed { phase: "supervisor", fault },
    };
    let stop = supervisor.serve();
    stop::run(&mut supervisor, stop)
}

impl Supervisor {
    fn new(root: Root) -> Result<Self, Fault> {
        let signals = listen_to_signals()?;
        // Ctrl-Alt-Del becomes a signal to us instead of a reset.
        set_cad_enabled(false).attempt("take over", "Ctrl-Alt-Del")?;
        let uevents = match Uevents::open() {
            Ok(uevents) => Some(uevents),
            Err(fault) => {
                kmsg::log(Level::Warning, &fault.line());
                None
            }
        };
        let progress = Progress::new(!root.config.network.interfaces.is_empty());
        let wanted = Name::ALL.into_iter().filter(|name| name.is_wanted(&root.config));
        let services = wanted.map(Service::new).collect();
        Ok(Self {
            root,
            watchdog: None,
            signals,
            uevents,
            buttons: Vec::new(),
            services,
            jobs: Jobs::default(),
            progress,
            course: Course::Run,
            has_container: false,
            childless: false,
            fed: 0,
            trial: Trial::Unknown,
            watch_again: u64::MAX,
            damage: Damage::None,
        })
    }

    fn serve(&mut self) -> Stop {
        self.jobs.ask(Kind::System);
        self.jobs.ask(Kind::Journal);
        loop {
            if let Course::Asked(stop) = self.course {
                return stop;
            }
            let now = now_ms();
            self.start_what_is_due(now);
            self.turn(now.saturating_add(IDLE_MS));
            self.report_boot();
        }
    }

    /// Containers first, then the root image, and what is on it: drivers, network, the rest.
    fn start_what_is_due(&mut self, now: u64) {
        let progress = self.progress;
        for service in self.services.iter_mut().filter(|service| progress.allows(service.name())) {
            service.start_if_due(now, progress);
        }
        for kind in [Kind::System, Kind::Journal, Kind::Trial, Kind::Drivers, Kind::State, Kind::Review] {
            self.jobs.start(kind, now);
        }
        let from_memory = self.root.config.containers.iter().any(|container| !container.needs_system);
        if from_memory && !self.has_container {
            self.jobs.set_nice(Kind::System, BEHIND);
        }
    }

    /// Waits until something happens or the clock shows `until`, and deals with it. Kills what is silent and feeds the
    /// watchdog while nothing is.
    fn turn(&mut self, until: u64) {
        let now = now_ms();
        for service in &mut self.services {
            service.kill_if_silent(now);
        }
        self.jobs.kill_overdue(now);
        self.look_at_deadlines(now);
        self.feed(now);
        for source in self.wait(until) {
            match source {
                Source::Signals => self.take_signals(),
                Source::Uevents => self.take_uevents(),
                Source::Service(index) => self.take_messages(index),
                Source::Button(index) => self.look_at_button(index),
            }
        }
    }

    fn feed(&mut self, now: u64) {
        let healthy = self.services.iter().all(|service| !service.life().is_silent(now));
        if let Some(watchdog) = &self.watchdog
            && healthy
            && now.saturating_sub(self.fed) >= FEED_MS
        {
            watchdog.feed();
            self.fed = now;
        }
    }

    fn next_event(&self) -> u64 {
        let feed = self.watchdog.as_ref().map(|_| self.fed.saturating_add(FEED_MS));
        // A service that has to wait is due all the time: its hour comes with another event.
        let allowed = self.services.iter().filter(|service| self.progress.allows(service.name()));
        let services = allowed.filter_map(|service| service.life().next_event());
        services
            .chain(feed)
            .chain(self.jobs.next_deadline())
            .chain(self.next_deadline())
            .min()
            .unwrap_or(u64::MAX)
    }

    fn wait(&self, until: u64) -> Vec<Source> {
        let mut sources = vec![(Source::Signals, self.signals.as_fd())];
        sources.extend(self.uevents.iter().map(|uevents| (Source::Uevents, uevents.as_fd())));
        let links = self.services.iter().enumerate();
        sources.extend(links.filter_map(|(index, service)| Some((Source::Service(index), service.link()?))));
        let buttons = self.buttons.iter().enumerate();
        sources.extend(buttons.map(|(index, button)| (Source::Button(index), button.as_fd())));
        let now = now_ms();
        let pause = until.min(self.next_event()).saturating_sub(now);
        ready(&sources, pause)
    }

    fn take_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            let number = i32::try_from(signal.ssi_signo).unwrap_or(0);
            if number == nix::libc::SIGTERM || number == nix::libc::SIGPWR {
                self.ask(Stop::PowerOff, "a signal");
            } else if number == nix::libc::SIGINT {
                self.ask(Stop::Reboot, "Ctrl-Alt-Del");
            }
        }
        // Whatever the signal was: one SIGCHLD may stand for many children.
        self.reap();
    }

    /// The first who asks decides; a machine that stops already goes on doing so.
    fn ask(&mut self, stop: Stop, by: &str) {
        if self.course == Course::Run {
            kmsg::log(Level::Notice, &format!("{} ({by})", stop.doing()));
            self.course = Course::Asked(stop);
        }
    }

    fn reap(&mut self) {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => return,
                Ok(status) => {
                    if let (Some(pid), Some(ended)) = (status.pid(), wait::ended(status)) {
                        self.take_end(pid.as_raw(), ended);
                    }
                }
                Err(nix::Error::EINTR) => {}
                Err(_) => {
                    self.childless = true;
                    return;
                }
            }
        }
    }

    fn take_end(&mut self, pid: i32, ended: Ended) {
        let now = now_ms();
        let running = self.course != Course::Stopping;
        if let Some(service) = self.services.iter_mut().find(|service| service.life().pid() == Some(pid)) {
            service.take_end(ended, running, now);
            if service.name() == Name::Gate {
                self.step_trial(Event::GateEnded);
            }
        }
        let outcome = if ended == Ended::Status(0) { Job::Done } else { Job::Failed };
        match self.jobs.take_end(pid) {
            Some(Kind::System) => self.take_system(outcome),
            Some(Kind::State) => {
                self.progress.state = outcome;
                if outcome == Job::Done {
                    self.tell_all(&Message::StateMounted, None);
                }
            }
            Some(Kind::Drivers) => {
                self.progress.drivers = outcome;
                buttons::open_new(&mut self.buttons);
                self.warn_before_reset();
            }
            Some(kind @ (Kind::Trial | Kind::Verdict(_) | Kind::Review)) => self.take_trial_job(kind, ended),
            Some(Kind::Damaged) => self.take_damage_job(ended),
            Some(Kind::Release | Kind::Journal) | None => {}
        }
    }

    /// The root image is there: what it holds can start. Without it the machine is of no use.
    fn take_system(&mut self, outcome: Job) {
        self.progress.system = outcome;
        // What dm-verity had to say comes before what followed from it.
        self.take_uevents();
        self.begin_trial(outcome == Job::Done);
        if outcome == Job::Done {
            self.tell_all(&Message::SystemMounted, None);
            self.jobs.ask(Kind::Drivers);
            self.jobs.ask(Kind::State);
            self.jobs.ask(Kind::Review);
        } else if self.damage == Damage::None && !self.trial.is_open() {
            self.ask(self.stop_without_root(), "the root image cannot be mounted");
        }
    }

    /// Arms a watchdog that has appeared.
    fn arm_watchdog(&mut self) {
        let seconds = self.root.config.watchdog_seconds;
        if self.watchdog.is_some() || seconds == 0 {
            return;
        }
        let now = now_ms();
        match Watchdog::arm(seconds) {
            Ok(Some(watchdog)) => {
                self.watchdog = Some(watchdog);
                self.fed = now;
                kmsg::log(Level::Notice, &kmsg::phase_ok("watchdog", 0, now));
            }
            Ok(None) => {}
            Err(fault) => kmsg::log(Level::Error, &fault.line()),
        }
    }

    /// Has the kernel panic a little before the watchdog would reset the machine: a panic keeps the log.
    fn warn_before_reset(&self) {
        if let Some(watchdog) = &self.watchdog
            && let Err(fault) = watchdog.panic_first()
        {
            kmsg::log(Level::Warning, &fault.line());
        }
    }

    fn tell_all(&mut self, message: &Message, except: Option<Name>) {
        for service in self.services.iter_mut().filter(|service| Some(service.name()) != except) {
            service.tell(message);
        }
    }

    fn take_messages(&mut self, index: usize) {
        let now = now_ms();
        let Some(service) = self.services.get_mut(index) else {
            return;
        };
        let name = service.name();
        for message in service.take_messages(now) {
            if name == Name::Containers && matches!(message, Message::Milestone(_)) && !self.has_container {
                self.has_container = true;
                self.jobs.set_nice(Kind::System, 0);
            }
            if message == Message::Ready && self.progress.ready(name) && name == Name::Network {
                self.tell_all(&Message::NetworkUp, Some(name));
            }
        }
    }

    fn take_uevents(&mut self) {
        let mut buffer = [0; MESSAGE_BYTES];
        while let Some(uevents) = &self.uevents {
            let (drivers, input, watchdog) = match uevents.next(&mut buffer) {
                Heard::Nothing => return,
                Heard::Lost => (true, true, true),
                Heard::Message(length) => match uevent::parse(&buffer[..length.min(MESSAGE_BYTES)]) {
                    Some(event) if !event.corrupt.is_empty() => {
                        let block = crate::kmsg::one_line(event.corrupt);
                        self.take_damage(&block);
                        continue;
                    }
                    Some(event) if event.action == "add" => {
                        let driver = !event.modalias.is_empty() && self.root.loader.wants(event.modalias);
                        (driver, event.subsystem == "input", event.subsystem == "watchdog")
                    }
                    Some(_) | None => (false, false, false),
                },
            };
            if drivers && self.progress.system == Job::Done {
                self.jobs.ask(Kind::Drivers);
            }
            if watchdog {
                self.arm_watchdog();
            }
            if input {
                buttons::open_new(&mut self.buttons);
            }
        }
    }

    fn look_at_button(&mut self, index: usize) {
        match self.buttons.get_mut(index).map(Button::look) {
            Some(Seen::Pressed) => self.ask(Stop::PowerOff, "the power button"),
            Some(Seen::Gone) => drop(self.buttons.swap_remove(index)),
            Some(Seen::Nothing) | None => {}
        }
    }

    fn report_boot(&mut self) {
        if self.progress.completes() {
            let now = now_ms();
            if let Some(shortcoming) = self.progress.shortcoming() {
                kmsg::log(Level::Warning, shortcoming);
            }
            kmsg::log(Level::Notice, &kmsg::phase_ok("boot", now, now));
        }
    }
}

fn listen_to_signals() -> Result<SignalFd, Fault> {
    let mut mask = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGPWR] {
        mask.add(signal);
    }
    mask.thread_block().attempt("block", "signals")?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .attempt("listen to", "signals")
}

/// Which of the descriptors are ready within `pause` milliseconds.
fn ready(sources: &[(Source, BorrowedFd<'_>)], pause: u64) -> Vec<Source> {
    let mut fds: Vec<_> = sources.iter().map(|(_, fd)| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    match poll(&mut fds, wait::timeout(pause)) {
        Ok(0) | Err(_) => Vec::new(),
        Ok(_) => {
            let both = sources.iter().zip(&fds);
            both.filter(|(_, fd)| fd.any() == Some(true)).map(|((source, _), _)| *source).collect()
        }
    }
}
