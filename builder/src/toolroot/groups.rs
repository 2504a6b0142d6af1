//! Which packages a tool root is made of.

use crate::{
    debian::Request,
    error::{Error, Kind, Result},
};

/// Packages that others depend on for their maintainer scripts, which never run here: asking questions, making users.
const NOT_NEEDED: [&str; 4] = ["adduser", "debconf", "passwd", "base-passwd"];

/// What a tool root is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Building an image.
    Build,
    /// Running x86_64 machines.
    QemuX86,
    /// Running aarch64 machines.
    QemuArm,
}

impl Group {
    /// All groups.
    pub const ALL: [Self; 3] = [Self::Build, Self::QemuX86, Self::QemuArm];

    /// Its name in the lock.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::QemuX86 => "qemu-x86",
            Self::QemuArm => "qemu-arm",
        }
    }

    /// The packages it asks for; what these depend on (not what they recommend) comes with them.
    pub const fn packages(self) -> &'static [&'static str] {
        match self {
            // libarchive is loaded by name when mke2fs reads a tar, so nothing depends on it.
            Self::Build => &["e2fsprogs", "libarchive13t64", "cryptsetup-bin"],
            Self::QemuX86 => &["qemu-system-x86", "seabios", "ovmf"],
            Self::QemuArm => &["qemu-system-arm", "qemu-efi-aarch64"],
        }
    }

    /// The request for them.
    pub fn request(self) -> Request {
        Request::closure_of(self.packages().iter().copied()).without(NOT_NEEDED)
    }
}

/// The package that brings the program `name`.
pub(super) fn package_of(name: &str) -> Option<&'static str> {
    Some(match name {
        "mke2fs" | "e2fsck" | "debugfs" | "dumpe2fs" | "resize2fs" => "e2fsprogs",
        "veritysetup" => "cryptsetup-bin",
        "qemu-system-x86_64" => "qemu-system-x86",
        "qemu-system-aarch64" => "qemu-system-arm",
        "qemu-img" => "qemu-utils",
        _ => return None,
    })
}

/// The architecture of the machine that runs the tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostArch {
    /// 64-bit x86.
    X86_64,
    /// 64-bit ARM.
    Aarch64,
}

impl HostArch {
    /// This machine's.
    pub fn current() -> Result<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Ok(Self::X86_64),
            "aarch64" => Ok(Self::Aarch64),
            other => Err(Error::new(Kind::Usage, format!("cannot build on a {other} machine"))
                .hint("build on x86_64 or aarch64")),
        }
    }

    /// Debian's name for it.
    pub const fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    pub(super) const fn triplet(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-linux-gnu",
            Self::Aarch64 => "aarch64-linux-gnu",
        }
    }

    pub(super) const fn loader(self) -> &'static str {
        match self {
            Self::X86_64 => "usr/lib64/ld-linux-x86-64.so.2",
            Self::Aarch64 => "usr/lib/ld-linux-aarch64.so.1",
        }
    }

    /// Where libraries are; some packages keep theirs in a directory of their own.
    pub(super) fn library_dirs(self) -> Vec<String> {
        let base = format!("usr/lib/{}", self.triplet());
        let private = ["pulseaudio", "ceph", "systemd", "samba"];
        let mut dirs = vec![base.clone()];
        dirs.extend(private.map(|name| format!("{base}/{name}")));
        dirs.push("usr/lib".to_owned());
        dirs
    }
}
