//! What a channel offers, and when a machine may restart.

use super::ignore;
use coracle_format::{slot::Arch, version::Version};
use coracle_rollout::{
    Machine, MachineId, Offered, Rollout, Seed, State, Times, Wave, Waves, decide,
    windows::{Window, Windows},
};

const MONDAY: u64 = 1_795_392_000;

/// A rollout document, and what a machine makes of it.
pub(super) fn rollout(data: &[u8]) {
    let Ok(rollout) = Rollout::parse(data) else {
        return;
    };
    let again = rollout.encode().and_then(|bytes| Rollout::parse(&bytes));
    assert_eq!(again.as_ref(), Ok(&rollout), "a document means the same when it is written again");
    for running in rollout.releases.iter().map(|release| release.version).chain([Version::default()]) {
        let machine = Machine {
            id: MachineId([5; 16]),
            channel: rollout.channel.clone(),
            image: rollout.image.clone(),
            arch: rollout.arch,
            running,
            release: [1; 32],
            held: false,
            version_floor: running,
            epoch_floor: 0,
            blocked: Vec::new(),
            vouched: Vec::new(),
        };
        let times = Times { signed: MONDAY, since: u64::MAX, clock: None, waves: Waves::Observed };
        ignore(decide(&rollout, &machine, &times));
    }
}

pub(super) fn rollout_seeds() -> Vec<Vec<u8>> {
    let version = |major: u64| Version::from_u64(major << 48);
    let release = |major, state| Offered {
        version: version(major),
        target: format!("shop-x86_64-{major}.0.0.bundle"),
        state,
        minimum: Some(version(1)),
        waves: vec![Wave { share: 100, start: MONDAY }, Wave { share: 10_000, start: MONDAY + 3600 }],
        seed: Seed([3; 16]),
    };
    let rollout = Rollout {
        channel: "stable".to_owned(),
        image: "shop".to_owned(),
        arch: Arch::X86_64,
        releases: vec![
            release(1, State::Active),
            release(2, State::Paused),
            release(3, State::Withdrawn { instead: Some(version(1)) }),
        ],
    };
    rollout.encode().into_iter().collect()
}

/// Windows, a line each.
pub(super) fn window(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let lines: Vec<&str> = text.lines().collect();
    ignore(Windows::parse(&lines).map(|windows| (windows.at(MONDAY), windows.at(0), windows.at(u64::MAX))));
    if let Ok(window) = Window::parse(text) {
        assert_eq!(
            Window::parse(&window.to_string()),
            Ok(window),
            "a window means the same when it is written again"
        );
    }
}

pub(super) fn window_seeds() -> Vec<Vec<u8>> {
    let lines = ["Sat,Sun 02:00-05:00", "daily 03:00-04:00", "Fri-Mon 22:30-24:00", "Wed 23:00-01:00"];
    lines.iter().map(|line| line.as_bytes().to_vec()).chain([lines.join("\n").into_bytes()]).collect()
}
