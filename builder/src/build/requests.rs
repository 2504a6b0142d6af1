//! What an image asks of the archive: groups of packages, each for one part of the build.

use crate::{
    debian::Request,
    error::Result,
    toolroot::{Group as Tools, HostArch},
};
use coracle_manifests::manifest::{Arch, KernelSource, Manifest, Source};

/// The group of the kernel.
pub(super) const KERNEL: &str = "kernel";
/// The group of what the device runs beside our own programs.
pub(super) const RUNTIME: &str = "runtime";
/// The group of the boot stub.
pub(super) const STUB: &str = "stub";

/// What kernel packages depend on to be installed on a running Debian, and an image does not need.
const KERNEL_WITHOUT: [&str; 5] = ["kmod", "linux-base", "initramfs-tools", "linux-initramfs-tool", "dracut"];
/// The container runtime.
pub(super) const RUNTIME_PROGRAM: &str = "usr/bin/crun";
/// The programs of the device that come from Debian: runtime, state checker, state maker.
pub(super) const DEVICE_PROGRAMS: [&str; 3] = [RUNTIME_PROGRAM, "usr/sbin/e2fsck", "usr/sbin/mke2fs"];

/// A group of packages resolved together.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// Its name in the lock.
    pub(super) name: String,
    /// Debian's name of the architecture.
    pub(super) arch: &'static str,
    /// What is asked for.
    pub(super) request: Request,
}

impl Group {
    fn new(name: impl Into<String>, arch: &'static str, request: Request) -> Self {
        Self { name: name.into(), arch, request }
    }

    /// The request as the lock records it.
    pub(super) fn words(&self) -> Vec<String> {
        let without = self.request.exclude.iter().map(|name| format!("-{name}"));
        let mut words: Vec<_> = self.request.packages.iter().cloned().chain(without).collect();
        words.insert(0, self.arch.to_owned());
        words
    }
}

/// Debian's name of an architecture.
pub(super) const fn debian_arch(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "amd64",
        Arch::Aarch64 => "arm64",
    }
}

/// The name of a container's group.
pub(super) fn container(name: &str) -> String {
    format!("container.{name}")
}

/// The name of a tool root's group.
pub(super) fn tools(group: Tools) -> String {
    format!("tools.{}", group.name())
}

/// The tool root that runs machines of this architecture.
pub(super) const fn qemu(arch: Arch) -> Tools {
    match arch {
        Arch::X86_64 => Tools::QemuX86,
        Arch::Aarch64 => Tools::QemuArm,
    }
}

/// Every group of an image.
pub(super) fn groups(manifest: &Manifest) -> Result<Vec<Group>> {
    let arch = debian_arch(manifest.image.arch);
    let host = HostArch::current()?.debian();
    let mut groups = vec![
        Group::new(RUNTIME, arch, Request::closure_of(["crun", "e2fsprogs"])),
        Group::new(STUB, arch, Request::only(["systemd-boot-efi"])),
    ];
    if let KernelSource::Package(package) = &manifest.kernel.source {
        let request = Request::closure_of([package.as_str()]).without(KERNEL_WITHOUT);
        groups.push(Group::new(KERNEL, arch, request));
    }
    for each in &manifest.containers {
        if let Source::Packages(packages) = &each.source {
            let request =
                Request::closure_of(packages.iter().map(coracle_manifests::values::PackageName::as_str));
            groups.push(Group::new(container(each.name.as_str()), arch, request));
        }
    }
    for group in [Tools::Build, qemu(manifest.image.arch)] {
        groups.push(Group::new(tools(group), host, Request::closure_of(group.packages().iter().copied())));
    }
    Ok(groups)
}
