//! Giving up root: what faces the network runs under its own user id, and everything with few capabilities.

use crate::ServiceError;
use rustix::thread::CapabilitySet;

pub use coracle_sandbox::{CLOCK_ID, NETWORK_ID};

/// What the control service and the updater, its child, keep: other users' ids for the updater's parts, the block devices'
/// caches, directories on `state`, the kernel log. Nothing of the network's set-up, of modules, of other processes' memory,
/// of the clock.
pub const UPDATER: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::SYS_ADMIN)
    .union(CapabilitySet::SYS_NICE)
    .union(CapabilitySet::SYS_RESOURCE)
    .union(CapabilitySet::SYSLOG);

/// Becomes user and group `id` with `keep` as the only capabilities, for good; see [`coracle_sandbox::drop_to`].
pub fn drop_to(id: u32, keep: CapabilitySet) -> Result<(), ServiceError> {
    coracle_sandbox::drop_to(id, keep).map_err(failed)
}

/// Stays root with `keep` as the only capabilities, for good; see [`coracle_sandbox::confine`].
pub fn confine(keep: CapabilitySet) -> Result<(), ServiceError> {
    coracle_sandbox::confine(keep).map_err(failed)
}

fn failed(kept: coracle_sandbox::Kept) -> ServiceError {
    ServiceError::System { action: kept.action, source: kept.source }
}
