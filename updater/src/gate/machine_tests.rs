use super::*;
use crate::gate::condition::Last;
use crate::gate::samples::{check, command, config, container};
use coracle_format::device::Restart;
use proptest::prelude::*;

const SETTLE: u64 = 10_000;
const DEADLINE: u64 = 120_000 - GIVE_UP_EARLIER_MS;
/// How often the simulated gate looks.
const STEP: u64 = 500;

fn plan(mode: Gate, containers: &[(&str, Restart)], checks: &[&str]) -> Plan {
    let containers = containers.iter().map(|(name, restart)| container(name, *restart)).collect();
    let checks = checks.iter().map(|name| check(name, 2_000, 1_000)).collect();
    let mut config = config(containers, checks);
    if let Some(update) = &mut config.update {
        update.gate = mode;
    }
    Plan::new(&config).unwrap()
}

fn running(since_ms: u64, starts: u64) -> Seen {
    Seen { life: Life::Running, since_ms, starts, failed_starts: 0, last: Last::None }
}

#[expect(clippy::unnecessary_wraps, reason = "a look may fail, this one does not")]
fn status(containers: &[(&str, Seen)]) -> Result<Status, String> {
    let containers = containers.iter().map(|(name, seen)| ((*name).to_owned(), *seen)).collect();
    Ok(Status { pid: Some(7), containers })
}

/// A gate whose looks and checks say what a function of the time says; the end and when it came.
struct Simulation<'a> {
    plan: &'a Plan,
    state: State,
    now: u64,
    told: Vec<String>,
}

impl<'a> Simulation<'a> {
    fn new(plan: &'a Plan) -> Self {
        Self { plan, state: State::new(plan), now: 0, told: Vec::new() }
    }

    fn feed(&mut self, event: Event) -> Vec<Effect> {
        let (state, effects) = self.state.clone().step(self.plan, event, self.now);
        self.state = state;
        effects
    }

    /// Runs until an end, or the deadline and a little more.
    fn run(
        &mut self,
        status: impl Fn(u64) -> Result<Status, String>,
        check: impl Fn(usize, u64) -> Result<(), String>,
    ) -> Option<Effect> {
        while self.now <= DEADLINE + 5 * STEP {
            let mut effects = self.feed(Event::Looked(status(self.now)));
            while !effects.is_empty() {
                let mut next = Vec::new();
                for effect in effects {
                    match effect {
                        Effect::Try { check: index, number } => {
                            let result = check(index, self.now);
                            next.extend(self.feed(Event::Checked { check: index, number, result }));
                        }
                        Effect::Tell(text) => self.told.push(text),
                        end @ (Effect::Commit | Effect::Fail(_)) => return Some(end),
                    }
                }
                effects = next;
            }
            self.now += STEP;
        }
        None
    }
}

const WEB: &[(&str, Restart)] = &[("web", Restart::Always)];

#[test]
fn what_is_healthy_for_the_settle_time_is_committed_then() {
    let plan = plan(Gate::Healthy, WEB, &["api"]);
    let mut gate = Simulation::new(&plan);
    let end = gate.run(|_| status(&[("web", running(1, 1))]), |_, _| Ok(()));
    assert_eq!((end, gate.now), (Some(Effect::Commit), SETTLE));
}

#[test]
fn a_slow_start_delays_the_commit_and_fails_nothing() {
    let plan = plan(Gate::Healthy, WEB, &["api"]);
    let mut gate = Simulation::new(&plan);
    let web = |now| match now {
        0..60_000 => status(&[("web", Seen { life: Life::Starting, ..Seen::default() })]),
        _ => status(&[("web", running(60_000, 1))]),
    };
    let api = |_, now| if now < 80_000 { Err("connection refused".to_owned()) } else { Ok(()) };
    assert_eq!(gate.run(web, api), Some(Effect::Commit));
    assert!((90_000..93_000).contains(&gate.now), "{}", gate.now);
    assert_eq!(
        gate.told,
        [
            "trial waits for container web: is being started; check api: has not passed yet",
            "trial waits for container web: is being started; check api: connection refused",
            "trial waits for check api: connection refused",
            "all is healthy; commit follows after 10 seconds of it"
        ]
    );
}

#[test]
fn a_reason_that_changes_all_the_time_is_told_now_and_then() {
    let plan = plan(Gate::Healthy, WEB, &["api"]);
    let mut gate = Simulation::new(&plan);
    gate.run(|_| status(&[("web", running(1, 1))]), |_, now| Err(format!("it is {now}")));
    assert_eq!(u64::try_from(gate.told.len()).unwrap(), DEADLINE / RETELL_PAUSE_MS + 1);
}

#[test]
fn a_check_that_never_passes_fails_the_release_before_the_deadline_by_name() {
    let plan = plan(Gate::Healthy, WEB, &["api"]);
    let mut gate = Simulation::new(&plan);
    let end = gate.run(|_| status(&[("web", running(1, 1))]), |_, _| Err("status 500".to_owned()));
    assert_eq!(end, Some(Effect::Fail("check api: status 500 at the deadline".to_owned())));
    assert!(gate.now < 120_000);
}

#[test]
fn a_container_that_starts_anew_begins_the_settle_time_anew() {
    let plan = plan(Gate::Healthy, WEB, &[]);
    let mut gate = Simulation::new(&plan);
    // It is back before the next look: only the count tells.
    let web = |now| match now {
        0..9_000 => status(&[("web", running(1, 1))]),
        _ => status(&[("web", running(8_900, 2))]),
    };
    assert_eq!(gate.run(web, |_, _| Ok(())), Some(Effect::Commit));
    assert_eq!(gate.now, 9_000 + SETTLE);
}

#[test]
fn a_crash_loop_ends_the_trial_early() {
    let plan = plan(Gate::Healthy, WEB, &[]);
    let mut gate = Simulation::new(&plan);
    let web = |now| {
        let seen = Seen { life: Life::Between, starts: now / 2_000, last: Last::Exit(1), ..Seen::default() };
        status(&[("web", seen)])
    };
    let end = gate.run(web, |_, _| Ok(()));
    assert!(matches!(&end, Some(Effect::Fail(why)) if why.starts_with("container web: ended with status 1")));
    assert_eq!(gate.now, 2_000 * crate::gate::condition::CRASHES + CERTAIN_MS);
}

#[test]
fn a_loop_that_recovers_in_time_is_forgiven() {
    let plan = plan(Gate::Healthy, WEB, &[]);
    let mut gate = Simulation::new(&plan);
    let web = |now| {
        let crashed =
            Seen { life: Life::Between, starts: now / 2_000, last: Last::Exit(1), ..Seen::default() };
        status(&[("web", if now < 14_000 { crashed } else { Seen { last: Last::Exit(1), ..running(1, 8) } })])
    };
    assert_eq!(gate.run(web, |_, _| Ok(())), Some(Effect::Commit));
}

#[test]
fn a_runtime_that_is_gone_is_never_healthy() {
    let plan = plan(Gate::Healthy, &[], &[]);
    let mut gate = Simulation::new(&plan);
    let end = gate.run(|_| Err("its process is gone".to_owned()), |_, _| Ok(()));
    assert_eq!(end, Some(Effect::Fail("runtime: its process is gone at the deadline".to_owned())));
}

#[test]
fn a_gate_that_was_stopped_does_not_count_the_time_it_did_not_see() {
    let plan = plan(Gate::Healthy, WEB, &[]);
    let mut gate = Simulation::new(&plan);
    gate.feed(Event::Looked(status(&[("web", running(1, 1))])));
    gate.now = SETTLE + 1;
    let told = gate.feed(Event::Baseline(Baseline::default()));
    assert_eq!(told, [Effect::Tell("trial waits for runtime: was not looked at for too long".to_owned())]);
    assert!(!gate.feed(Event::Looked(status(&[("web", running(1, 1))]))).contains(&Effect::Commit));
}

#[test]
fn after_the_deadline_nothing_is_committed() {
    let plan = plan(Gate::Healthy, WEB, &[]);
    let mut gate = Simulation::new(&plan);
    gate.now = DEADLINE - 2_000;
    let end = gate.run(|_| status(&[("web", running(1, 1))]), |_, _| Ok(()));
    let reason = "all was healthy at the deadline, but for 2 of 10 seconds only";
    assert_eq!(end, Some(Effect::Fail(reason.to_owned())));
}

#[test]
fn a_container_that_waits_for_the_commit_is_not_waited_for() {
    let mut late = container("migrate", Restart::Never);
    late.after_commit = true;
    let plan = Plan::new(&config(vec![container("web", Restart::Always), late], vec![])).unwrap();
    let mut gate = Simulation::new(&plan);
    assert_eq!(gate.run(|_| status(&[("web", running(1, 1))]), |_, _| Ok(())), Some(Effect::Commit));
}

#[test]
fn a_command_is_not_tried_before_its_container_runs() {
    let plan =
        Plan::new(&config(vec![container("web", Restart::Always)], vec![command("app", "web")])).unwrap();
    let mut gate = Simulation::new(&plan);
    let web = |now| match now {
        0..5_000 => status(&[("web", Seen::default())]),
        _ => status(&[("web", running(5_000, 1))]),
    };
    let app = |_, now| {
        assert!(now >= 5_000, "tried at {now}");
        Ok(())
    };
    assert_eq!(gate.run(web, app), Some(Effect::Commit));
}

#[test]
fn what_was_sick_before_does_not_block_its_own_fix() {
    let containers = &[("web", Restart::Always), ("old", Restart::Always)];
    let sick = Seen { life: Life::Between, starts: 50, last: Last::Exit(1), ..Seen::default() };
    let seen = |_| status(&[("web", running(1, 1)), ("old", sick)]);
    let check = |index, _| if index == 0 { Ok(()) } else { Err("no".to_owned()) };
    for (mode, is_committed) in [(Gate::NoWorse, true), (Gate::Healthy, false)] {
        let plan = plan(mode, containers, &["api", "broken"]);
        let mut gate = Simulation::new(&plan);
        gate.state.baseline = Some(Baseline::of_sick(&["container.old", "check.broken"]));
        assert_eq!(gate.run(seen, check) == Some(Effect::Commit), is_committed, "{mode:?}");
    }
}

#[test]
fn what_is_worse_or_new_blocks_and_so_does_a_missing_baseline() {
    let containers = &[("web", Restart::Always), ("new", Restart::Always)];
    let plan = plan(Gate::NoWorse, containers, &[]);
    let sick = Seen { life: Life::Held, ..Seen::default() };
    for (baseline, web, new) in [
        (Some(Baseline::of_sick(&["container.old"])), sick, running(1, 1)),
        (Some(Baseline::of_sick(&["container.old"])), running(1, 1), sick),
        (None, sick, running(1, 1)),
    ] {
        let mut gate = Simulation::new(&plan);
        gate.state.baseline = baseline;
        let end = gate.run(|_| status(&[("web", web), ("new", new)]), |_, _| Ok(()));
        assert!(matches!(end, Some(Effect::Fail(_))));
    }
}

#[test]
fn a_commit_that_cannot_be_written_is_tried_again_until_the_deadline_says_so() {
    let plan = plan(Gate::Healthy, WEB, &[]);
    let mut gate = Simulation::new(&plan);
    let seen = |_| status(&[("web", running(1, 1))]);
    let mut commits = 0;
    let end = loop {
        match gate.run(seen, |_, _| Ok(())) {
            Some(Effect::Commit) => {
                commits += 1;
                gate.feed(Event::NotCommitted("input/output error".to_owned()));
            }
            other => break other,
        }
    };
    let reason = "the commit cannot be written: input/output error";
    assert_eq!((end, commits), (Some(Effect::Fail(reason.to_owned())), 11));
}

#[test]
fn nothing_follows_an_end() {
    let plan = plan(Gate::Healthy, WEB, &[]);
    let mut gate = Simulation::new(&plan);
    gate.run(|_| status(&[("web", running(1, 1))]), |_, _| Ok(()));
    gate.now = DEADLINE + 1;
    assert_eq!(gate.feed(Event::Looked(Err("gone".to_owned()))), []);
    assert_eq!(gate.feed(Event::Baseline(Baseline::default())), []);
}

/// What a machine does from some moment on: one of four lives of `web`, and whether the check passes.
fn lives() -> impl Strategy<Value = Vec<(u64, u8, bool)>> {
    prop::collection::vec((0..240_u64, 0..4_u8, any::<bool>()), 0..12).prop_map(|mut all| {
        all.sort_unstable();
        all.into_iter().map(|(step, life, passes)| (step * STEP, life, passes)).collect()
    })
}

proptest! {
    #[test]
    fn a_commit_means_that_all_was_healthy_for_the_whole_settle_time(lives in lives()) {
        let at = |now: u64| lives.iter().rev().find(|(from, _, _)| *from <= now).copied();
        let plan = plan(Gate::Healthy, WEB, &["api"]);
        let mut gate = Simulation::new(&plan);
        let web = |now| match at(now) {
            None | Some((_, 0, _)) => status(&[("web", Seen { life: Life::Held, ..Seen::default() })]),
            Some((from, 1, _)) => status(&[("web", running(from, from + 1))]),
            Some((_, 2, _)) => Err("gone".to_owned()),
            Some((from, _, _)) => {
                status(&[("web", Seen { life: Life::Between, starts: from, last: Last::Exit(1), ..Seen::default() })])
            }
        };
        let passes = |now| at(now).is_some_and(|(_, _, passes)| passes);
        let end = gate.run(web, |_, now| if passes(now) { Ok(()) } else { Err("no".to_owned()) });
        prop_assert!(end.is_some(), "every trial ends");
        if end == Some(Effect::Commit) {
            prop_assert!(gate.now < DEADLINE && gate.now >= SETTLE);
            let window = (gate.now - SETTLE)..=gate.now;
            let runs: std::collections::BTreeSet<_> = window.clone().map(|now| at(now).map(|(from, life, _)| (from, life))).collect();
            prop_assert!(runs.iter().all(|run| matches!(run, Some((_, 1)))), "{runs:?}");
            prop_assert!(runs.len() == 1, "one run for the whole window: {runs:?}");
            // The check is sampled once a second, so a failure of that length cannot hide.
            let mut failing = 0;
            for now in window.step_by(usize::try_from(STEP).unwrap()) {
                failing = if passes(now) { 0 } else { failing + 1 };
                prop_assert!(failing < 3, "the check failed at {now}");
            }
        }
    }

    #[test]
    fn a_machine_that_is_healthy_from_some_moment_on_is_committed(from in 0..200_u64) {
        let from = from * STEP;
        let plan = plan(Gate::Healthy, WEB, &["api"]);
        let mut gate = Simulation::new(&plan);
        let web = |now| if now < from { Err("gone".to_owned()) } else { status(&[("web", running(from, 1))]) };
        let end = gate.run(web, |_, now| if now < from { Err("no".to_owned()) } else { Ok(()) });
        prop_assert_eq!(end == Some(Effect::Commit), from + SETTLE + 2 * STEP < DEADLINE);
    }
}
