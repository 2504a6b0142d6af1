//! The kernel's own file systems.

use crate::fault::{Attempt, Fault};
use nix::mount::{MsFlags, mount};

/// Target, type, flags, options.
type Mount = (&'static str, &'static str, MsFlags, Option<&'static str>);

fn mounts() -> [Mount; 4] {
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    [
        ("/dev", "devtmpfs", MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC, Some("mode=0755")),
        ("/proc", "proc", plain, None),
        ("/sys", "sysfs", plain, None),
        ("/run", "tmpfs", MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=0755")),
    ]
}

/// Mounts them where the root will find them after the switch.
pub(super) fn run() -> Result<(), Fault> {
    for (target, kind, flags, options) in mounts() {
        if let Err(error) = std::fs::create_dir(target)
            && error.kind() != std::io::ErrorKind::AlreadyExists
        {
            return Err(Fault::new("make", target, error));
        }
        match mount(Some(kind), target, Some(kind), flags, options) {
            // A kernel with CONFIG_DEVTMPFS_MOUNT has mounted /dev already.
            Ok(()) | Err(nix::Error::EBUSY) => {}
            Err(error) => return Err(error).attempt("mount", target),
        }
    }
    Ok(())
}
