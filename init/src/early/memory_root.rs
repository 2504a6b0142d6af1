//! The root in memory: what the kernel unpacked from the initramfs, as a mount that programs can work with.

use crate::fault::{Attempt, Fault};
use nix::mount::{MsFlags, mount};
use nix::unistd::{chdir, chroot};

/// Where the new root is made.
const NEW: &str = "/root";

/// Makes a read-only mount of the initramfs the root.
///
/// The kernel's own first root cannot be left with `pivot_root`, which container runtimes do (kernel documentation,
/// `filesystems/ramfs-rootfs-initramfs.rst`). A mount of the same tree, moved over it, can.
pub(super) fn enter() -> Result<(), Fault> {
    mount(Some("/"), NEW, None::<&str>, MsFlags::MS_BIND, None::<&str>).attempt("make a root at", NEW)?;
    for target in ["/dev", "/proc", "/sys", "/run"] {
        let to = format!("{NEW}{target}");
        mount(Some(target), to.as_str(), None::<&str>, MsFlags::MS_MOVE, None::<&str>)
            .attempt("move to the root", target)?;
    }
    chdir(NEW).attempt("enter", NEW)?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>).attempt("move", NEW)?;
    chroot(".").attempt("make a root of", NEW)?;
    chdir("/").attempt("enter", "/")?;
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | MsFlags::MS_NODEV;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).attempt("make read-only", "/")
}
