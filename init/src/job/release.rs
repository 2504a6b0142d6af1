//! The last job: the state file system is left clean.

use super::identity;
use super::state::MOUNT_POINT;
use crate::fault::{Attempt, Fault};
use crate::kmsg::{self, Level};
use nix::mount::{MsFlags, mount, umount};
use nix::unistd::sync;
use std::os::unix::fs::MetadataExt;

/// Saves a seed, syncs, unmounts; where something still holds the file system it is made read-only.
pub(super) fn run() -> Result<(), Fault> {
    let device = |path: &str| std::fs::metadata(path).map(|metadata| metadata.dev());
    let mounted =
        device(MOUNT_POINT).attempt("look at", MOUNT_POINT)? != device("/").attempt("look at", "/")?;
    if !mounted {
        sync();
        return Ok(());
    }
    if let Err(fault) = identity::save_seed() {
        kmsg::log(Level::Warning, &fault.line());
    }
    sync();
    match umount(MOUNT_POINT) {
        Ok(()) => Ok(()),
        Err(nix::Error::EBUSY) => {
            let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
            mount(None::<&str>, MOUNT_POINT, None::<&str>, flags, None::<&str>)
                .attempt("make read-only", MOUNT_POINT)
        }
        Err(error) => Err(Fault::new("unmount", MOUNT_POINT, error)),
    }
}
