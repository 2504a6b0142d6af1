//! A machine's memory, as a file without a name.

use crate::error::{Error, Kind, Result};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use std::{
    os::fd::{AsRawFd as _, OwnedFd},
    path::PathBuf,
    process,
};

/// Memory that outlives QEMU, so that what a kernel left in a reserved region is there when the next one starts, as on
/// a machine that was not switched off. It needs no room on any file system, and ends with this process.
#[derive(Debug)]
pub(super) struct Memory(OwnedFd);

impl Memory {
    /// Zeros.
    pub(super) fn new(mib: u32) -> Result<Self> {
        let make = || {
            let file = memfd_create("coracle-machine", MemfdFlags::CLOEXEC)?;
            ftruncate(&file, u64::from(mib) << 20)?;
            Ok(Self(file))
        };
        make().map_err(|errno: rustix::io::Errno| {
            let message = format!("cannot set {mib} MiB aside for the machine");
            Error::new(Kind::Machine, message).because(std::io::Error::from(errno))
        })
    }

    /// Where another process of this user opens it.
    pub(super) fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", process::id(), self.0.as_raw_fd()).into()
    }
}
