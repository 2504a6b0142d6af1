//! The dead-man switch at work: events of the loop become steps of the [`Trial`], and its effects are performed. And what
//! is done about a root image that is damaged.

use super::jobs::Kind;
use super::progress::{Job, Name};
use super::service::Service;
use super::trial::{DEADLINE_MS_DEFAULT, Effect, Event, Trial};
use super::{Course, Supervisor};
use crate::job::code;
use crate::kmsg::{self, Level, now_ms};
use crate::power::Stop;
use crate::running::Running;
use crate::sys::wait::Ended;
use coracle_services::ipc::Message;

/// How long a machine that has nothing else to start goes on before it tries again.
const NOTHING_ELSE_MS: u64 = 300_000;
/// How often a job that watches the record is started again, if it failed.
const WATCH_PAUSE_MS: u64 = 2_000;

/// What is done about a damaged root image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Damage {
    /// There is none that we know of.
    None,
    /// The job that writes it down runs.
    Marking,
    /// There is nothing else to start: the machine goes on until the clock shows this.
    Waiting(u64),
}

impl Supervisor {
    /// The root image is mounted or not, and the record was read or not.
    pub(super) fn begin_trial(&mut self, mounted: bool) {
        let deadline =
            self.root.config.update.as_ref().map(|update| u64::from(update.deadline_seconds) * 1000);
        let event = match Running::read() {
            Ok(running) if running.trial => {
                Event::OnTrial { deadline: deadline.unwrap_or(DEADLINE_MS_DEFAULT) }
            }
            Ok(running) if running.committed => Event::NotOnTrial,
            // The only one that could be started, or nobody knows: what waits for a commit goes on waiting.
            Ok(_) => Event::Uncommitted,
            Err(fault) => {
                kmsg::log(Level::Warning, &fault.line());
                Event::Uncommitted
            }
        };
        self.step_trial(event);
        if !mounted {
            self.step_trial(Event::NoSystem);
        }
        if !self.trial.is_watching() {
            self.jobs.dismiss(Kind::Journal);
        }
        if self.trial == Trial::Uncommitted {
            self.follow_channel();
        }
    }

    /// Nothing is on trial, as far as anybody knows: the machine may look for updates. Once.
    fn follow_channel(&mut self) {
        let runs = self.services.iter().any(|service| service.name() == Name::Follow);
        if !runs && self.progress.system == Job::Done && Name::Follow.is_wanted(&self.root.config) {
            self.services.push(Service::new(Name::Follow));
        }
    }

    /// What is done about a machine without its root image. A release that may be on trial falls back by being started
    /// again, whatever its policy: three starts, and the selector gives it up.
    pub(super) fn stop_without_root(&self) -> Stop {
        let is_known = !matches!(self.trial, Trial::Unknown | Trial::Uncommitted | Trial::Over);
        let may_be_on_trial = !is_known && self.root.config.update.is_some();
        if may_be_on_trial { Stop::Reboot } else { self.root.config.on_failure.into() }
    }

    /// Lets the trial take a step, and performs what follows.
    pub(super) fn step_trial(&mut self, event: Event) {
        let now = now_ms();
        let (next, effect) = self.trial.step(event, now);
        let before = std::mem::replace(&mut self.trial, next);
        match effect {
            None => {}
            Some(Effect::Watch) => {
                if let Trial::Watching { deadline } = next {
                    let line = format!("release is on trial: it has to commit at={deadline}");
                    kmsg::log(Level::Notice, &line);
                }
                self.jobs.ask(Kind::Trial);
                self.services.push(Service::new(Name::Gate));
            }
            Some(Effect::TellCommitted) => {
                self.progress.committed = true;
                self.tell_all(&Message::Committed, None);
                self.follow_channel();
                if before != Trial::Unknown {
                    kmsg::log(Level::Notice, &kmsg::phase_ok("trial", now, now));
                    self.jobs.dismiss(Kind::Journal);
                }
            }
            Some(Effect::Judge(verdict)) => {
                self.jobs.ask(Kind::Verdict(verdict));
                self.jobs.start(Kind::Verdict(verdict), now);
            }
            Some(Effect::Reboot) => {
                let why = match before {
                    Trial::Judging { verdict, .. } => verdict.to_string(),
                    Trial::Unknown => "nobody knows whether there is one".to_owned(),
                    Trial::Uncommitted | Trial::Watching { .. } | Trial::Committed | Trial::Over => {
                        "a verdict was written".to_owned()
                    }
                };
                kmsg::log(Level::Error, &kmsg::phase_failed("trial", now, now, &why));
                if before == Trial::Unknown {
                    self.ask(self.stop_without_root(), "the disk hangs");
                } else {
                    self.ask(Stop::Reboot, "the release on trial has failed");
                }
            }
        }
    }

    /// What the end of a job says about the trial.
    pub(super) fn take_trial_job(&mut self, kind: Kind, ended: Ended) {
        let says = |status: u8| ended == Ended::Status(i32::from(status));
        if says(code::COMMITTED) {
            self.step_trial(Event::CommitSeen);
        } else if says(code::FAILED) && !matches!(kind, Kind::Verdict(_)) {
            self.step_trial(Event::VerdictSeen);
        } else if let Kind::Verdict(_) = kind {
            self.step_trial(Event::Judged);
        } else if kind == Kind::Trial && self.trial.is_watching() {
            self.watch_again = now_ms().saturating_add(WATCH_PAUSE_MS);
        }
    }

    /// Deadlines of trial and damage.
    pub(super) fn look_at_deadlines(&mut self, now: u64) {
        self.step_trial(Event::Tick);
        if self.trial.is_watching() && self.watch_again <= now {
            self.watch_again = u64::MAX;
            self.jobs.ask(Kind::Trial);
        }
        if let Damage::Waiting(until) = self.damage
            && until <= now
        {
            self.damage = Damage::None;
            self.ask(Stop::Reboot, "the root image is damaged");
        }
    }

    /// The next of them.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        let waiting = match self.damage {
            Damage::Waiting(until) => Some(until),
            Damage::None | Damage::Marking => None,
        };
        let watch = (self.trial.is_watching() && self.watch_again < u64::MAX).then_some(self.watch_again);
        self.trial.next_event().into_iter().chain(waiting).chain(watch).min()
    }

    /// dm-verity has found a block that does not match its hash. Whoever asked for it got an error and no byte of it.
    pub(super) fn take_damage(&mut self, block: &str) {
        if self.damage == Damage::None && self.course == Course::Run {
            self.damage = Damage::Marking;
            kmsg::log(Level::Error, &format!("root image is damaged: block {block} does not match its hash"));
            self.jobs.ask(Kind::Damaged);
            self.jobs.start(Kind::Damaged, now_ms());
        }
    }

    /// It is written down, or could not be.
    pub(super) fn take_damage_job(&mut self, ended: Ended) {
        if ended == Ended::Status(i32::from(code::DONE)) {
            self.ask(Stop::Reboot, "the root image is damaged");
            return;
        }
        if ended != Ended::Status(i32::from(code::NOTHING_ELSE)) {
            kmsg::log(Level::Error, &format!("the damage cannot be written down: {ended}"));
        }
        let until = now_ms().saturating_add(NOTHING_ELSE_MS);
        self.damage = Damage::Waiting(until);
        kmsg::log(Level::Error, &format!("rebooting in {} s", NOTHING_ELSE_MS / 1000));
    }
}
