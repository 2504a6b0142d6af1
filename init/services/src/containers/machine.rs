//! What happens to one container, decided purely: `(State, Event, now) → (State, Effects)`.
//!
//! Nothing here touches the system. The supervisor performs the effects in order and feeds back what came of them.
//! Time is the time since the service started.

use coracle_format::device::{Container, Restart};
use core::time::Duration;

/// How long `crun run` may take; generous, since a busy emulated machine needs seconds.
const START_LIMIT: Duration = Duration::from_mins(1);
/// How long the cleaning up after a run may take before it is given up.
const CLEAN_LIMIT: Duration = Duration::from_secs(20);
/// How long killed processes may take to disappear before the cleaning starts without waiting for them.
const KILL_LIMIT: Duration = Duration::from_secs(5);
/// No restart follows an end more quickly, whatever the configuration says.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// A container that ran this long, or ten times its longest pause if that is less, starts with the first pause again.
const SETTLED: Duration = Duration::from_mins(1);

/// What of the machine is up.
#[expect(clippy::struct_excessive_bools, reason = "facts that come up one by one, in any order")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Available {
    /// The verified root image is mounted.
    pub(super) system: bool,
    /// The state file system is mounted.
    pub(super) state: bool,
    /// The network has an address.
    pub(super) network: bool,
    /// The running release is committed.
    pub(super) commit: bool,
}

/// The part of a container's configuration that decides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    restart: Restart,
    first_pause: Duration,
    longest_pause: Duration,
    stop_limit: Duration,
    needs: Available,
}

impl Policy {
    /// The policy a container declares.
    pub(super) fn new(container: &Container) -> Self {
        let pause = |ms: u32| Duration::from_millis(ms.into()).max(SHORTEST_PAUSE);
        let first_pause = pause(container.backoff_ms.0);
        Self {
            restart: container.restart,
            first_pause,
            longest_pause: pause(container.backoff_ms.1).max(first_pause),
            stop_limit: Duration::from_secs(container.stop_seconds.into()),
            needs: Available {
                system: container.needs_system,
                state: container.needs_state,
                network: container.needs_network,
                commit: container.after_commit,
            },
        }
    }

    fn is_met(&self, available: Available) -> bool {
        (available.system || !self.needs.system)
            && (available.state || !self.needs.state)
            && (available.network || !self.needs.network)
            && (available.commit || !self.needs.commit)
    }

    fn restarts_after(&self, outcome: Outcome) -> bool {
        match self.restart {
            Restart::Always => true,
            Restart::OnFailure => outcome != Outcome::Exited(Exit::Code(0)),
            Restart::Never => false,
        }
    }

    fn settled_after(&self) -> Duration {
        (self.longest_pause * 10).min(SETTLED)
    }
}

/// How a container's first process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// With this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Nobody knows.
    Unknown,
}

/// What came of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It ran and ended.
    Exited(Exit),
    /// It could not be started.
    NotStarted,
}

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// What it needs is not there yet.
    Held,
    /// `crun run` is under way.
    Starting {
        /// When it is given up.
        deadline: Duration,
    },
    /// It runs.
    Running {
        /// Since when.
        since: Duration,
    },
    /// It was asked to stop.
    Stopping {
        /// When it is killed.
        kill_at: Duration,
    },
    /// It was killed and has not gone yet.
    Killing {
        /// When the wait for it is given up.
        deadline: Duration,
    },
    /// What a run left behind is being removed.
    Cleaning {
        /// When that is given up.
        deadline: Duration,
        /// What follows.
        next: Next,
    },
    /// It waits for its next start.
    Pausing {
        /// Until then.
        until: Duration,
    },
    /// It will not be started again.
    Ended,
}

/// What follows the cleaning up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A start, as soon as what it needs is there.
    Start,
    /// A start, not before then.
    StartAt(Duration),
    /// Nothing.
    End,
}

/// One container's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// Where it is in its life.
    pub(super) phase: Phase,
    /// Successful starts.
    pub(super) starts: u64,
    /// Starts that failed.
    pub(super) failed_starts: u64,
    /// Processes of it that the kernel killed for want of memory.
    pub(super) oom_kills: u64,
    /// What came of the last start that is over.
    pub(super) last: Option<Outcome>,
    pause: Duration,
    available: Available,
    is_wanted: bool,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A previous life of the service left something of the container behind.
    FoundRemains,
    /// More of the machine is up.
    Available(Available),
    /// `crun run` succeeded.
    Started,
    /// `crun run`, or the preparation for it, failed.
    StartFailed,
    /// The container's first process ended.
    Exited {
        /// How.
        exit: Exit,
        /// Processes of this run that the kernel killed for want of memory.
        oom_kills: u64,
    },
    /// The cleaning up is done.
    Cleaned,
    /// Time passed.
    Tick,
    /// The machine stops.
    Stop,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Prepare the container and run `crun run`.
    Start,
    /// Send the declared stop signal to the container's first process.
    Signal,
    /// Kill every process of the container.
    Kill,
    /// Kill the crun command under way and forget it.
    Abandon,
    /// Kill what is left of the run, remove its traces, and report [`Event::Cleaned`].
    Clean,
    /// Tell what happened.
    Tell(News),
}

/// What is told in the kernel log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Its first start succeeded.
    FirstStart,
    /// A later start succeeded.
    Restarted,
    /// A start failed; the pause before the next one, if there is one.
    StartFailed(Option<Duration>),
    /// `crun run` did not end in time.
    StartTimedOut,
    /// It ended.
    Exited {
        /// How.
        exit: Exit,
        /// Kills for want of memory in this run.
        oom_kills: u64,
        /// The pause before the next start, if there is one.
        pause: Option<Duration>,
    },
    /// It did not stop in time and was killed.
    Killed,
    /// Its remains could not be removed in time.
    CleanTimedOut,
}

impl State {
    /// A container that was never started.
    pub(super) fn new(policy: &Policy) -> Self {
        Self {
            phase: Phase::Held,
            starts: 0,
            failed_starts: 0,
            oom_kills: 0,
            last: None,
            pause: policy.first_pause,
            available: Available::default(),
            is_wanted: true,
        }
    }

    /// When [`Event::Tick`] is due.
    pub(super) fn deadline(&self) -> Option<Duration> {
        match self.phase {
            Phase::Held | Phase::Running { .. } | Phase::Ended => None,
            Phase::Starting { deadline: at }
            | Phase::Stopping { kill_at: at }
            | Phase::Killing { deadline: at }
            | Phase::Cleaning { deadline: at, .. }
            | Phase::Pausing { until: at } => Some(at),
        }
    }

    /// The first start is over, with or without success; or it has to wait for a commit, which itself waits for
    /// everything else.
    pub(super) fn is_settled(&self, policy: &Policy) -> bool {
        let waits = policy.needs.commit && !self.available.commit;
        self.starts > 0 || self.failed_starts > 0 || waits
    }

    fn is_starting(&self) -> bool {
        matches!(self.phase, Phase::Starting { .. })
    }

    /// Nothing more will happen to it.
    pub(super) fn is_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// The state after an event, and what to do. An event that makes no sense in a state changes nothing.
    pub(super) fn step(self, policy: &Policy, event: Event, now: Duration) -> (Self, Vec<Effect>) {
        match event {
            Event::Available(available) => Self { available, ..self }.advance(policy, now),
            Event::Started => self.started(policy, now),
            Event::FoundRemains if self.phase == Phase::Held => self.clean(Next::Start, now, Vec::new()),
            Event::StartFailed if self.is_starting() => self.failed(policy, now, Vec::new()),
            Event::FoundRemains | Event::StartFailed => (self, Vec::new()),
            Event::Exited { exit, oom_kills } => self.exited(policy, (exit, oom_kills), now),
            Event::Cleaned => self.cleaned(policy, now),
            Event::Tick => self.tick(policy, now),
            Event::Stop => self.stop(policy, now),
        }
    }

    /// Starts it if it is held and what it needs is there.
    fn advance(self, policy: &Policy, now: Duration) -> (Self, Vec<Effect>) {
        if self.phase != Phase::Held || !policy.is_met(self.available) {
            return (self, Vec::new());
        }
        let phase = Phase::Starting { deadline: now + START_LIMIT };
        (Self { phase, ..self }, vec![Effect::Start])
    }

    fn started(self, policy: &Policy, now: Duration) -> (Self, Vec<Effect>) {
        if !self.is_starting() {
            return (self, Vec::new());
        }
        let news = match self.starts {
            0 => News::FirstStart,
            _ => News::Restarted,
        };
        let state =
            Self { phase: Phase::Running { since: now }, starts: self.starts.saturating_add(1), ..self };
        if state.is_wanted {
            return (state, vec![Effect::Tell(news)]);
        }
        let (state, mut effects) = state.stop(policy, now);
        effects.insert(0, Effect::Tell(news));
        (state, effects)
    }

    fn failed(self, policy: &Policy, now: Duration, mut effects: Vec<Effect>) -> (Self, Vec<Effect>) {
        let (state, next) = Self { failed_starts: self.failed_starts.saturating_add(1), ..self }.plan_next(
            policy,
            Outcome::NotStarted,
            now,
        );
        effects.push(Effect::Tell(News::StartFailed(next.pause(now))));
        state.clean(next, now, effects)
    }

    fn exited(self, policy: &Policy, (exit, oom_kills): (Exit, u64), now: Duration) -> (Self, Vec<Effect>) {
        let pause = match self.phase {
            Phase::Running { since } if now.saturating_sub(since) >= policy.settled_after() => {
                policy.first_pause
            }
            Phase::Running { .. } | Phase::Stopping { .. } | Phase::Killing { .. } => self.pause,
            Phase::Held
            | Phase::Starting { .. }
            | Phase::Cleaning { .. }
            | Phase::Pausing { .. }
            | Phase::Ended => return (self, Vec::new()),
        };
        let (state, next) = Self { pause, oom_kills: self.oom_kills.saturating_add(oom_kills), ..self }
            .plan_next(policy, Outcome::Exited(exit), now);
        let news = News::Exited { exit, oom_kills, pause: next.pause(now) };
        state.clean(next, now, vec![Effect::Tell(news)])
    }

    /// What follows this outcome; the pause after the next one is twice as long.
    fn plan_next(self, policy: &Policy, outcome: Outcome, now: Duration) -> (Self, Next) {
        let last = Some(outcome);
        if !self.is_wanted || !policy.restarts_after(outcome) {
            return (Self { last, ..self }, Next::End);
        }
        let pause = (self.pause * 2).min(policy.longest_pause);
        let next = Next::StartAt(now + self.pause);
        (Self { last, pause, ..self }, next)
    }

    fn clean(self, next: Next, now: Duration, mut effects: Vec<Effect>) -> (Self, Vec<Effect>) {
        effects.push(Effect::Clean);
        let phase = Phase::Cleaning { deadline: now + CLEAN_LIMIT, next };
        (Self { phase, ..self }, effects)
    }

    fn cleaned(self, policy: &Policy, now: Duration) -> (Self, Vec<Effect>) {
        let Phase::Cleaning { next, .. } = self.phase else {
            return (self, Vec::new());
        };
        let phase = match next {
            Next::StartAt(until) if until > now => Phase::Pausing { until },
            Next::Start | Next::StartAt(_) => Phase::Held,
            Next::End => Phase::Ended,
        };
        Self { phase, ..self }.advance(policy, now)
    }

    fn tick(self, policy: &Policy, now: Duration) -> (Self, Vec<Effect>) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return (self, Vec::new());
        }
        match self.phase {
            Phase::Held | Phase::Running { .. } | Phase::Ended => (self, Vec::new()),
            Phase::Starting { .. } => {
                let effects = vec![Effect::Tell(News::StartTimedOut), Effect::Abandon];
                self.failed(policy, now, effects)
            }
            Phase::Stopping { .. } => {
                let phase = Phase::Killing { deadline: now + KILL_LIMIT };
                let effects = vec![Effect::Tell(News::Killed), Effect::Kill];
                (Self { phase, ..self }, effects)
            }
            Phase::Killing { .. } => self.clean(Next::End, now, Vec::new()),
            Phase::Cleaning { .. } => {
                let (state, after) = self.cleaned(policy, now);
                let mut effects = vec![Effect::Tell(News::CleanTimedOut), Effect::Abandon];
                effects.extend(after);
                (state, effects)
            }
            Phase::Pausing { .. } => Self { phase: Phase::Held, ..self }.advance(policy, now),
        }
    }

    fn stop(self, policy: &Policy, now: Duration) -> (Self, Vec<Effect>) {
        let kill_at = now + policy.stop_limit;
        let (phase, effects) = match self.phase {
            Phase::Held | Phase::Pausing { .. } | Phase::Ended => (Phase::Ended, Vec::new()),
            // It gets the signal once it runs.
            Phase::Starting { deadline } => (Phase::Starting { deadline: deadline.min(kill_at) }, Vec::new()),
            Phase::Running { .. } => (Phase::Stopping { kill_at }, vec![Effect::Signal]),
            Phase::Stopping { .. } | Phase::Killing { .. } => (self.phase, Vec::new()),
            Phase::Cleaning { deadline, .. } => (Phase::Cleaning { deadline, next: Next::End }, Vec::new()),
        };
        let state = Self { phase, is_wanted: false, ..self };
        (state, effects)
    }
}

impl Next {
    fn pause(self, now: Duration) -> Option<Duration> {
        match self {
            Self::StartAt(at) => Some(at.saturating_sub(now)),
            Self::Start => Some(Duration::ZERO),
            Self::End => None,
        }
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
