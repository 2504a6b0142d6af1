//! From the initramfs to the root.

use super::verity::ROOT;
use crate::fault::{Attempt, Fault};
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{FsType, TMPFS_MAGIC, statfs};
use nix::unistd::{chdir, chroot};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The kernel's number for the simplest file system in memory.
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);
/// Deeper directories than an initramfs has are left where they are.
const DEPTH_MAX: u32 = 16;

/// Moves the mounts to the root, frees the initramfs' memory, and makes the root `/`.
///
/// The program itself goes on running from memory: nothing that happens to the disk later can take its pages away, and
/// reading it again from the verified root would cost some hundred milliseconds under emulation.
pub(super) fn to_root() -> Result<(), Fault> {
    for target in ["/dev", "/proc", "/sys", "/run"] {
        let to = format!("{ROOT}{target}");
        mount(Some(target), to.as_str(), None::<&str>, MsFlags::MS_MOVE, None::<&str>)
            .attempt("move to the root", target)?;
    }
    free_initramfs();
    chdir(ROOT).attempt("enter", ROOT)?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>).attempt("move", ROOT)?;
    chroot(".").attempt("make a root of", ROOT)?;
    chdir("/").attempt("enter", "/")
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
