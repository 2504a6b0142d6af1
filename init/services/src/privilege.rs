//! Giving up root: what faces the network runs under its own user id with the few capabilities it needs.

use crate::ServiceError;
use rustix::thread::CapabilitySet;

pub use coracle_sandbox::{CLOCK_ID, NETWORK_ID};

/// Becomes user and group `id` with `keep` as the only capabilities, for good; see [`coracle_sandbox::drop_to`].
pub fn drop_to(id: u32, keep: CapabilitySet) -> Result<(), ServiceError> {
    coracle_sandbox::drop_to(id, keep)
        .map_err(|kept| ServiceError::System { action: kept.action, source: kept.source })
}
