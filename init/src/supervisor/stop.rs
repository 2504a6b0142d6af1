//! The ordered stop: services, then every process, then the state file system, each with a deadline.

use super::jobs::Kind;
use super::trial::Event;
use super::{Course, Supervisor};
use crate::fault::{Attempt, Fault};
use crate::kmsg::{self, Level, now_ms};
use crate::phase::{self, KernelLog, Phase, Weight};
use crate::power::{self, Stop};
use coracle_services::ipc::Message;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long processes may take to end after they were asked.
const TERM_MS: u64 = 2_000;
/// How long the kernel may take to end processes that are killed.
const KILL_MS: u64 = 3_000;
const RELEASE_MS: u64 = 25_000;

const PHASES: [Phase<Supervisor>; 3] = [
    Phase { name: "stop-services", weight: Weight::Optional, run: stop_services },
    Phase { name: "stop-processes", weight: Weight::Optional, run: stop_processes },
    Phase { name: "sync", weight: Weight::Optional, run: release_state },
];

/// Stops everything and then the machine. Whatever fails is reported, and the stop goes on.
pub(super) fn run(supervisor: &mut Supervisor, stop: Stop) -> ! {
    supervisor.course = Course::Stopping;
    supervisor.step_trial(Event::Stop);
    if let Err(failed) = phase::run(&PHASES, supervisor, &mut KernelLog) {
        kmsg::log(Level::Error, &failed.fault.line());
    }
    kmsg::log(Level::Notice, &format!("stopped, {}", stop.doing()));
    power::now(stop)
}

impl Supervisor {
    /// Turns the loop until `done` or the deadline; returns whether it is done.
    fn turn_until(&mut self, within_ms: u64, done: impl Fn(&Self) -> bool) -> bool {
        let until = now_ms().saturating_add(within_ms);
        self.reap();
        while !done(self) {
            if now_ms() >= until {
                return false;
            }
            self.turn(until);
        }
        true
    }
}

fn stop_services(supervisor: &mut Supervisor) -> Result<(), Fault> {
    supervisor.tell_all(&Message::Stop, None);
    supervisor.services.iter_mut().for_each(super::Service::retire);
    let seconds = supervisor.root.config.stop_seconds;
    let ended = |supervisor: &Supervisor| supervisor.services.iter().all(|one| one.life().pid().is_none());
    if supervisor.turn_until(u64::from(seconds).saturating_mul(1000), ended) {
        return Ok(());
    }
    let left: Vec<_> = supervisor.services.iter().filter(|one| one.life().pid().is_some()).collect();
    let names: Vec<_> = left.iter().map(|service| service.name().word()).collect();
    Err(Fault::new("stop", names.join(", "), format!("not ended after {seconds} s")))
}

fn stop_processes(supervisor: &mut Supervisor) -> Result<(), Fault> {
    for (signal, within_ms) in [(Signal::SIGTERM, TERM_MS), (Signal::SIGKILL, KILL_MS)] {
        supervisor.childless = false;
        match kill(Pid::from_raw(-1), signal) {
            Ok(()) | Err(nix::Error::ESRCH) => {}
            Err(error) => return Err(error).attempt("signal", "every process"),
        }
        if supervisor.turn_until(within_ms, |supervisor| supervisor.childless) {
            return Ok(());
        }
    }
    Err(Fault::new("end", "every process", "some hang in the kernel"))
}

fn release_state(supervisor: &mut Supervisor) -> Result<(), Fault> {
    supervisor.jobs.ask(Kind::Release);
    supervisor.jobs.start(Kind::Release, now_ms());
    if supervisor.turn_until(RELEASE_MS, |supervisor| !supervisor.jobs.is_running(Kind::Release)) {
        return Ok(());
    }
    Err(Fault::new("release", "the state file system", "the disk hangs"))
}
