//! Giving up root: what faces the network runs under its own user id with the few capabilities it needs.

use crate::ServiceError;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, remove_capability_from_bounding_set, set_capabilities,
    set_keep_capabilities, set_no_new_privs,
};
use std::io;

/// User and group of the network service. No file in an image belongs to it and no container gets it by default.
pub const NETWORK_ID: u32 = 70_101;
/// User and group of the clock service.
pub const CLOCK_ID: u32 = 70_102;

/// Becomes user and group `id` with `keep` as the only capabilities, for good: no later program gains any. Without root
/// (a service tried by hand) only the last part is done.
pub fn drop_to(id: u32, keep: CapabilitySet) -> Result<(), ServiceError> {
    let failed = |action: &'static str| move |source: io::Error| ServiceError::System { action, source };
    set_no_new_privs(true).map_err(io::Error::from).map_err(failed("forbid new privileges"))?;
    if !Uid::effective().is_root() {
        return Ok(());
    }
    for capability in CapabilitySet::all().difference(keep).iter() {
        match remove_capability_from_bounding_set(capability) {
            // A capability that this kernel does not know cannot be gained either.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(failed("shrink the bounding set")(error.into())),
        }
    }
    set_keep_capabilities(true)
        .map_err(io::Error::from)
        .map_err(failed("keep capabilities over the change of user"))?;
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    setgroups(&[])
        .and_then(|()| setresgid(gid, gid, gid))
        .and_then(|()| setresuid(uid, uid, uid))
        .map_err(io::Error::from)
        .map_err(failed("become an unprivileged user"))?;
    let sets = CapabilitySets { effective: keep, permitted: keep, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).map_err(io::Error::from).map_err(failed("drop capabilities"))
}
