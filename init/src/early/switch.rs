//! From the initramfs to the root.

use super::verity::ROOT;
use crate::fault::{Attempt, Fault};
use crate::kmsg::{self, now_ms};
use crate::sys::watchdog::Watchdog;
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{FsType, TMPFS_MAGIC, statfs};
use nix::unistd::{chdir, chroot, execve};
use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const INIT: &CStr = c"/usr/bin/coracle-init";
/// The kernel's number for the simplest file system in memory.
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);
/// Deeper directories than an initramfs has are left where they are.
const DEPTH_MAX: u32 = 16;

/// Moves the mounts, frees the initramfs' memory, and becomes the root's init.
pub(super) fn to_root(watchdog: Option<&Watchdog>) -> Result<Infallible, Fault> {
    let begun = now_ms();
    for target in ["/dev", "/proc", "/sys", "/run"] {
        let to = format!("{ROOT}{target}");
        mount(Some(target), to.as_str(), None::<&str>, MsFlags::MS_MOVE, None::<&str>)
            .attempt("move to the root", target)?;
    }
    free_initramfs();
    chdir(ROOT).attempt("enter", ROOT)?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>).attempt("move", ROOT)?;
    chroot(".").attempt("make a root of", ROOT)?;
    chdir("/").attempt("enter", "/")?;
    let mut environment = vec![c"PATH=/usr/sbin:/usr/bin".to_owned()];
    if let Some(watchdog) = watchdog {
        environment.push(CString::new(watchdog.hand_over()?).attempt("hand over", "the watchdog")?);
    }
    let now = now_ms();
    kmsg::log(kmsg::Level::Notice, &kmsg::phase_ok("switch-root", now.saturating_sub(begun), now));
    execve(INIT, &[INIT], &environment).attempt("start", "/usr/bin/coracle-init")
}

/// Removes every file of the initramfs, so that its memory is free. Other mounts are not touched, and nothing at all is
/// unless `/` is in memory.
fn free_initramfs() {
    let root = Path::new("/");
    let in_memory = |kind: FsType| [RAMFS_MAGIC, TMPFS_MAGIC].contains(&kind);
    let (Ok(kind), Ok(metadata)) = (statfs(root), root.symlink_metadata()) else {
        return;
    };
    if in_memory(kind.filesystem_type()) {
        remove_below(root, metadata.dev(), DEPTH_MAX);
    }
}

fn remove_below(directory: &Path, device: u64, depth: u32) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(metadata) = path.symlink_metadata() else {
            continue;
        };
        if metadata.dev() != device {
            continue;
        }
        let removed = if metadata.is_dir() {
            if depth > 0 {
                remove_below(&path, device, depth - 1);
            }
            std::fs::remove_dir(&path)
        } else {
            std::fs::remove_file(&path)
        };
        if removed.is_err() {
            // A mount point, or memory that stays used: no reason to stop a boot.
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_on_the_device_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("lib/modules")).unwrap();
        std::fs::File::create(directory.path().join("lib/modules/a.ko")).unwrap();
        std::os::unix::fs::symlink("nowhere", directory.path().join("init")).unwrap();
        let device = directory.path().metadata().unwrap().dev();
        remove_below(directory.path(), device, DEPTH_MAX);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn another_device_is_not_touched() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("mounted")).unwrap();
        let device = directory.path().metadata().unwrap().dev();
        remove_below(directory.path(), device + 1, DEPTH_MAX);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
