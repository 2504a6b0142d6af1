//! Virtual time: what happens next, whoever it happens to.

use super::{
    device::{Device, Outcome, Surroundings},
    plan::{self, Character, Clock, Draws},
    publisher::Publisher,
    transfer::{Library, Server},
};
use anyhow::{Context as _, Result};
use coracle_format::version::Version;
use coracle_rollout::{MachineId, Seed, windows::Windows};
use std::{cmp::Reverse, collections::BinaryHeap, path::Path};

/// From arming to the verdict of the health checks: a restart, and a few minutes.
const RESTART: u64 = 240;

/// What the publisher does, at its time.
#[derive(Clone, Copy, Debug)]
enum Act {
    PublishSecond,
    Pause,
    Resume,
    PublishThird,
    Withdraw,
}

const ACTS: [(u64, Act); 5] = [
    (plan::SECOND_PUBLISHED, Act::PublishSecond),
    (plan::PAUSED, Act::Pause),
    (plan::RESUMED, Act::Resume),
    (plan::THIRD_PUBLISHED, Act::PublishThird),
    (plan::WITHDRAWN, Act::Withdraw),
];

/// What happens to a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Look,
    /// It has restarted into this release.
    Restarted(Version),
}

/// A restart into another release was armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Armed {
    pub(super) at: u64,
    /// The machine, by number.
    pub(super) machine: usize,
    /// What it ran.
    pub(super) from: Version,
    /// What it is to run.
    pub(super) to: Version,
    /// Whether it stayed there.
    pub(super) stayed: bool,
}

/// A machine when all is over.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) id: MachineId,
    pub(super) clock: Clock,
    pub(super) windows: Windows,
    pub(super) was_away: bool,
    pub(super) running: Version,
    pub(super) requests: u64,
    pub(super) metadata: u64,
    pub(super) bundles: u64,
    pub(super) idle: Option<(u64, u64)>,
}

/// Everything that happened.
#[derive(Clone, Debug)]
pub(super) struct Log {
    pub(super) armed: Vec<Armed>,
    pub(super) machines: Vec<Told>,
    pub(super) looks: u64,
    /// What puts machines in the order of each release.
    pub(super) seeds: Vec<(Version, Seed)>,
}

impl Log {
    /// The seed of a release.
    pub(super) fn seed(&self, version: Version) -> Option<Seed> {
        self.seeds.iter().find(|(known, _)| *known == version).map(|(_, seed)| *seed)
    }
}

/// Lets the plan happen to so many machines, with the repository in this directory.
pub(super) fn run(machines: u64, directory: &Path) -> Result<Log> {
    let mut publisher = Publisher::new(directory)?;
    publisher.publish(plan::START, plan::FIRST, Vec::new())?;
    let first = (plan::FIRST, publisher.release(plan::FIRST)?);
    let trusted_root = publisher.root_document();
    let server = Server::new(publisher.repository());
    let mut library = Library::default();
    let mut around = Surroundings { server: &server, library: &mut library, trusted_root: &trusted_root };
    let mut fleet: Vec<Device> = (0..machines).map(|number| device(number, first)).collect();

    let mut queue: BinaryHeap<Reverse<(u64, usize, Happening)>> = BinaryHeap::new();
    for (number, device) in fleet.iter_mut().enumerate() {
        // They were not all switched on at the same time.
        let first = plan::START + device.draws.between(0, super::device::POLL);
        queue.push(Reverse((first, number, Happening::Look)));
    }
    let mut acts = ACTS.into_iter().peekable();
    let mut refreshes = (1_u64..).map(|count| plan::START + count * plan::REFRESH).peekable();
    let mut log = Log { armed: Vec::new(), machines: Vec::new(), looks: 0, seeds: Vec::new() };
    while let Some(Reverse((now, number, happening))) = queue.pop() {
        if now >= plan::END {
            break;
        }
        while let Some((at, act)) = acts.next_if(|(at, _)| *at <= now) {
            while let Some(at_refresh) = refreshes.next_if(|refresh| *refresh <= at) {
                publisher.refresh(at_refresh)?;
            }
            apply(&mut publisher, at, act)?;
        }
        while let Some(at) = refreshes.next_if(|at| *at <= now) {
            publisher.refresh(at)?;
        }
        let device = fleet.get_mut(number).context("no such machine")?;
        match happening {
            Happening::Look => {
                log.looks += 1;
                let from = device.running();
                let (after, next) = match device.look(now, &mut around) {
                    Outcome::Later(after) | Outcome::Staging(after) => (after, Happening::Look),
                    Outcome::Armed(to) => {
                        let stayed = to != plan::THIRD || !device.character.third_fails;
                        log.armed.push(Armed { at: now, machine: number, from, to, stayed });
                        (RESTART, Happening::Restarted(to))
                    }
                };
                queue.push(Reverse((now + after, number, next)));
            }
            Happening::Restarted(into) => {
                device.restart(now, into != plan::THIRD || !device.character.third_fails);
                queue.push(Reverse((now + device.first_look(), number, Happening::Look)));
            }
        }
    }
    let releases = publisher.rollout()?.releases;
    log.seeds = releases.iter().map(|release| (release.version, release.seed)).collect();
    log.machines = fleet.iter().map(told).collect();
    Ok(log)
}

fn apply(publisher: &mut Publisher, now: u64, act: Act) -> Result<()> {
    match act {
        Act::PublishSecond => publisher.publish(now, plan::SECOND, plan::second_waves()),
        Act::Pause => publisher.pause(now, plan::SECOND),
        Act::Resume => publisher.resume(now, plan::SECOND),
        Act::PublishThird => publisher.publish(now, plan::THIRD, plan::third_waves()),
        Act::Withdraw => publisher.withdraw(now, plan::THIRD, plan::SECOND),
    }
}

fn device(number: u64, first: (Version, [u8; 32])) -> Device {
    let mut draws = Draws::new(number);
    let character = Character::of(&mut draws, number);
    Device::new(character, draws, first, plan::START)
}

fn told(device: &Device) -> Told {
    let traffic = device.traffic;
    Told {
        id: device.id,
        clock: device.character.clock,
        windows: device.character.windows.clone(),
        was_away: device.character.away.is_some(),
        running: device.running(),
        requests: traffic.requests,
        metadata: traffic.metadata,
        bundles: traffic.bundles,
        idle: device.idle,
    }
}
