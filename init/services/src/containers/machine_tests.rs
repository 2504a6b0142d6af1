use super::*;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

fn policy(restart: Restart) -> Policy {
    Policy {
        restart,
        first_pause: SECOND,
        longest_pause: 8 * SECOND,
        stop_limit: 10 * SECOND,
        needs: Available::default(),
    }
}

const fn exited(code: i32) -> Event {
    Event::Exited { exit: Exit::Code(code), oom_kills: 0 }
}

fn up() -> Event {
    Event::Available(Available::default())
}

/// The state after these events, each at its second, and all effects.
fn play(policy: &Policy, events: &[(u64, Event)]) -> (State, Vec<Effect>) {
    let mut state = State::new(policy);
    let mut all = Vec::new();
    for (second, event) in events {
        let (next, effects) = state.step(policy, *event, Duration::from_secs(*second));
        state = next;
        all.extend(effects);
    }
    (state, all)
}

#[test]
fn a_container_that_needs_nothing_starts_at_once() {
    let (state, effects) = play(&policy(Restart::Always), &[(0, up()), (1, Event::Started)]);
    assert_eq!(effects, [Effect::Start, Effect::Tell(News::FirstStart)]);
    assert_eq!(state.phase, Phase::Running { since: SECOND });
}

#[test]
fn a_container_waits_for_just_what_it_needs() {
    let all = (0_u8..16).map(|bits| Available {
        system: bits & 1 != 0,
        state: bits & 2 != 0,
        network: bits & 4 != 0,
        commit: bits & 8 != 0,
    });
    for needs in all.clone() {
        let policy = Policy { needs, ..policy(Restart::Always) };
        for there in all.clone() {
            let (_, effects) = play(&policy, &[(0, Event::Available(there))]);
            let is_met = there.system >= needs.system
                && there.state >= needs.state
                && there.network >= needs.network
                && there.commit >= needs.commit;
            assert_eq!(effects.contains(&Effect::Start), is_met, "{needs:?} {there:?}");
        }
    }
}

#[test]
fn a_container_that_waits_for_the_commit_holds_up_neither_readiness_nor_itself_afterwards() {
    let policy =
        Policy { needs: Available { commit: true, ..Available::default() }, ..policy(Restart::Always) };
    let (state, effects) = play(&policy, &[(0, up())]);
    assert_eq!((effects, state.is_settled(&policy)), (Vec::new(), true));
    let committed = Available { commit: true, ..Available::default() };
    let (state, effects) = play(&policy, &[(0, up()), (9, Event::Available(committed))]);
    assert_eq!((effects, state.is_settled(&policy)), (vec![Effect::Start], false));
}

#[test]
fn pauses_double_up_to_the_longest_and_start_anew_after_a_long_run() {
    let policy = policy(Restart::Always);
    let mut state = State::new(&policy);
    let mut now = Duration::ZERO;
    let mut pauses = Vec::new();
    let mut event = up();
    for run in [0, 0, 0, 0, 0, 60, 0] {
        state = state.step(&policy, event, now).0;
        state = state.step(&policy, Event::Started, now).0;
        now += Duration::from_secs(run);
        state = state.step(&policy, exited(1), now).0;
        state = state.step(&policy, Event::Cleaned, now).0;
        let until = state.deadline().unwrap();
        pauses.push(until.saturating_sub(now).as_secs());
        now = until;
        event = Event::Tick;
    }
    assert_eq!(pauses, [1, 2, 4, 8, 8, 1, 2]);
}

#[test]
fn the_policy_decides_about_every_outcome() {
    let outcomes = [
        Outcome::NotStarted,
        Outcome::Exited(Exit::Code(0)),
        Outcome::Exited(Exit::Code(3)),
        Outcome::Exited(Exit::Signal(9)),
    ];
    let restarts = |restart| outcomes.map(|outcome| policy(restart).restarts_after(outcome));
    assert_eq!(restarts(Restart::Always), [true, true, true, true]);
    assert_eq!(restarts(Restart::OnFailure), [true, false, true, true]);
    assert_eq!(restarts(Restart::Never), [false, false, false, false]);
}

#[test]
fn an_end_is_cleaned_up_before_the_next_start() {
    let (state, effects) = play(
        &policy(Restart::Always),
        &[(0, up()), (0, Event::Started), (5, exited(0)), (9, Event::Cleaned)],
    );
    assert_eq!(effects[2..].len(), 3, "{effects:?}");
    assert_eq!(effects[3], Effect::Clean);
    // The pause was over before the cleaning was.
    assert_eq!(effects[4], Effect::Start);
    assert_eq!(state.last, Some(Outcome::Exited(Exit::Code(0))));
}

#[test]
fn remains_of_a_previous_life_are_cleaned_up_before_the_first_start() {
    let (_, effects) =
        play(&policy(Restart::Never), &[(0, Event::FoundRemains), (0, up()), (1, Event::Cleaned)]);
    assert_eq!(effects, [Effect::Clean, Effect::Start]);
}

#[test]
fn a_start_that_hangs_is_killed_and_counted() {
    let (state, effects) = play(&policy(Restart::Always), &[(0, up()), (59, Event::Tick), (60, Event::Tick)]);
    assert_eq!(effects[1..3], [Effect::Tell(News::StartTimedOut), Effect::Abandon]);
    assert_eq!(effects.last(), Some(&Effect::Clean));
    assert_eq!(state.failed_starts, 1);
    assert!(state.is_settled(&policy(Restart::Always)));
}

#[test]
fn a_container_that_ignores_its_signal_is_killed() {
    let (state, effects) = play(
        &policy(Restart::Always),
        &[
            (0, up()),
            (0, Event::Started),
            (1, Event::Stop),
            (2, Event::Stop),
            (10, Event::Tick),
            (11, Event::Tick),
            (11, Event::Exited { exit: Exit::Signal(9), oom_kills: 0 }),
            (12, Event::Cleaned),
        ],
    );
    assert_eq!(effects[2..5], [Effect::Signal, Effect::Tell(News::Killed), Effect::Kill]);
    assert!(state.is_ended());
}

#[test]
fn a_container_told_to_stop_while_starting_gets_its_signal_when_it_runs() {
    let (state, effects) =
        play(&policy(Restart::Always), &[(0, up()), (1, Event::Stop), (2, Event::Started)]);
    assert_eq!(effects.last(), Some(&Effect::Signal));
    assert_eq!(state.phase, Phase::Stopping { kill_at: 12 * SECOND });
}

#[test]
fn a_pause_of_nothing_is_not_believed() {
    let container = coracle_format::device::Container {
        name: "web".to_owned(),
        bundle: String::new(),
        root: coracle_format::device::ContainerRoot::ReadOnly,
        restart: Restart::Always,
        backoff_ms: (0, 0),
        log: coracle_format::device::Log::Discard,
        volumes: Vec::new(),
        needs_system: false,
        needs_state: false,
        needs_network: false,
        after_commit: false,
        stop_signal: 15,
        stop_seconds: 1,
    };
    let policy = Policy::new(&container);
    assert_eq!((policy.first_pause, policy.longest_pause), (SHORTEST_PAUSE, SHORTEST_PAUSE));
}

/// What the world can do to a container in a given situation.
#[derive(Clone, Copy, Debug)]
enum Move {
    Wait(u16),
    WaitForDeadline,
    JobSucceeds,
    JobFails,
    ProcessEnds(i32),
    OutOfMemory,
    Up([bool; 4]),
    Stop,
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        4 => (0_u16..30_000).prop_map(Move::Wait),
        4 => Just(Move::WaitForDeadline),
        6 => Just(Move::JobSucceeds),
        2 => Just(Move::JobFails),
        3 => (0..3).prop_map(Move::ProcessEnds),
        1 => Just(Move::OutOfMemory),
        3 => any::<[bool; 4]>().prop_map(Move::Up),
        1 => Just(Move::Stop),
    ]
}

fn policies() -> impl Strategy<Value = Policy> {
    let restart = prop_oneof![Just(Restart::Always), Just(Restart::OnFailure), Just(Restart::Never)];
    (restart, any::<[bool; 4]>(), 100_u64..2000, 1_u64..30, 0_u64..20).prop_map(
        |(restart, [system, state, network, commit], first, factor, stop)| Policy {
            restart,
            first_pause: Duration::from_millis(first),
            longest_pause: Duration::from_millis(first * factor),
            stop_limit: Duration::from_secs(stop),
            needs: Available { system, state, network, commit },
        },
    )
}

/// A model of crun and the kernel that objects to senseless effects.
#[derive(Debug)]
struct World {
    policy: Policy,
    state: State,
    now: Duration,
    job: Option<Effect>,
    process: bool,
    available: Available,
    is_stopped: bool,
    is_dirty: bool,
    last_end: Option<Duration>,
    starts: u64,
}

impl World {
    fn new(policy: Policy) -> Self {
        Self {
            state: State::new(&policy),
            policy,
            now: Duration::ZERO,
            job: None,
            process: false,
            available: Available::default(),
            is_stopped: false,
            is_dirty: false,
            last_end: None,
            starts: 0,
        }
    }

    fn send(&mut self, event: Event) {
        let (state, effects) = self.state.step(&self.policy, event, self.now);
        self.state = state;
        for effect in effects {
            match effect {
                Effect::Start => {
                    assert_eq!((self.job, self.process, self.is_dirty), (None, false, false), "{self:?}");
                    assert!(!self.is_stopped, "started after the stop");
                    assert!(self.policy.is_met(self.available), "started too early");
                    if let Some(end) = self.last_end {
                        assert!(self.now >= end + self.policy.first_pause, "started without a pause");
                    }
                    (self.job, self.is_dirty, self.starts) = (Some(effect), true, self.starts + 1);
                }
                Effect::Clean => {
                    assert_eq!(self.job, None, "two commands at once");
                    (self.job, self.process) = (Some(effect), false);
                }
                Effect::Signal => assert!(self.process, "nothing to signal"),
                Effect::Kill => assert!(self.process, "nothing to kill"),
                Effect::Abandon => assert!(self.job.take().is_some(), "nothing to abandon"),
                Effect::Tell(_) => {}
            }
        }
        if self.state.phase == Phase::Held || self.state.is_ended() {
            assert_eq!((self.job, self.process), (None, false), "something was forgotten");
        }
    }

    fn finish_job(&mut self, is_success: bool) {
        match self.job.take() {
            Some(Effect::Start) if is_success => {
                self.process = true;
                self.send(Event::Started);
            }
            Some(Effect::Start) => {
                self.last_end = Some(self.now);
                self.send(Event::StartFailed);
            }
            Some(_) => {
                self.is_dirty = false;
                self.send(Event::Cleaned);
            }
            None => {}
        }
    }

    fn end_process(&mut self, exit: Exit, oom_kills: u64) {
        if self.process {
            self.process = false;
            self.last_end = Some(self.now);
            self.send(Event::Exited { exit, oom_kills });
        }
    }

    /// Lets the next deadline pass. What is cleaned up too slowly counts as cleaned: there is no other way on.
    fn pass_deadline(&mut self) {
        if let Some(deadline) = self.state.deadline() {
            self.now = self.now.max(deadline);
            if self.state.is_starting() {
                self.last_end = Some(self.now);
            }
            if matches!(self.state.phase, Phase::Cleaning { .. }) {
                self.is_dirty = false;
            }
        }
        self.send(Event::Tick);
    }

    fn make(&mut self, step: Move) {
        match step {
            Move::Wait(ms) => {
                let limit = self.state.deadline().unwrap_or(Duration::MAX);
                self.now = (self.now + Duration::from_millis(ms.into())).min(limit.max(self.now));
                if self.now < limit {
                    self.send(Event::Tick);
                } else {
                    self.pass_deadline();
                }
            }
            Move::WaitForDeadline => self.pass_deadline(),
            Move::JobSucceeds => self.finish_job(true),
            Move::JobFails => self.finish_job(false),
            Move::ProcessEnds(code) => self.end_process(Exit::Code(code), 0),
            Move::OutOfMemory => self.end_process(Exit::Signal(9), 1),
            Move::Up([system, state, network, commit]) => {
                self.available.system |= system;
                self.available.state |= state;
                self.available.network |= network;
                self.available.commit |= commit;
                self.send(Event::Available(self.available));
            }
            Move::Stop => {
                self.is_stopped = true;
                self.send(Event::Stop);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_sequence_of_events_leads_to_a_senseless_effect(
        policy in policies(), steps in proptest::collection::vec(moves(), 0..80),
    ) {
        let mut world = World::new(policy);
        for step in steps {
            world.make(step);
        }
        let counted = world.state.starts + world.state.failed_starts;
        prop_assert!(counted <= world.starts && world.starts <= counted + 1);
    }

    #[test]
    fn after_a_stop_everything_ends_in_bounded_time_even_if_nothing_answers(
        policy in policies(), steps in proptest::collection::vec(moves(), 0..60),
    ) {
        let mut world = World::new(policy);
        for step in steps {
            world.make(step);
        }
        world.make(Move::Stop);
        let stop = world.now;
        for _ in 0..4 {
            world.make(Move::WaitForDeadline);
        }
        prop_assert!(world.state.is_ended(), "{:?}", world);
        let limit = policy.stop_limit.max(START_LIMIT) + KILL_LIMIT + CLEAN_LIMIT;
        prop_assert!(world.now <= stop + limit);
    }

    #[test]
    fn a_held_paused_or_passing_state_always_says_what_it_waits_for(
        policy in policies(), steps in proptest::collection::vec(moves(), 0..60),
    ) {
        let mut world = World::new(policy);
        for step in steps {
            world.make(step);
            let phase = world.state.phase;
            let is_waiting = matches!(phase, Phase::Held | Phase::Running { .. } | Phase::Ended);
            prop_assert_eq!(world.state.deadline().is_none(), is_waiting);
            if phase == Phase::Held {
                prop_assert!(!policy.is_met(world.available) || world.starts == 0);
            }
        }
    }
}
