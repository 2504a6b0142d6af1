//! What must be true of every rollout, checked against what happened and not against what any machine believed.

use super::{
    plan::{self, Clock},
    simulation::{Armed, Log, Told},
};
use coracle_format::version::Version;
use coracle_rollout::windows::Opening;

/// What is not as it must be, a sentence each.
pub(super) fn broken(log: &Log) -> Vec<String> {
    let mut out: Vec<String> = log.armed.iter().filter_map(|armed| wrong(log, armed)).collect();
    let stuck = log.machines.iter().filter(|machine| machine.running != plan::SECOND).count();
    if stuck > 0 {
        out.push(format!("{stuck} machines do not run {} in the end", plan::SECOND));
    }
    out
}

/// What is wrong with a restart.
fn wrong(log: &Log, armed: &Armed) -> Option<String> {
    let machine = log.machines.get(armed.machine)?;
    let found = |what: &str| Some(format!("machine {} {what}, at {}", armed.machine, hours(armed.at)));
    let times =
        log.armed.iter().filter(|other| (other.machine, other.to) == (armed.machine, armed.to)).count();
    if armed.to == plan::THIRD && times > 1 {
        return found("has taken the third release twice");
    }
    let late = (plan::WITHDRAWN..).contains(&armed.at);
    let is_back = armed.from == plan::THIRD && armed.to == plan::SECOND;
    if is_back && !late {
        return found("has left the third release before it was withdrawn");
    }
    if armed.to == plan::THIRD && late {
        return found("has taken the third release after it was withdrawn");
    }
    if armed.to == plan::SECOND && (plan::PAUSED..plan::RESUMED).contains(&armed.at) {
        return found("has taken the second release while it was paused");
    }
    if !is_back && wave(log, machine, armed.to).is_none_or(|start| armed.at < start) {
        return found("has taken a release before its wave");
    }
    if !is_in_window(machine, armed.at) {
        return found("has restarted outside of its windows");
    }
    None
}

/// When the machine's wave of a release starts, if it is in one.
pub(super) fn wave(log: &Log, machine: &Told, version: Version) -> Option<u64> {
    let waves = match version {
        plan::SECOND => plan::second_waves(),
        plan::THIRD => plan::third_waves(),
        _ => return None,
    };
    let place = log.seed(version)?.place(machine.id);
    waves.into_iter().find(|wave| place < wave.share).map(|wave| wave.start)
}

/// Whether the machine may restart at that time. One that has no right clock knows the time from the newest timestamp
/// only, and may be behind by as much as that was old when it came.
fn is_in_window(machine: &Told, at: u64) -> bool {
    let open = |at: u64| machine.windows.at(at) == Opening::Open;
    match machine.clock {
        Clock::Right | Clock::Future => open(at),
        Clock::Unset | Clock::Past => (0..=plan::REFRESH / 60).any(|behind| open(at - behind * 60)),
    }
}

/// A time as days and hours from the start.
pub(super) fn hours(at: u64) -> String {
    let passed = at.saturating_sub(plan::START);
    format!("day {} {:02}:{:02}", passed / plan::DAY, passed / plan::HOUR % 24, passed / 60 % 60)
}
