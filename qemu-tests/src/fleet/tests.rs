use super::{
    claims,
    plan::{self, Clock},
    report,
    simulation::{self, Armed, Log},
};
use std::sync::LazyLock;

/// One run for all of them.
static LOG: LazyLock<Log> = LazyLock::new(|| {
    let directory = tempfile::tempdir().unwrap();
    simulation::run(300, directory.path()).unwrap()
});

#[test]
fn no_machine_is_early_paused_or_outside_its_window_and_all_get_there() {
    assert_eq!(claims::broken(&LOG), Vec::<String>::new());
}

#[test]
fn every_wave_moves_its_share_of_the_fleet_and_the_pause_stops_it() {
    let second = |at| report::running(&LOG, at, plan::SECOND);
    let [first, tenth, half, all] = plan::second_waves().try_into().unwrap();
    let places = |share: u16| {
        let in_wave = |machine: &&simulation::Told| LOG.seed(plan::SECOND).unwrap().place(machine.id) < share;
        LOG.machines.iter().filter(in_wave).count()
    };
    assert_eq!(second(first.start), 0);
    assert!(second(tenth.start) <= places(first.share));
    assert!((1..=places(tenth.share)).contains(&second(half.start)));
    assert!(second(plan::PAUSED) > second(half.start), "the third wave has begun");
    // Restarts that were armed before the pause are not called back.
    assert_eq!(second(plan::PAUSED), second(plan::RESUMED));
    assert!(second(all.start) > second(plan::RESUMED), "the third wave goes on");
    assert!(second(all.start) <= places(half.share));
    assert_eq!(second(plan::END), LOG.machines.len());
}

#[test]
fn a_clock_that_is_wrong_delays_and_loses_nothing() {
    let armed = |clock: Clock| {
        let of = move |armed: &&Armed| LOG.machines[armed.machine].clock == clock && armed.to == plan::SECOND;
        LOG.armed.iter().filter(of).map(|armed| armed.at)
    };
    // What is signed has expired for those who think it is 2099, until somebody sets their clocks right.
    assert!(armed(Clock::Future).min().unwrap() >= plan::MENDED);
    assert!(armed(Clock::Future).count() >= 10);
    // In 2001 nothing has expired, and waves open by what is signed.
    assert!(armed(Clock::Past).min().unwrap() < plan::MENDED);
    assert!(armed(Clock::Unset).min().unwrap() < plan::MENDED);
}

#[test]
fn a_bad_release_reaches_its_first_wave_only_and_is_left_again() {
    let third: Vec<_> = LOG.armed.iter().filter(|armed| armed.to == plan::THIRD).collect();
    assert!(!third.is_empty() && third.len() <= LOG.machines.len() / 20, "{}", third.len());
    assert_eq!(report::running(&LOG, plan::END, plan::THIRD), 0);
    let back = LOG.armed.iter().filter(|armed| armed.from == plan::THIRD).count();
    assert_eq!(back, third.iter().filter(|armed| armed.stayed).count());
}

#[test]
fn a_look_that_finds_nothing_new_takes_less_than_a_kilobyte() {
    let most = LOG.machines.iter().filter_map(|machine| machine.idle).map(|(_, most)| most).max();
    assert!((1..=1000).contains(&most.unwrap()), "{most:?}");
}

#[test]
fn what_goes_wrong_is_noticed() {
    let index = LOG.armed.iter().position(|armed| armed.to == plan::SECOND).unwrap();
    let machine = LOG.armed[index].machine;
    for (at, what) in [
        (claims::wave(&LOG, &LOG.machines[machine], plan::SECOND).unwrap() - 1, "before its wave"),
        (plan::PAUSED, "while it was paused"),
    ] {
        let mut log = LOG.clone();
        log.armed[index].at = at;
        let broken = claims::broken(&log);
        assert!(matches!(&broken[..], [only] if only.contains(what)), "{broken:?}");
    }
    let mut log = LOG.clone();
    log.machines[0].running = plan::FIRST;
    assert_eq!(claims::broken(&log), ["1 machines do not run 2.0.0 in the end"]);
    let windowed = LOG.armed.iter().position(|armed| {
        let machine = &LOG.machines[armed.machine];
        machine.clock == Clock::Right && machine.windows.iter().next().is_some()
    });
    log = LOG.clone();
    log.armed[windowed.unwrap()].at = plan::START + 7 * plan::DAY + 11 * plan::HOUR;
    let broken = claims::broken(&log);
    assert!(matches!(&broken[..], [only] if only.contains("outside of its windows")), "{broken:?}");
}
