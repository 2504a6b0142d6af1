//! One look at everything, for the baseline and for whoever wants to know.

use super::condition::{Health, Status, judge};
use super::places::Places;
use super::probe::{self, Done};
use crate::baseline;
use coracle_format::device::{Check, Container, DeviceConfig, Probe};
use rustix::thread::{CapabilitySet, capabilities};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Attempts of a check before it counts as sick: one failure by chance must not excuse it in the trial.
const ATTEMPTS: u64 = 3;
/// Longest pause between them.
const PAUSE_MS: u64 = 2_000;
/// No survey takes longer; of what has not answered by then nothing is known.
const LIMIT: Duration = Duration::from_mins(2);

/// The health of every container that runs before a commit, and of every check, by key. What cannot be told is left out:
/// only what is known to be sick may be excused later.
pub(crate) fn survey(config: &DeviceConfig, places: &Places) -> Vec<(String, Health)> {
    let settle_ms = config.update.as_ref().map_or(0, |update| u64::from(update.settle_seconds) * 1000);
    let mut out = Vec::new();
    if let Ok(status) = places.look() {
        for container in config.containers.iter().filter(|container| !container.after_commit) {
            let health = judge_steady(container, &status, settle_ms);
            out.push((baseline::of_container(&container.name), health));
        }
    }
    let enters = may_enter_containers();
    let tellable = |check: &&Check| enters || !matches!(check.probe, Probe::Command { .. });
    let checks: Vec<Check> = config.checks.iter().filter(tellable).cloned().collect();
    let found = try_checks(&checks, places);
    out.extend(
        checks
            .iter()
            .zip(found)
            .filter_map(|(check, health)| Some((baseline::of_check(&check.name), health?))),
    );
    out
}

/// Whether this process may run a program inside a container. Asked for by the control service it may not, and a check
/// that fails for that reason says nothing about the container.
fn may_enter_containers() -> bool {
    let needed = CapabilitySet::SYS_ADMIN | CapabilitySet::SYS_CHROOT | CapabilitySet::SYS_PTRACE;
    capabilities(None).is_ok_and(|sets| sets.permitted.contains(needed))
}

/// A container that crash-loops is running at times: one that has ended badly counts as healthy only after it has run
/// for the settle time.
fn judge_steady(container: &Container, status: &Status, settle_ms: u64) -> Health {
    let seen = status.containers.get(&container.name);
    match (judge(container, seen), seen) {
        (Health::Healthy, Some(seen))
            if seen.ended_badly()
                && seen.ends() > 0
                && super::clock::now_ms().saturating_sub(seen.since_ms) < settle_ms =>
        {
            Health::Unhealthy("has been started anew a moment ago".to_owned())
        }
        (health, _) => health,
    }
}

/// All checks beside each other, each until it passes or has failed often enough.
fn try_checks(checks: &[Check], places: &Places) -> Vec<Option<Health>> {
    let mut out = vec![None; checks.len()];
    let (sender, results) = mpsc::channel::<Done>();
    let end = Instant::now() + LIMIT;
    let mut due: Vec<(Instant, usize, u64)> =
        (0..checks.len()).map(|index| (Instant::now(), index, 1)).collect();
    let mut open = checks.len();
    while open > 0 && Instant::now() < end {
        let now = Instant::now();
        due.retain(|(at, index, number)| {
            if *at <= now
                && let Some(check) = checks.get(*index)
            {
                probe::begin(check.clone(), places.runtime(), (*index, *number), &sender);
            }
            *at > now
        });
        let until = due.iter().map(|(at, _, _)| *at).min().unwrap_or(end).min(end);
        let Ok((index, number, result)) = results.recv_timeout(until.saturating_duration_since(now)) else {
            continue;
        };
        let (Some(check), Some(health)) = (checks.get(index), out.get_mut(index)) else {
            continue;
        };
        *health = Some(match result {
            Ok(()) => Health::Healthy,
            Err(why) => Health::Unhealthy(why),
        });
        if *health == Some(Health::Healthy) || number >= ATTEMPTS {
            open -= 1;
        } else {
            let pause = Duration::from_millis(u64::from(check.interval_ms).min(PAUSE_MS));
            due.push((Instant::now() + pause, index, number + 1));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::condition::{Last, Life, Seen};
    use crate::gate::samples::{check, config, container};
    use coracle_format::device::Restart;

    fn steady(seen: Seen) -> Health {
        let mut status = Status::default();
        status.containers.insert("web".to_owned(), seen);
        judge_steady(&container("web", Restart::Always), &status, 10_000)
    }

    #[test]
    fn a_container_between_two_crashes_is_sick_though_it_runs() {
        let now = crate::gate::clock::now_ms();
        let seen =
            Seen { life: Life::Running, since_ms: now, starts: 2, failed_starts: 0, last: Last::Exit(1) };
        assert!(matches!(steady(seen), Health::Unhealthy(_)));
        assert_eq!(steady(Seen { starts: 1, last: Last::None, ..seen }), Health::Healthy, "its first run");
        let since_ms = now.saturating_sub(10_000);
        if since_ms > 0 {
            assert_eq!(steady(Seen { since_ms, ..seen }), Health::Healthy, "it has recovered");
        }
    }

    #[test]
    fn every_container_and_check_is_surveyed_but_those_that_wait_for_a_commit() {
        let directory = tempfile::tempdir().unwrap();
        let places = Places::below(directory.path());
        std::fs::create_dir_all(places.containers().parent().unwrap()).unwrap();
        let text = format!("pid={}\ncontainer.web.state=running\n", std::process::id());
        coracle_block::replace_file(places.containers(), text.as_bytes(), 0o600).unwrap();
        let file = |name: &str, path: &std::path::Path| {
            let probe = Probe::File { path: path.to_str().unwrap().to_owned() };
            Check { probe, ..check(name, 100, 1) }
        };
        let mut late = container("late", Restart::Always);
        late.after_commit = true;
        let containers = vec![container("web", Restart::Always), container("db", Restart::Always), late];
        let there = file("there", directory.path());
        let gone = file("gone", &directory.path().join("gone"));
        let found = survey(&config(containers, vec![there, gone]), &places);
        let healthy: Vec<_> =
            found.iter().map(|(key, health)| (key.as_str(), *health == Health::Healthy)).collect();
        assert_eq!(
            healthy,
            [("container.web", true), ("container.db", false), ("check.there", true), ("check.gone", false)]
        );
    }
}
