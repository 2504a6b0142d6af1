//! The end of a machine's run: reboot or power off, and what happens when a boot fails.

use crate::fault::Fault;
use crate::kmsg::{self, Level};
use crate::phase::Failed;
use crate::sys::spawn::{Program, spawn};
use crate::sys::wait;
use coracle_format::device::OnFailure;
use nix::sys::reboot::{RebootMode, reboot};

/// How long a failing machine waits for its disks.
const SYNC_MS: u64 = 10_000;
/// How long a message stays on the screen when no policy is known yet.
const UNKNOWN_POLICY_MS: u64 = 10_000;
const RETRY_MS: u64 = 60_000;

/// How the machine stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It starts again.
    Reboot,
    /// It stays off.
    PowerOff,
}

impl Stop {
    /// The word for the log.
    pub const fn doing(self) -> &'static str {
        match self {
            Self::Reboot => "rebooting",
            Self::PowerOff => "powering off",
        }
    }

    const fn mode(self) -> RebootMode {
        match self {
            Self::Reboot => RebootMode::RB_AUTOBOOT,
            Self::PowerOff => RebootMode::RB_POWER_OFF,
        }
    }
}

impl From<OnFailure> for Stop {
    fn from(policy: OnFailure) -> Self {
        match policy {
            OnFailure::Reboot => Self::Reboot,
            OnFailure::PowerOff => Self::PowerOff,
        }
    }
}

/// Stops the machine at once. Nothing is synced here. If the kernel refuses it is asked again, for ever.
pub fn now(stop: Stop) -> ! {
    loop {
        let Err(error) = reboot(stop.mode());
        kmsg::log(Level::Error, &format!("{} failed: {error}", stop.doing()));
        wait::pause(RETRY_MS);
    }
}

/// Ends a boot whose needed phase failed: reports, syncs within a bound, then does what the policy says. Without a
/// policy (no configuration was read) it reboots after ten seconds.
pub fn fail(failed: &Failed, policy: Option<OnFailure>) -> ! {
    let stop = policy.map_or(Stop::Reboot, Stop::from);
    let line = format!("boot failed in phase {}: {}; {}", failed.phase, failed.fault.line(), stop.doing());
    kmsg::log(Level::Error, &line);
    if let Err(fault) = sync_within(SYNC_MS) {
        kmsg::log(Level::Error, &fault.line());
    }
    if policy.is_none() {
        wait::pause(UNKNOWN_POLICY_MS);
    }
    now(stop)
}

/// Syncs in a child, so that a disk that hangs cannot hang PID 1.
fn sync_within(milliseconds: u64) -> Result<(), Fault> {
    let pid = spawn(Program {
        path: "/proc/self/exe",
        arguments: &["coracle-init", "job", "sync"],
        pass: None,
        output: None,
    })?;
    match wait::child(pid, milliseconds)? {
        wait::Ended::Status(0) => Ok(()),
        ended @ (wait::Ended::Status(_) | wait::Ended::Signal(_) | wait::Ended::Deadline) => {
            Err(Fault::new("sync", "the disks", ended.to_string()))
        }
    }
}

/// Reports a panic of ours. One of PID 1 becomes a panic of the kernel, which keeps the log and reboots. There is no known
/// way to get here.
pub fn report_panics() {
    std::panic::set_hook(Box::new(|panic| kmsg::log(Level::Error, &panic.to_string())));
}
