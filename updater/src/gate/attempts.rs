//! The attempts of one check: when the next one begins, and what the last one says. Pure.

use super::condition::Health;
use coracle_format::device::{Check, Probe};

/// No check is tried more often, whatever it declares.
const SHORTEST_PAUSE_MS: u64 = 250;
/// During a trial no check is tried less often than this, or than twice in the settle time if that is more.
const LONGEST_PAUSE_MS: u64 = 1_000;
/// What an attempt may take beyond its time, for the machine may be busy.
const GRACE_MS: u64 = 1_000;

/// What decides about one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    /// Its name.
    pub(super) name: String,
    /// The container it runs in, if it does.
    pub(super) container: Option<String>,
    timeout_ms: u64,
    pause_ms: u64,
}

impl Rules {
    /// The rules a check declares.
    pub(super) fn new(check: &Check, settle_ms: u64) -> Self {
        let longest = (settle_ms / 2).max(LONGEST_PAUSE_MS);
        let container = match &check.probe {
            Probe::Command { container, .. } => Some(container.clone()),
            Probe::Http { .. } | Probe::Tcp { .. } | Probe::File { .. } => None,
        };
        Self {
            name: check.name.clone(),
            container,
            timeout_ms: check.timeout_ms.into(),
            pause_ms: u64::from(check.interval_ms).clamp(SHORTEST_PAUSE_MS, longest),
        }
    }
}

/// Whether an attempt is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The next one is due then.
    Idle { next: u64 },
    /// It began then.
    Under { since: u64 },
}

/// One check's attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attempts {
    stage: Stage,
    /// The number of the last attempt.
    pub(super) number: u64,
    /// What the last attempt that is over says.
    pub(super) health: Health,
    /// When the last attempt that passed began.
    pub(super) passed: Option<u64>,
}

impl Attempts {
    /// None made; the first one is due.
    pub(super) fn new() -> Self {
        Self {
            stage: Stage::Idle { next: 0 },
            number: 0,
            health: Health::Unhealthy("has not passed yet".to_owned()),
            passed: None,
        }
    }

    /// Time passed. Returns whether an attempt begins.
    pub(super) fn tick(&mut self, rules: &Rules, container_runs: bool, now: u64) -> bool {
        match self.stage {
            Stage::Under { since } if is_late(rules, since, now) => {
                self.fail(format!("no result within {} ms", rules.timeout_ms));
                false
            }
            Stage::Under { .. } => false,
            Stage::Idle { next } if now < next => false,
            Stage::Idle { .. } => match &rules.container {
                Some(container) if !container_runs => {
                    self.fail(format!("container {container} does not run"));
                    false
                }
                Some(_) | None => {
                    self.stage = Stage::Under { since: now };
                    self.number = self.number.saturating_add(1);
                    true
                }
            },
        }
    }

    /// An attempt is over.
    pub(super) fn end(&mut self, rules: &Rules, number: u64, result: Result<(), String>, now: u64) {
        let Stage::Under { since } = self.stage else {
            return;
        };
        if number != self.number {
            return;
        }
        self.stage = Stage::Idle { next: now.saturating_add(rules.pause_ms) };
        match result {
            Ok(()) if is_late(rules, since, now) => {
                self.fail(format!("no result within {} ms", rules.timeout_ms));
            }
            Ok(()) => {
                self.health = Health::Healthy;
                self.passed = Some(since);
            }
            Err(why) => self.fail(why),
        }
    }

    fn fail(&mut self, why: String) {
        self.health = Health::Unhealthy(why);
        self.passed = None;
    }
}

const fn is_late(rules: &Rules, since: u64, now: u64) -> bool {
    now.saturating_sub(since) > rules.timeout_ms.saturating_add(GRACE_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::samples::{check, command};

    #[test]
    fn attempts_follow_each_other_with_the_declared_pause() {
        let rules = Rules::new(&check("tcp", 2_000, 500), 10_000);
        let mut attempts = Attempts::new();
        assert!(attempts.tick(&rules, true, 100));
        assert!(!attempts.tick(&rules, true, 200), "one at a time");
        attempts.end(&rules, 1, Ok(()), 300);
        assert_eq!((&attempts.health, attempts.passed), (&Health::Healthy, Some(100)));
        assert!(!attempts.tick(&rules, true, 799));
        assert!(attempts.tick(&rules, true, 800));
    }

    #[test]
    fn a_long_interval_is_shortened_so_that_each_settle_time_sees_attempts() {
        assert_eq!(Rules::new(&check("tcp", 1, 600_000), 30_000).pause_ms, 15_000);
        assert_eq!(Rules::new(&check("tcp", 1, 600_000), 0).pause_ms, 1_000);
        assert_eq!(Rules::new(&check("tcp", 1, 0), 30_000).pause_ms, SHORTEST_PAUSE_MS);
    }

    #[test]
    fn an_attempt_that_takes_too_long_fails_and_its_late_success_does_not_count() {
        let rules = Rules::new(&check("tcp", 2_000, 500), 10_000);
        let mut attempts = Attempts::new();
        attempts.tick(&rules, true, 0);
        assert!(!attempts.tick(&rules, true, 3_001), "it is still under way");
        assert_eq!(attempts.health, Health::Unhealthy("no result within 2000 ms".to_owned()));
        attempts.end(&rules, 1, Ok(()), 3_500);
        assert!(matches!(attempts.health, Health::Unhealthy(_)));
        assert!(attempts.tick(&rules, true, 4_000));
    }

    #[test]
    fn results_of_other_attempts_are_passed_over() {
        let rules = Rules::new(&check("tcp", 2_000, 500), 10_000);
        let mut attempts = Attempts::new();
        attempts.end(&rules, 0, Ok(()), 0);
        attempts.tick(&rules, true, 0);
        attempts.end(&rules, 7, Ok(()), 0);
        assert_eq!(attempts.passed, None);
    }

    #[test]
    fn a_command_waits_for_its_container() {
        let rules = Rules::new(&command("app", "web"), 10_000);
        let mut attempts = Attempts::new();
        assert!(!attempts.tick(&rules, false, 0));
        assert_eq!(attempts.health, Health::Unhealthy("container web does not run".to_owned()));
        assert!(attempts.tick(&rules, true, 1));
    }
}
