//! The mounts of the root beside those that the initramfs made.

use crate::fault::{Attempt, Fault};
use nix::mount::{MsFlags, mount};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Whether the machine can do without a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// It cannot.
    Always,
    /// It is mounted where the kernel has the file system and its mount point.
    IfThere,
}

struct Mount {
    target: &'static str,
    kind: &'static str,
    flags: MsFlags,
    options: Option<&'static str>,
    need: Need,
}

/// Directories in memory that programs expect.
const DIRECTORIES: [(&str, u32); 13] = [
    ("/run/coracle", 0o755),
    ("/run/coracle/status", 0o755),
    ("/run/coracle/containers", 0o755),
    ("/run/coracle/log", 0o700),
    ("/run/crun", 0o700),
    ("/run/lock", 0o755),
    ("/var/lib", 0o755),
    ("/var/cache", 0o755),
    ("/var/log", 0o755),
    ("/var/tmp", 0o1777),
    ("/dev/pts", 0o755),
    ("/dev/shm", 0o1777),
    ("/dev/mqueue", 0o755),
];

fn mounts() -> [Mount; 9] {
    let data = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let plain = data | MsFlags::MS_NOEXEC;
    let mount = |target, kind, flags, options, need| Mount { target, kind, flags, options, need };
    [
        mount("/tmp", "tmpfs", data, Some("mode=1777,size=20%"), Need::Always),
        mount("/var", "tmpfs", data, Some("mode=0755,size=20%"), Need::Always),
        mount("/sys/fs/cgroup", "cgroup2", plain, Some("nsdelegate,memory_recursiveprot"), Need::Always),
        mount(
            "/dev/pts",
            "devpts",
            MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC,
            Some("gid=5,mode=0620,ptmxmode=0666"),
            Need::Always,
        ),
        mount("/dev/shm", "tmpfs", plain, Some("mode=1777,size=20%"), Need::Always),
        mount("/dev/mqueue", "mqueue", plain, None, Need::IfThere),
        mount("/sys/kernel/security", "securityfs", plain, None, Need::IfThere),
        mount("/sys/fs/pstore", "pstore", plain, None, Need::IfThere),
        mount("/sys/firmware/efi/efivars", "efivarfs", plain | MsFlags::MS_RDONLY, None, Need::IfThere),
    ]
}

pub(super) fn run() -> Result<(), Fault> {
    // Container runtimes expect it, and mounts made later (state) reach them.
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SHARED, None::<&str>)
        .attempt("share the mounts below", "/")?;
    let mut mounts = mounts().into_iter();
    // The directories below /var are made in its memory, so it comes before them.
    mounts.by_ref().take(2).try_for_each(|each| each.run())?;
    DIRECTORIES.into_iter().try_for_each(make_directory)?;
    mounts.try_for_each(|each| each.run())
}

impl Mount {
    fn run(&self) -> Result<(), Fault> {
        if self.need == Need::IfThere && !Path::new(self.target).is_dir() {
            return Ok(());
        }
        let result = mount(Some(self.kind), self.target, Some(self.kind), self.flags, self.options);
        match (result, self.need) {
            (Ok(()), _) | (Err(nix::Error::ENODEV | nix::Error::EOPNOTSUPP), Need::IfThere) => Ok(()),
            (Err(error), _) => Err(error).attempt("mount", self.target),
        }
    }
}

fn make_directory((path, mode): (&str, u32)) -> Result<(), Fault> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(Fault::new("make", path, error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
