use super::*;
use crate::{
    document::Wave,
    place::{EVERYBODY, Seed},
};
use proptest::prelude::*;

const NOON: u64 = 1_795_435_200;
const HOUR: u64 = 3600;

fn version(number: u64) -> Version {
    Version::from_u64(number << 48)
}

fn offered(number: u64, state: State, waves: &[(u16, u64)]) -> Offered {
    Offered {
        version: version(number),
        target: format!("shop-x86_64-{number}.0.0.bundle"),
        state,
        minimum: None,
        waves: waves.iter().map(|(share, start)| Wave { share: *share, start: *start }).collect(),
        seed: Seed([u8::try_from(number).unwrap(); 16]),
    }
}

fn rollout(releases: Vec<Offered>) -> Rollout {
    Rollout { channel: "stable".to_owned(), image: "shop".to_owned(), arch: Arch::X86_64, releases }
}

fn machine(running: u64) -> Machine {
    let release = |number: u64| [u8::try_from(number).unwrap(); 32];
    let vouched = |number: u64| Vouched {
        length: 1 << 20,
        sha256: [0; 32],
        index_length: 100,
        index_sha256: [0; 32],
        id: release(number),
        release: Release {
            name: "shop".to_owned(),
            arch: Arch::X86_64,
            version: version(number),
            epoch: 0,
            released: 0,
            replaces: None,
        },
        deltas: Vec::new(),
    };
    Machine {
        id: MachineId([9; 16]),
        channel: "stable".to_owned(),
        image: "shop".to_owned(),
        arch: Arch::X86_64,
        running: version(running),
        release: release(running),
        held: false,
        version_floor: version(running),
        epoch_floor: 0,
        blocked: Vec::new(),
        vouched: (0..10).map(vouched).collect(),
    }
}

const fn at(signed: u64) -> Times {
    Times { signed, since: 0, clock: None, waves: Waves::Observed }
}

fn take(number: u64) -> Decision {
    Decision::Take { version: version(number), target: format!("shop-x86_64-{number}.0.0.bundle") }
}

fn leave(number: u64) -> Decision {
    Decision::Leave { version: version(number), target: format!("shop-x86_64-{number}.0.0.bundle") }
}

fn nothing(why: Reason) -> Decision {
    Decision::Nothing { why }
}

#[test]
fn the_newest_release_that_is_open_is_taken() {
    let channel = rollout(vec![
        offered(1, State::Active, &[]),
        offered(2, State::Active, &[]),
        offered(3, State::Active, &[(EVERYBODY, NOON)]),
    ]);
    assert_eq!(decide(&channel, &machine(1), &at(NOON - 1)), take(2));
    assert_eq!(decide(&channel, &machine(1), &at(NOON)), take(3));
    assert_eq!(decide(&channel, &machine(3), &at(NOON)), Decision::UpToDate);
    assert_eq!(decide(&channel, &machine(4), &at(NOON)), Decision::UpToDate);
    let waiting = Decision::Waiting { version: version(3), opens: Some(NOON), why: Wait::Wave };
    assert_eq!(decide(&channel, &machine(2), &at(NOON - 1)), waiting);
}

#[test]
fn no_clock_opens_a_wave() {
    let channel = rollout(vec![offered(2, State::Active, &[(EVERYBODY, NOON)])]);
    for clock in [None, Some(0), Some(NOON + 1), Some(u64::MAX)] {
        let times = Times { clock, since: u64::MAX, ..at(NOON - 1) };
        assert!(matches!(decide(&channel, &machine(1), &times), Decision::Waiting { .. }), "{clock:?}");
        let times = Times { clock, ..at(NOON) };
        assert_eq!(
            decide(&channel, &machine(1), &times),
            take(2),
            "a clock holds nothing up either: {clock:?}"
        );
    }
}

#[test]
fn a_machine_in_no_wave_waits_for_one() {
    let mine = Seed([2; 16]).place(MachineId([9; 16]));
    let channel = |share| rollout(vec![offered(2, State::Active, &[(share, NOON)])]);
    let waiting = Decision::Waiting { version: version(2), opens: None, why: Wait::FurtherWave };
    assert_eq!(decide(&channel(mine), &machine(1), &at(NOON)), waiting);
    assert_eq!(decide(&channel(mine + 1), &machine(1), &at(NOON)), take(2));
}

#[test]
fn somebody_who_asks_does_not_wait_for_waves_but_nothing_else_gives_way() {
    let asked = Times { waves: Waves::Ignored, ..at(0) };
    let channel = |state| rollout(vec![offered(2, state, &[(1, NOON)])]);
    assert_eq!(decide(&channel(State::Active), &machine(1), &asked), take(2));
    assert_eq!(
        decide(&channel(State::Paused), &machine(1), &asked),
        Decision::Paused { version: version(2) }
    );
    assert_eq!(decide(&channel(State::Withdrawn { instead: None }), &machine(1), &asked), Decision::UpToDate);
    let held = Machine { held: true, ..machine(1) };
    assert_eq!(decide(&channel(State::Active), &held, &asked), Decision::Held);
}

#[test]
fn a_paused_release_does_not_hold_up_an_older_one() {
    let channel = rollout(vec![offered(2, State::Active, &[]), offered(3, State::Paused, &[])]);
    assert_eq!(decide(&channel, &machine(1), &at(NOON)), take(2));
    assert_eq!(decide(&channel, &machine(2), &at(NOON)), Decision::Paused { version: version(3) });
}

#[test]
fn a_release_with_a_minimum_is_reached_over_a_stepping_stone() {
    let third = Offered { minimum: Some(version(2)), ..offered(3, State::Active, &[]) };
    let channel = rollout(vec![offered(2, State::Active, &[]), third.clone()]);
    assert_eq!(decide(&channel, &machine(1), &at(NOON)), take(2));
    assert_eq!(decide(&channel, &machine(2), &at(NOON)), take(3));
    let needs = Reason::NeedsStep { version: version(3), minimum: version(2) };
    assert_eq!(decide(&rollout(vec![third]), &machine(1), &at(NOON)), nothing(needs));
}

#[test]
fn what_failed_here_is_not_offered_again_but_what_follows_it_is() {
    let blocked = Machine { blocked: vec![[3; 32]], ..machine(2) };
    let mut channel = rollout(vec![offered(2, State::Active, &[]), offered(3, State::Active, &[])]);
    assert_eq!(decide(&channel, &blocked, &at(NOON)), nothing(Reason::Blocked(version(3))));
    channel.releases.push(offered(4, State::Active, &[]));
    assert_eq!(decide(&channel, &blocked, &at(NOON)), take(4));
}

#[test]
fn what_the_targets_do_not_vouch_for_is_not_taken() {
    let channel = rollout(vec![offered(2, State::Active, &[])]);
    let none = Machine { vouched: Vec::new(), ..machine(1) };
    assert_eq!(decide(&channel, &none, &at(NOON)), nothing(Reason::NotVouched(version(2))));
    let mut others = machine(1);
    others.vouched.iter_mut().for_each(|vouched| vouched.release.name = "till".to_owned());
    assert_eq!(decide(&channel, &others, &at(NOON)), nothing(Reason::NotVouched(version(2))));
    // A channel that calls an old bundle a new version.
    let mut renamed = channel.clone();
    renamed.releases[0].target = "shop-x86_64-1.0.0.bundle".to_owned();
    assert_eq!(decide(&renamed, &machine(1), &at(NOON)), nothing(Reason::NotVouched(version(2))));
}

#[test]
fn floors_of_epoch_and_version_hold() {
    let channel = rollout(vec![offered(2, State::Active, &[])]);
    let later = Machine { epoch_floor: 1, ..machine(1) };
    assert_eq!(decide(&channel, &later, &at(NOON)), nothing(Reason::LowerEpoch(version(2))));
    // Back from 3 to 1 by hand, and released from the hold: 2 is newer than what runs, and older than what has run.
    let mut been = Machine { version_floor: version(3), ..machine(1) };
    assert_eq!(decide(&channel, &been, &at(NOON)), nothing(Reason::Older(version(2))));
    been.vouched[2].release.replaces = Some(version(2));
    assert_eq!(
        decide(&channel, &been, &at(NOON)),
        nothing(Reason::Older(version(2))),
        "an exception for less"
    );
    been.vouched[2].release.replaces = Some(version(4));
    assert_eq!(decide(&channel, &been, &at(NOON)), take(2));
}

#[test]
fn a_machine_that_runs_a_withdrawn_release_stays_unless_another_is_named() {
    let channel = |instead| {
        rollout(vec![
            offered(2, State::Active, &[(1, u64::MAX)]),
            offered(3, State::Withdrawn { instead }, &[]),
        ])
    };
    assert_eq!(decide(&channel(None), &machine(3), &at(NOON)), nothing(Reason::RunsWithdrawn(version(3))));
    let mut excepted = machine(3);
    assert_eq!(decide(&channel(Some(version(2))), &excepted, &at(NOON)), nothing(Reason::Older(version(2))));
    excepted.vouched[2].release.replaces = Some(version(3));
    assert_eq!(decide(&channel(Some(version(2))), &excepted, &at(NOON)), leave(2), "waves do not count");
    assert_eq!(decide(&channel(None), &excepted, &at(NOON)), nothing(Reason::RunsWithdrawn(version(3))));
    // Another build that calls itself 3 is not the release that was withdrawn.
    let other = Machine { release: [33; 32], ..excepted };
    assert_eq!(decide(&channel(Some(version(2))), &other, &at(NOON)), Decision::UpToDate);
}

#[test]
fn a_machine_leaves_for_what_is_newer_if_that_is_open_to_it() {
    let withdrawn = State::Withdrawn { instead: Some(version(4)) };
    let mut channel = rollout(vec![
        offered(3, withdrawn, &[]),
        offered(4, State::Active, &[(EVERYBODY, NOON)]),
        offered(5, State::Active, &[(EVERYBODY, NOON)]),
    ]);
    assert_eq!(decide(&channel, &machine(3), &at(NOON - 1)), leave(4));
    assert_eq!(decide(&channel, &machine(3), &at(NOON)), take(5));
    channel.releases[1].state = State::Paused;
    let waiting = Decision::Waiting { version: version(5), opens: Some(NOON), why: Wait::Wave };
    assert_eq!(decide(&channel, &machine(3), &at(NOON - 1)), waiting, "a pause wins over the order to leave");
}

#[test]
fn a_document_of_another_channel_image_or_architecture_is_not_for_this_machine() {
    let channel = rollout(vec![offered(2, State::Active, &[])]);
    for other in [
        Rollout { channel: "beta".to_owned(), ..channel.clone() },
        Rollout { image: "till".to_owned(), ..channel.clone() },
        Rollout { arch: Arch::Aarch64, ..channel },
    ] {
        assert_eq!(decide(&other, &machine(1), &at(NOON)), nothing(Reason::OtherImage));
    }
}

#[test]
fn a_clock_that_is_behind_what_was_signed_is_not_believed() {
    let times = |clock| Times { signed: NOON, since: HOUR, clock, waves: Waves::Observed };
    assert_eq!(times(None).windows(), NOON + HOUR);
    assert_eq!(times(Some(978_307_200)).windows(), NOON + HOUR);
    assert_eq!(times(Some(NOON + 2 * HOUR)).windows(), NOON + 2 * HOUR);
    assert_eq!(times(None).now(), None, "an unset clock lets nothing expire");
    assert_eq!(times(Some(978_307_200)).now(), Some(NOON + HOUR));
}

fn waves() -> impl Strategy<Value = Vec<(u16, u64)>> {
    (prop::collection::btree_set(1..=EVERYBODY, 0..5), prop::collection::vec(0..1_000_u64, 5)).prop_map(
        |(shares, steps)| {
            let starts = steps.into_iter().scan(0, |sum, step| {
                *sum += step;
                Some(*sum)
            });
            shares.into_iter().zip(starts).collect()
        },
    )
}

fn any_state() -> impl Strategy<Value = State> {
    prop_oneof![3 => Just(State::Active), 1 => Just(State::Paused), 1 => Just(State::Withdrawn { instead: None })]
}

fn any_rollout() -> impl Strategy<Value = Rollout> {
    prop::collection::vec((any_state(), waves(), prop::option::of(1..6_u64)), 5).prop_map(|releases| {
        let release = |(number, (state, waves, minimum)): (u64, (State, Vec<_>, Option<u64>))| Offered {
            minimum: minimum.map(version),
            ..offered(number, state, &waves)
        };
        rollout((1..).zip(releases).map(release).collect())
    })
}

/// The version that a decision leads to, 0 if to none.
fn taken(decision: &Decision) -> Version {
    match decision {
        Decision::Take { version, .. } | Decision::Leave { version, .. } => *version,
        Decision::UpToDate
        | Decision::Held
        | Decision::Waiting { .. }
        | Decision::Paused { .. }
        | Decision::Nothing { .. } => Version::default(),
    }
}

proptest! {
    #[test]
    fn time_only_ever_opens(channel in any_rollout(), id: [u8; 16], early in 0..5000_u64, later in 0..5000_u64) {
        let machine = Machine { id: MachineId(id), ..machine(1) };
        let before = taken(&decide(&channel, &machine, &at(early)));
        prop_assert!(before <= taken(&decide(&channel, &machine, &at(early + later))));
    }

    #[test]
    fn only_a_newer_active_release_whose_wave_is_open_is_taken(
        channel in any_rollout(), id: [u8; 16], running in 0..6_u64, signed in 0..5000_u64,
    ) {
        let machine = Machine { id: MachineId(id), ..machine(running) };
        if let Decision::Take { version: taken, target } = decide(&channel, &machine, &at(signed)) {
            let release = channel.release(taken).unwrap();
            prop_assert!(taken > version(running) && release.target == target);
            prop_assert_eq!(release.state, State::Active);
            prop_assert!(release.minimum.is_none_or(|minimum| minimum <= version(running)));
            let place = release.seed.place(machine.id);
            let is_open = |wave: &Wave| place < wave.share && wave.start <= signed;
            prop_assert!(release.waves.is_empty() || release.waves.iter().any(is_open));
        }
    }

    #[test]
    fn a_machine_that_waits_takes_that_release_when_it_opens(channel in any_rollout(), id: [u8; 16], signed in 0..5000_u64) {
        let machine = Machine { id: MachineId(id), ..machine(1) };
        if let Decision::Waiting { version, opens: Some(opens), .. } = decide(&channel, &machine, &at(signed)) {
            prop_assert!(opens > signed);
            prop_assert!(taken(&decide(&channel, &machine, &at(opens))) >= version);
            prop_assert!(taken(&decide(&channel, &machine, &at(opens - 1))) < version);
        }
    }

    #[test]
    fn a_pause_always_wins(channel in any_rollout(), id: [u8; 16], ignored: bool, signed: u64) {
        let mut channel = channel;
        channel.releases.iter_mut().for_each(|release| release.state = State::Paused);
        let waves = if ignored { Waves::Ignored } else { Waves::Observed };
        let machine = Machine { id: MachineId(id), ..machine(1) };
        prop_assert_eq!(taken(&decide(&channel, &machine, &Times { waves, ..at(signed) })), Version::default());
    }

    #[test]
    fn a_wave_is_its_share_of_the_places(share in 1..=EVERYBODY, seed: [u8; 16]) {
        let mut channel = rollout(vec![offered(2, State::Active, &[(share, 0)])]);
        channel.releases[0].seed = Seed(seed);
        let machines = (0..2000_u16).map(|number| {
            let mut id = [0; 16];
            id[..2].copy_from_slice(&number.to_le_bytes());
            Machine { id: MachineId(id), vouched: machine(1).vouched, ..machine(1) }
        });
        let count = machines.filter(|machine| taken(&decide(&channel, machine, &at(0))) == version(2)).count();
        // Six standard deviations of a draw of 2000.
        let (count, expected) = (i64::try_from(count).unwrap(), i64::from(share) / 5);
        prop_assert!((count - expected).abs() <= 136, "{} of 2000 are in a wave of {}", count, share);
    }
}
