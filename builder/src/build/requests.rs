//! What an image asks of the archive: groups of packages, each for one part of the build.

use crate::{
    debian::{Package, Request, version::Version},
    error::Result,
    toolroot::{Group as Tools, HostArch},
};
use coracle_format::device::{ZSTD_PATH, ZSTD_VERSION};
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
/// The programs of every device that come from Debian: runtime, state checker, state maker.
const DEVICE_PROGRAMS: [&str; 3] = [RUNTIME_PROGRAM, "usr/sbin/e2fsck", "usr/sbin/mke2fs"];
/// The package with [`ZSTD_PATH`].
const ZSTD: &str = "zstd";

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

/// Whether the machine is to compress kernels that it makes from deltas. Those of aarch64 are not compressed.
pub(super) fn packs_kernels(manifest: &Manifest) -> bool {
    manifest.image.arch == Arch::X86_64 && manifest.update.as_ref().is_some_and(|update| update.kernel_deltas)
}

/// The programs of a device that come from Debian.
pub(super) fn device_programs(manifest: &Manifest) -> impl Iterator<Item = &'static str> {
    DEVICE_PROGRAMS.into_iter().chain(packs_kernels(manifest).then_some(ZSTD_PATH))
}

/// What to say if the program that compresses kernels is not the one that deltas are made for.
pub(super) fn other_zstd(manifest: &Manifest, runtime: &[Package]) -> Option<String> {
    let zstd = runtime.iter().find(|package| package.name == ZSTD).filter(|_| packs_kernels(manifest))?;
    (!Version::new(&zstd.version).packs(ZSTD_VERSION)).then(|| {
        format!(
            "{zstd} is not zstd {ZSTD_VERSION}: machines with this image fetch every new kernel whole; \
             kernel_deltas = false in [update] leaves the program out"
        )
    })
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
    let runtime = ["crun", "e2fsprogs"].into_iter().chain(packs_kernels(manifest).then_some(ZSTD));
    let mut groups = vec![
        Group::new(RUNTIME, arch, Request::closure_of(runtime)),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{debian::Pocket, digest::Digest};
    use std::path::Path;

    fn manifest(arch: &str, update: &str) -> Manifest {
        let text = format!(
            "[image]\nname = \"shop\"\nversion = \"1.0\"\narch = \"{arch}\"\n{update}\n\
             [[container]]\nname = \"web\"\npackages = [\"nginx\"]\ncommand = [\"nginx\"]\n"
        );
        coracle_manifests::parse(&text, Path::new("shop.toml")).unwrap()
    }

    const UPDATE: &str = "[update]\nroot = \"root.json\"";
    const WITHOUT: &str = "[update]\nroot = \"root.json\"\nkernel_deltas = false";

    #[test]
    fn images_for_x86_64_that_take_updates_have_the_program_that_compresses_kernels() {
        for (arch, update, expected) in [
            ("x86_64", UPDATE, true),
            ("x86_64", WITHOUT, false),
            ("x86_64", "", false),
            ("aarch64", UPDATE, false),
        ] {
            let manifest = manifest(arch, update);
            let groups = groups(&manifest).unwrap();
            let runtime = groups.iter().find(|group| group.name == RUNTIME).unwrap();
            let asked = runtime.words().iter().any(|word| word == "zstd");
            let picked = device_programs(&manifest).any(|program| program == "/usr/bin/zstd");
            assert_eq!((asked, picked), (expected, expected), "{arch} {update}");
        }
    }

    #[test]
    fn a_program_that_gives_other_bytes_is_warned_about() {
        let package = |version: &str| Package {
            name: "zstd".to_owned(),
            version: version.to_owned(),
            arch: "amd64".to_owned(),
            pocket: Pocket::Main,
            filename: String::new(),
            size: 1,
            sha256: Digest([0; 32]),
        };
        let image = manifest("x86_64", UPDATE);
        for version in ["1.5.7+dfsg-1", "1.5.7-2", "1.5.7", "1:1.5.7+dfsg-1+b2"] {
            assert_eq!(other_zstd(&image, &[package(version)]), None, "{version}");
        }
        for version in ["1.5.6+dfsg-2", "1.5.7.1-1", "1.5.70-1", "1.5.7~rc1-1", "2:1.5-7"] {
            let warning = other_zstd(&image, &[package(version)]).unwrap();
            assert!(warning.starts_with(&format!("zstd {version} (amd64) is not zstd 1.5.7")), "{warning}");
        }
        assert_eq!(other_zstd(&manifest("x86_64", WITHOUT), &[package("1.5.6")]), None);
    }
}
