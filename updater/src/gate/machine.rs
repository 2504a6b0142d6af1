//! Whether a release on trial is committed, decided purely: `(State, Event, now) → (State, Effects)`.
//!
//! Time is milliseconds since the kernel's start. A release is committed when everything that is required was healthy at
//! every look for the settle time, and the deadline has not passed. Whatever is not known is not healthy.

use super::attempts::{Attempts, Rules};
use super::condition::{Life, Seen, Status, judge};
use super::view::{Missing, Phase, View};
use crate::baseline::{self, Baseline};
use coracle_format::device::{Container, DeviceConfig, Gate};

/// The gate gives up this long before PID 1's own deadline, so that there is time to write down why.
const GIVE_UP_EARLIER_MS: u64 = 3_000;
/// Nothing counts as healthy that was not looked at for this long, for instance because the gate was stopped.
const STALE_MS: u64 = 3_000;
/// What is hopeless must be so for this long: during an ordered stop containers end too, and the order to stop may come
/// a moment later.
const CERTAIN_MS: u64 = 2_000;
/// What is waited for is told no more often.
const TELL_PAUSE_MS: u64 = 2_000;
/// The same things with other reasons are told no more often.
const RETELL_PAUSE_MS: u64 = 15_000;

/// What decides, as the configuration says it.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    mode: Gate,
    settle_ms: u64,
    deadline_ms: u64,
    containers: Vec<Container>,
    checks: Vec<Rules>,
}

impl Plan {
    /// The plan of a configuration, `None` if it takes no updates.
    pub(super) fn new(config: &DeviceConfig) -> Option<Self> {
        let update = config.update.as_ref()?;
        let settle_ms = u64::from(update.settle_seconds) * 1000;
        let required = config.containers.iter().filter(|container| !container.after_commit);
        Some(Self {
            mode: update.gate,
            settle_ms,
            deadline_ms: (u64::from(update.deadline_seconds) * 1000).saturating_sub(GIVE_UP_EARLIER_MS),
            containers: required.cloned().collect(),
            checks: config.checks.iter().map(|check| Rules::new(check, settle_ms)).collect(),
        })
    }
}

/// What happened.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// The containers service was looked at: its status, or why there is none. Comes several times a second, and time
    /// passes by it.
    Looked(Result<Status, String>),
    /// An attempt of the check with this index is over.
    Checked { check: usize, number: u64, result: Result<(), String> },
    /// What was healthy before the release was armed.
    Baseline(Baseline),
    /// The commit could not be written.
    NotCommitted(String),
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Make an attempt of the check with this index.
    Try { check: usize, number: u64 },
    /// Tell what is waited for.
    Tell(String),
    /// Commit the running release. If that fails, [`Event::NotCommitted`] follows.
    Commit,
    /// The release failed, and why.
    Fail(String),
}

/// The gate's state.
#[derive(Clone, Debug)]
pub(super) struct State {
    status: Result<Status, String>,
    looked: Option<u64>,
    attempts: Vec<Attempts>,
    baseline: Option<Baseline>,
    healthy_since: Option<u64>,
    hopeless_since: Option<u64>,
    not_committed: Option<String>,
    told: Option<Told>,
    is_over: bool,
}

/// What was told last.
#[derive(Clone, Debug)]
struct Told {
    keys: Vec<String>,
    text: String,
    at: u64,
}

impl State {
    /// Nothing is known yet.
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            status: Err("has not been looked at yet".to_owned()),
            looked: None,
            attempts: plan.checks.iter().map(|_| Attempts::new()).collect(),
            baseline: None,
            healthy_since: None,
            hopeless_since: None,
            not_committed: None,
            told: None,
            is_over: false,
        }
    }

    /// The state after an event, and what to do. Nothing more is done after a commit or a failure.
    pub(super) fn step(mut self, plan: &Plan, event: Event, now: u64) -> (Self, Vec<Effect>) {
        if self.is_over && !matches!(event, Event::NotCommitted(_)) {
            return (self, Vec::new());
        }
        match event {
            Event::Looked(status) => self.look(plan, status, now),
            Event::Checked { check, number, result } => {
                if let (Some(attempts), Some(rules)) = (self.attempts.get_mut(check), plan.checks.get(check))
                {
                    attempts.end(rules, number, result, now);
                }
            }
            Event::Baseline(baseline) => self.baseline = Some(baseline),
            Event::NotCommitted(why) => {
                self.not_committed = Some(why);
                self.healthy_since = None;
                self.is_over = false;
            }
        }
        let mut effects = self.try_checks(plan, now);
        self.decide(plan, now, &mut effects);
        (self, effects)
    }

    /// Takes a new status. A hole in the observation, and a container that has been started anew since the last look,
    /// end whatever was settling.
    fn look(&mut self, plan: &Plan, status: Result<Status, String>, now: u64) {
        let is_hole = self.looked.is_none_or(|looked| now.saturating_sub(looked) > STALE_MS);
        let is_restart = plan.containers.iter().any(|container| {
            self.requires(plan, &baseline::of_container(&container.name))
                && run_of(&self.status, &container.name) != run_of(&status, &container.name)
        });
        if is_hole || is_restart {
            self.healthy_since = None;
        }
        self.status = status;
        self.looked = Some(now);
    }

    fn try_checks(&mut self, plan: &Plan, now: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (check, (rules, attempts)) in plan.checks.iter().zip(&mut self.attempts).enumerate() {
            let runs = rules.container.as_ref().is_some_and(|name| {
                let seen = self.status.as_ref().ok().and_then(|status| status.containers.get(name));
                seen.is_some_and(|seen| seen.life == Life::Running)
            });
            if attempts.tick(rules, runs, now) {
                effects.push(Effect::Try { check, number: attempts.number });
            }
        }
        effects
    }

    fn decide(&mut self, plan: &Plan, now: u64, effects: &mut Vec<Effect>) {
        let missing = self.missing(plan, now);
        if missing.is_empty() {
            self.healthy_since.get_or_insert(now);
        } else {
            self.healthy_since = None;
        }
        let hopeless = missing.iter().find(|missing| missing.is_hopeless);
        self.hopeless_since = hopeless.map(|_| self.hopeless_since.unwrap_or(now));
        let is_certain = self.hopeless_since.is_some_and(|since| now.saturating_sub(since) >= CERTAIN_MS);
        let reason = match hopeless {
            Some(hopeless) if is_certain => Some(hopeless.to_string()),
            Some(_) | None if now >= plan.deadline_ms => Some(self.lateness(plan, &missing, now)),
            Some(_) | None => None,
        };
        if let Some(reason) = reason {
            self.is_over = true;
            effects.push(Effect::Fail(reason));
        } else if self.has_settled(plan, now) {
            self.is_over = true;
            effects.push(Effect::Commit);
        } else {
            effects.extend(self.tell(plan, &missing, now));
        }
    }

    /// Everything has been healthy for the settle time, and each check has passed in an attempt of its second half.
    fn has_settled(&self, plan: &Plan, now: u64) -> bool {
        let Some(since) = self.healthy_since else {
            return false;
        };
        let half = since.saturating_add(plan.settle_ms / 2);
        let mut checks = plan.checks.iter().zip(&self.attempts);
        now >= since.saturating_add(plan.settle_ms)
            && checks.all(|(rules, attempts)| {
                !self.requires(plan, &baseline::of_check(&rules.name))
                    || attempts.passed.is_some_and(|passed| passed >= half)
            })
    }

    /// What is required and not healthy.
    fn missing(&self, plan: &Plan, now: u64) -> Vec<Missing> {
        let is_stale = self.looked.is_none_or(|looked| now.saturating_sub(looked) > STALE_MS);
        let status = match &self.status {
            Ok(status) if !is_stale => status,
            Ok(_) => return vec![Missing::runtime("was not looked at for too long")],
            Err(why) => return vec![Missing::runtime(why)],
        };
        let containers = plan.containers.iter().map(|container| {
            let health = judge(container, status.containers.get(&container.name));
            (baseline::of_container(&container.name), health)
        });
        let checks = plan.checks.iter().zip(&self.attempts);
        let checks =
            checks.map(|(rules, attempts)| (baseline::of_check(&rules.name), attempts.health.clone()));
        containers
            .chain(checks)
            .filter(|(key, _)| self.requires(plan, key))
            .filter_map(|(key, health)| Missing::new(key, health))
            .collect()
    }

    /// Whether something counts: what was sick before the release was armed may be sick after, where the plan says so.
    fn requires(&self, plan: &Plan, key: &str) -> bool {
        match plan.mode {
            Gate::Healthy => true,
            Gate::NoWorse => !self.baseline.as_ref().is_some_and(|baseline| baseline.was_sick(key)),
        }
    }

    fn lateness(&self, plan: &Plan, missing: &[Missing], now: u64) -> String {
        match (missing, &self.not_committed) {
            ([], Some(why)) => format!("the commit cannot be written: {why}"),
            ([], None) => {
                let healthy = now.saturating_sub(self.healthy_since.unwrap_or(now)) / 1000;
                let settle = plan.settle_ms / 1000;
                format!("all was healthy at the deadline, but for {healthy} of {settle} seconds only")
            }
            ([one], _) => format!("{one} at the deadline"),
            ([one, others @ ..], _) => format!("{one} at the deadline, and {} more", others.len()),
        }
    }

    /// A line when something else is waited for than was told last, or for another reason.
    fn tell(&mut self, plan: &Plan, missing: &[Missing], now: u64) -> Option<Effect> {
        let keys: Vec<String> = missing.iter().map(|missing| missing.key.clone()).collect();
        let words: Vec<String> = missing.iter().map(Missing::to_string).collect();
        let text = if words.is_empty() {
            format!("all is healthy; commit follows after {} seconds of it", plan.settle_ms / 1000)
        } else {
            format!("trial waits for {}", words.join("; "))
        };
        if let Some(told) = &self.told {
            let pause = if told.keys == keys { RETELL_PAUSE_MS } else { TELL_PAUSE_MS };
            if told.text == text || now.saturating_sub(told.at) < pause {
                return None;
            }
        }
        self.told = Some(Told { keys, text: text.clone(), at: now });
        Some(Effect::Tell(text))
    }

    /// What can be seen from outside.
    pub(super) fn view(&self, plan: &Plan, now: u64) -> View {
        View {
            phase: if self.healthy_since.is_some() { Phase::Settling } else { Phase::Waiting },
            missing: self.missing(plan, now),
            excused: self.excused(plan),
            settle_seconds: plan.settle_ms / 1000,
            healthy_since_ms: self.healthy_since,
            left_seconds: plan.deadline_ms.saturating_sub(now) / 1000,
            reason: None,
        }
    }

    fn excused(&self, plan: &Plan) -> Vec<String> {
        let containers = plan.containers.iter().map(|container| baseline::of_container(&container.name));
        let checks = plan.checks.iter().map(|rules| baseline::of_check(&rules.name));
        containers.chain(checks).filter(|key| !self.requires(plan, key)).collect()
    }
}

/// Which run of a container a status speaks of: it changes with every start.
fn run_of(status: &Result<Status, String>, name: &str) -> Option<(u32, Seen)> {
    let status = status.as_ref().ok()?;
    Some((status.pid?, *status.containers.get(name)?))
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
