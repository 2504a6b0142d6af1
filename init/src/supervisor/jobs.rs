//! Short-lived children of PID 1 for what may block: `coracle-init job NAME`.

use super::trial::JUDGING_MS;
use crate::kmsg::{self, Level};
use crate::sys::spawn::{Program, spawn};
use coracle_slots::Verdict;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// What a job is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Mount the verified root image.
    System,
    /// Set up, check and mount the state file system, then identity.
    State,
    /// Load drivers for the devices there are.
    Drivers,
    /// Save the seed, sync, unmount the state file system.
    Release,
    /// Keep the tail of the kernel log through a reset, until it is killed.
    Journal,
    /// Tell what the runs before this one tell.
    Review,
    /// Wait until the running release is committed on the disk.
    Trial,
    /// Write down that the running release has failed.
    Verdict(Verdict),
    /// Write down that the running root image is damaged.
    Damaged,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::State => "state",
            Self::Drivers => "drivers",
            Self::Release => "release",
            Self::Journal => "journal",
            Self::Review => "review",
            Self::Trial => "trial",
            Self::Verdict(_) => "verdict",
            Self::Damaged => "damaged",
        }
    }

    fn arguments(self) -> Vec<&'static str> {
        let mut arguments = vec!["coracle-init", "job", self.word()];
        if let Self::Verdict(verdict) = self {
            arguments.push(match verdict {
                Verdict::Deadline => "deadline",
                Verdict::Gate => "gate",
                Verdict::Unhealthy
                | Verdict::Panic
                | Verdict::NoVerdict
                | Verdict::Refused
                | Verdict::ByHand => "unhealthy",
            });
        }
        arguments
    }

    /// How long it may take. The checker of a large, damaged file system needs minutes.
    const fn deadline_ms(self) -> u64 {
        match self {
            Self::System => 5 * 60_000,
            Self::State => 20 * 60_000,
            Self::Drivers | Self::Review => 60_000,
            Self::Release => 20_000,
            Self::Verdict(_) | Self::Damaged => JUDGING_MS,
            // They end with what they wait for.
            Self::Journal | Self::Trial => u64::MAX,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Running {
    kind: Kind,
    pid: i32,
    deadline: u64,
    killed: bool,
}

/// Jobs that run, and jobs that are to run.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    asked: Vec<Kind>,
    running: Vec<Running>,
}

impl Jobs {
    /// Wants a job to be started; one that runs already is started again afterwards.
    pub(super) fn ask(&mut self, kind: Kind) {
        if !self.asked.contains(&kind) {
            self.asked.push(kind);
        }
    }

    /// Starts a job if it is wanted and does not run.
    pub(super) fn start(&mut self, kind: Kind, now: u64) {
        if !self.asked.contains(&kind) || self.is_running(kind) {
            return;
        }
        self.asked.retain(|one| *one != kind);
        let program =
            Program { path: "/proc/self/exe", arguments: &kind.arguments(), pass: None, output: None };
        match spawn(program) {
            Ok(pid) => self.running.push(Running {
                kind,
                pid: pid.as_raw(),
                deadline: now.saturating_add(kind.deadline_ms()),
                killed: false,
            }),
            Err(fault) => kmsg::log(Level::Error, &fault.line()),
        }
    }

    /// Lets a running job step back behind everything else by `nice`, or not with 0.
    pub(super) fn set_nice(&self, kind: Kind, nice: i32) {
        for job in self.running.iter().filter(|job| job.kind == kind) {
            let pid = rustix::process::Pid::from_raw(job.pid);
            if let Err(error) = rustix::process::setpriority_process(pid, nice) {
                kmsg::log(
                    Level::Warning,
                    &format!("cannot change the priority of job {}: {error}", kind.word()),
                );
            }
        }
    }

    /// Ends a running job that is not needed any more, and forgets that it was asked for.
    pub(super) fn dismiss(&mut self, kind: Kind) {
        self.asked.retain(|one| *one != kind);
        for job in self.running.iter_mut().filter(|job| job.kind == kind) {
            job.killed = true;
            if let Err(error) = killpg(Pid::from_raw(job.pid), Signal::SIGKILL) {
                kmsg::log(Level::Error, &format!("cannot end job {}: {error}", kind.word()));
            }
        }
    }

    /// Whether a job of this kind runs.
    pub(super) fn is_running(&self, kind: Kind) -> bool {
        self.running.iter().any(|job| job.kind == kind)
    }

    /// Which job a process was, now that it ended.
    pub(super) fn take_end(&mut self, pid: i32) -> Option<Kind> {
        let index = self.running.iter().position(|job| job.pid == pid)?;
        Some(self.running.swap_remove(index).kind)
    }

    /// Kills jobs past their deadline.
    pub(super) fn kill_overdue(&mut self, now: u64) {
        for job in self.running.iter_mut().filter(|job| !job.killed && job.deadline <= now) {
            job.killed = true;
            kmsg::log(Level::Error, &format!("job {} is past its deadline: killed", job.kind.word()));
            if let Err(error) = killpg(Pid::from_raw(job.pid), Signal::SIGKILL) {
                kmsg::log(Level::Error, &format!("cannot kill job {}: {error}", job.kind.word()));
            }
        }
    }

    /// The next deadline.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.running.iter().filter(|job| !job.killed).map(|job| job.deadline).min()
    }
}
