//! Giving up rights for good: what faces the outside runs with the least that it needs.
//!
//! Every function holds for the calling process and all it will start, and cannot be taken back.
#![forbid(unsafe_code)]

mod files;

pub use files::{Confined, only_read};

use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, remove_capability_from_bounding_set, set_capabilities,
    set_keep_capabilities, set_no_new_privs,
};
use std::fmt;
use std::io;

pub use rustix::thread::CapabilitySet as Capabilities;

/// User and group of the network service. No file in an image belongs to one of these, and no container gets one by
/// default.
pub const NETWORK_ID: u32 = 70_101;
/// User and group of the clock service.
pub const CLOCK_ID: u32 = 70_102;
/// User and group of the part of the updater that speaks to the network.
pub const FETCH_ID: u32 = 70_103;

/// A right that could not be given up. The program must not go on.
#[derive(Debug)]
pub struct Kept {
    /// What was attempted, an infinitive.
    pub action: &'static str,
    /// Why it failed.
    pub source: io::Error,
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}", self.action)
    }
}

impl std::error::Error for Kept {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

fn kept<E: Into<io::Error>>(action: &'static str) -> impl Fn(E) -> Kept {
    move |error| Kept { action, source: error.into() }
}

/// Becomes user and group `id` with `keep` as the only capabilities: no later program gains any. Without root (a program
/// tried by hand) only the last part is done.
pub fn drop_to(id: u32, keep: CapabilitySet) -> Result<(), Kept> {
    set_no_new_privs(true).map_err(kept("forbid new privileges"))?;
    if !Uid::effective().is_root() {
        return Ok(());
    }
    shrink_bounding_set(keep)?;
    set_keep_capabilities(true).map_err(kept("keep capabilities over the change of user"))?;
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    setgroups(&[])
        .and_then(|()| setresgid(gid, gid, gid))
        .and_then(|()| setresuid(uid, uid, uid))
        .map_err(kept("become an unprivileged user"))?;
    let sets = CapabilitySets { effective: keep, permitted: keep, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).map_err(kept("drop capabilities"))
}

/// Stays root, with `keep` as the only capabilities; so does every program it starts. Without root (a program tried by hand)
/// only new privileges are forbidden.
pub fn confine(keep: CapabilitySet) -> Result<(), Kept> {
    set_no_new_privs(true).map_err(kept("forbid new privileges"))?;
    if !Uid::effective().is_root() {
        return Ok(());
    }
    shrink_bounding_set(keep)?;
    let sets = CapabilitySets { effective: keep, permitted: keep, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).map_err(kept("drop capabilities"))
}

fn shrink_bounding_set(keep: CapabilitySet) -> Result<(), Kept> {
    for capability in CapabilitySet::all().difference(keep).iter() {
        match remove_capability_from_bounding_set(capability) {
            // A capability that this kernel does not know cannot be gained either.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(kept("shrink the bounding set")(error)),
        }
    }
    Ok(())
}

/// The process cannot make a file grow, and opens `descriptors` at most at a time. Without capabilities it cannot raise
/// these limits again.
pub fn limit(descriptors: u64) -> Result<(), Kept> {
    let at_most = |most| Rlimit { current: Some(most), maximum: Some(most) };
    setrlimit(Resource::Nofile, at_most(descriptors)).map_err(kept("limit the number of descriptors"))?;
    setrlimit(Resource::Fsize, at_most(0)).map_err(kept("forbid the growth of files"))?;
    setrlimit(Resource::Core, at_most(0)).map_err(kept("forbid core dumps"))
}
