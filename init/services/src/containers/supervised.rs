//! One container under supervision: its state, its processes, and the effects that touch only it.

use super::cgroup::{self, Life};
use super::console::Console;
use super::crun;
use super::machine::{Event, Exit, Policy, State};
use super::news;
use super::output::Output;
use super::prepare::{self, Paths};
use super::reaper;
use crate::ServiceError;
use crate::status::{Level, Log, chain};
use coracle_format::device::Container;
use core::time::Duration;
use rustix::process::{Pid, Signal};

/// A crun command under way.
#[derive(Clone, Copy, Debug)]
struct Job {
    pid: Pid,
    kind: JobKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum JobKind {
    Run,
    Delete,
}

/// What effects need beside the container.
#[derive(Debug)]
pub(super) struct Surroundings {
    /// The kernel log.
    pub(super) log: Log,
    /// The console.
    pub(super) console: Console,
}

/// One container.
#[derive(Debug)]
pub(super) struct Supervised {
    /// Its configuration.
    pub(super) container: Container,
    /// What decides about it.
    pub(super) policy: Policy,
    /// Its state.
    pub(super) state: State,
    /// Its output.
    pub(super) output: Output,
    /// Why its last start failed.
    pub(super) reason: String,
    paths: Paths,
    job: Option<Job>,
    init: Option<Pid>,
}

impl Supervised {
    /// The container with this index.
    pub(super) fn new(index: usize, container: Container) -> Self {
        let policy = Policy::new(&container);
        Self {
            state: State::new(&policy),
            policy,
            output: Output::new(index, &container),
            reason: String::new(),
            paths: Paths::new(&container.name),
            container,
            job: None,
            init: None,
        }
    }

    /// Whether a previous life of the service may have left something of it.
    pub(super) fn has_remains(&self, life: Life) -> bool {
        match life {
            Life::First => false,
            Life::Later => cgroup::exists(&self.container.name) || crun::has_record(&self.container.name),
        }
    }

    /// Whether a `crun run` is under way: a dead child that nobody knows may be its container.
    pub(super) fn is_starting(&self) -> bool {
        self.job.is_some_and(|job| job.kind == JobKind::Run)
    }

    /// Prepares the container and starts `crun run`. What follows now, if it follows already.
    pub(super) fn start(&mut self) -> Option<Event> {
        let started = prepare::prepare(&self.container, &self.paths).and_then(|()| {
            let outputs = self
                .output
                .open()
                .map_err(|source| ServiceError::System { action: "make a pipe for the output", source })?;
            crun::run(&self.container, &self.paths, outputs)
        });
        match started {
            Ok(pid) => {
                self.job = Some(Job { pid, kind: JobKind::Run });
                None
            }
            Err(error) => {
                self.reason = chain(&error);
                Some(Event::StartFailed)
            }
        }
    }

    /// Asks the container's first process to stop.
    pub(super) fn signal(&self, log: &mut Log) {
        if let Some(pid) = self.init {
            let sent = crun::signal(&self.container.name, pid, self.container.stop_signal, &self.paths);
            self.tell_failure(log, sent);
        }
    }

    /// Kills every process of the container.
    pub(super) fn kill(&self, log: &mut Log) {
        self.tell_failure(log, cgroup::kill(&self.container.name));
    }

    /// Kills the crun command under way; its status is of no interest any more.
    pub(super) fn abandon(&mut self) {
        if let Some(job) = self.job.take() {
            // Its group may be gone already, which is what is wanted.
            match rustix::process::kill_process_group(job.pid, Signal::KILL) {
                Ok(()) | Err(_) => {}
            }
        }
    }

    /// Kills what is left and has crun delete its record. What follows now, if it follows already.
    pub(super) fn clean(&mut self, around: &mut Surroundings, now: Duration) -> Option<Event> {
        self.kill(&mut around.log);
        if !crun::has_record(&self.container.name) {
            return Some(self.finish_clean(around, now));
        }
        match crun::delete(&self.container.name, &self.paths) {
            Ok(pid) => {
                self.job = Some(Job { pid, kind: JobKind::Delete });
                None
            }
            Err(error) => {
                around.log.failure(Level::Error, &error);
                Some(self.finish_clean(around, now))
            }
        }
    }

    /// Takes the status of its dead children and calls `each` with what that means.
    pub(super) fn reap(&mut self, around: &mut Surroundings, now: Duration, mut each: impl FnMut(Event)) {
        if let Some(job) = self.job
            && let Some(exit) = reaper::reap(job.pid)
        {
            each(self.job_ended(exit, around, now));
        }
        if let Some(exit) = self.init.and_then(reaper::reap) {
            each(self.init_ended(exit, around, now));
        }
    }

    /// What it means that the child `pid` is dead, if it is one of this container.
    pub(super) fn claim(
        &mut self,
        (pid, exit): (Pid, Exit),
        around: &mut Surroundings,
        now: Duration,
    ) -> Option<Event> {
        if self.init == Some(pid) {
            Some(self.init_ended(exit, around, now))
        } else if self.job.is_some_and(|job| job.pid == pid) {
            Some(self.job_ended(exit, around, now))
        } else {
            None
        }
    }

    fn job_ended(&mut self, exit: Exit, around: &mut Surroundings, now: Duration) -> Event {
        match self.job.take().map(|job| job.kind) {
            Some(JobKind::Run) => self.run_ended(exit),
            Some(JobKind::Delete) | None => {
                if exit != Exit::Code(0) {
                    let text = format!("cannot delete {}: {}", self.container.name, self.crun_reason(exit));
                    around.log.warning(&text);
                }
                self.finish_clean(around, now)
            }
        }
    }

    fn run_ended(&mut self, exit: Exit) -> Event {
        if exit != Exit::Code(0) {
            self.reason = self.crun_reason(exit);
            return Event::StartFailed;
        }
        match crun::read_pid(&self.paths) {
            Ok(pid) => {
                self.init = Some(pid);
                Event::Started
            }
            Err(error) => {
                self.reason = chain(&error);
                Event::StartFailed
            }
        }
    }

    fn crun_reason(&self, exit: Exit) -> String {
        let how = news::describe_exit(exit);
        match crun::last_message(&self.paths) {
            message if message.is_empty() => format!("crun ended {how}"),
            message => format!("crun ended {how}: {message}"),
        }
    }

    fn init_ended(&mut self, exit: Exit, around: &mut Surroundings, now: Duration) -> Event {
        self.init = None;
        self.output.read(&mut around.console, now);
        let oom_kills = cgroup::oom_kills(&self.container.name);
        Event::Exited { exit, oom_kills }
    }

    fn finish_clean(&mut self, around: &mut Surroundings, now: Duration) -> Event {
        self.output.finish(&mut around.console, now);
        cgroup::remove(&self.container.name);
        self.tell_failure(&mut around.log, prepare::clean(&self.container, &self.paths));
        Event::Cleaned
    }

    fn tell_failure(&self, log: &mut Log, result: Result<(), ServiceError>) {
        if let Err(error) = result {
            log.error(&format!("{}: {}", self.container.name, chain(&error)));
        }
    }
}
