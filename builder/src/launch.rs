//! From a built image to a machine that boots it: a disk of its own, and the parts its firmware needs.

use crate::{
    build::Built,
    context::Context,
    digest::Hasher,
    error::{Doing as _, Error, Kind, Result},
    floor,
    image::{inspect::Disk, sparse, uki::Uki},
    machine::{Accel, Boot, Firmware, Forward, Outside, Protocol, Spec, Vm, spec::Time},
    toolroot::{HostArch, ToolRoot},
};
use coracle_format::{layout::Role, slot::Arch};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// What the user wants of the machine.
#[derive(Clone, Debug)]
pub struct Options {
    /// How it starts.
    pub firmware: Firmware,
    /// Bytes of its disk; at least the image's.
    pub disk_bytes: u64,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Processors.
    pub cpus: u8,
    /// Ports that lead in.
    pub forwards: Vec<Forward>,
    /// What its network reaches.
    pub outside: Outside,
    /// How time passes.
    pub time: Time,
    /// Added to the kernel's command line; only for [`Firmware::Direct`].
    pub cmdline: String,
}

impl Options {
    /// The machine `coracle run` starts by default, with the ports that the manifest declares.
    pub fn new(image: &Built) -> Self {
        Self {
            firmware: Firmware::Uefi,
            disk_bytes: 2 << 30,
            memory_mib: 512,
            cpus: 2,
            forwards: declared_ports(image),
            outside: Outside::Reachable,
            time: Time::Host,
            cmdline: String::new(),
        }
    }
}

/// The ports that containers of the image declare.
pub fn declared_ports(image: &Built) -> Vec<Forward> {
    use coracle_manifests::values::Protocol as Declared;
    let ports = image.manifest.containers.iter().flat_map(|container| &container.ports);
    ports
        .map(|port| Forward {
            protocol: match port.protocol {
                Declared::Tcp => Protocol::Tcp,
                Declared::Udp => Protocol::Udp,
            },
            host: port.workstation,
            guest: port.device,
        })
        .collect()
}

/// Prepares a machine in `dir`: a copy of the disk that it may write, and what its firmware needs.
pub fn prepare(
    ctx: &Context,
    tools: &ToolRoot,
    image: &Built,
    options: &Options,
    dir: &Path,
) -> Result<Spec> {
    fs::create_dir_all(dir).doing("create directory", dir)?;
    let disk = dir.join("disk.raw");
    copy_disk(&image.disk, &disk, options.disk_bytes)?;
    reuse(ctx, tools, image, options, &disk)
}

/// Prepares a machine over a disk that an earlier one has left, in the directory of that disk.
pub fn reuse(ctx: &Context, tools: &ToolRoot, image: &Built, options: &Options, disk: &Path) -> Result<Spec> {
    let dir = disk.parent().unwrap_or_else(|| Path::new("."));
    let arch = image.arch();
    let boot = match options.firmware {
        Firmware::Uefi => uefi(tools, arch, dir)?,
        Firmware::Direct => direct(disk, &options.cmdline, dir)?,
    };
    ctx.check()?;
    Ok(Spec {
        arch,
        boot,
        disk: Some(disk.to_owned()),
        memory_mib: options.memory_mib,
        cpus: options.cpus,
        forwards: options.forwards.clone(),
        outside: options.outside,
        time: options.time,
        accel: Accel::Tcg,
    })
}

/// A sparse copy of `image` at `disk`, `bytes` long.
pub fn copy_disk(image: &Path, disk: &Path, bytes: u64) -> Result<()> {
    let least = fs::metadata(image).doing("inspect", image)?.len();
    if bytes < least {
        let message = format!("a disk of {bytes} bytes is too small for an image of {least} bytes");
        return Err(Error::new(Kind::TooLarge, message).hint("ask for a larger one with --disk-size"));
    }
    sparse::duplicate(image, disk, bytes)
}

fn uefi(tools: &ToolRoot, arch: Arch, dir: &Path) -> Result<Boot> {
    let (code, vars, package) = match arch {
        Arch::X86_64 => ("usr/share/OVMF/OVMF_CODE_4M.fd", "usr/share/OVMF/OVMF_VARS_4M.fd", "ovmf"),
        Arch::Aarch64 => {
            ("usr/share/AAVMF/AAVMF_CODE.no-secboot.fd", "usr/share/AAVMF/AAVMF_VARS.fd", "qemu-efi-aarch64")
        }
    };
    let own = dir.join("vars.fd");
    let template = tools.file(vars, package)?;
    fs::copy(&template, &own).doing("copy", &template)?;
    Ok(Boot::Uefi { code: tools.file(code, package)?, vars: own })
}

/// Takes kernel, initramfs and command line out of the boot artefact on the disk.
fn direct(disk: &Path, more: &str, dir: &Path) -> Result<Boot> {
    let disk = Disk::open(disk)?;
    let slot = disk
        .slot(Role::SlotA)?
        .ok_or_else(|| Error::new(Kind::NotFound, "the disk has nothing in slot A to boot"))?;
    let bytes = slot.boot()?;
    let uki = Uki::parse(&bytes)?;
    let put = |name: &str, bytes: &[u8]| -> Result<PathBuf> {
        let path = dir.join(name);
        crate::files::replace(&path, bytes)?;
        Ok(path)
    };
    let mut cmdline = uki.command_line()?.to_owned();
    if !more.is_empty() {
        cmdline = format!("{cmdline} {more}");
    }
    Ok(Boot::Direct { kernel: put("kernel", uki.linux()?)?, initrd: put("initrd", uki.initrd()?)?, cmdline })
}

/// How long the floor may take to say something under an accelerator that works.
const PROBE: Duration = Duration::from_secs(15);

/// Hardware virtualisation if booting something with it works here, emulation otherwise. The answer is kept with the
/// host's kernel version, since it can only change with that.
pub fn accel(ctx: &Context, tools: &ToolRoot, image: &Built) -> Result<Accel> {
    let same = matches!(
        (image.arch(), HostArch::current()?),
        (Arch::X86_64, HostArch::X86_64) | (Arch::Aarch64, HostArch::Aarch64)
    );
    let usable = fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
    if !(same && usable) {
        return Ok(Accel::Tcg);
    }
    let mut hasher = Hasher::default();
    hasher.field(b"kvm probe 0");
    hasher.field(fs::read("/proc/version").unwrap_or_default().as_slice());
    hasher.field(tools.dir().as_os_str().as_encoded_bytes());
    let (dir, _) = ctx.cache.step(&hasher.digest(), |dir| {
        let step = ctx.report.step("try KVM");
        let works = boots(ctx, tools, image, dir).is_ok();
        step.done(if works { "works" } else { "does not work here; emulating" });
        let word: &[u8] = if works { b"kvm" } else { b"tcg" };
        crate::files::replace(&dir.join("accel"), word)
    })?;
    let path = dir.join("accel");
    Ok(if fs::read(&path).doing("read", &path)? == b"kvm" { Accel::Kvm } else { Accel::Tcg })
}

fn boots(ctx: &Context, tools: &ToolRoot, image: &Built, dir: &Path) -> Result<Duration> {
    let work = tempfile::tempdir().doing("create a directory in", dir)?;
    let spec = Spec { accel: Accel::Kvm, ..floor(image, &Options::new(image), work.path())? };
    let mut vm = Vm::start(ctx, tools, &spec, &work.path().join("console.log"))?;
    vm.console.expect("the probe", PROBE, floor::clock)
}

/// The machine of `options` with the image's kernel and command line, and nothing but the probe to run.
pub fn floor(image: &Built, options: &Options, dir: &Path) -> Result<Spec> {
    fs::create_dir_all(dir).doing("create directory", dir)?;
    let boot = direct(&image.disk, &options.cmdline, dir)?;
    let Boot::Direct { kernel, initrd, cmdline } = boot else {
        return Err(Error::new(Kind::Internal, "the floor boots directly"));
    };
    crate::files::replace(&initrd, &floor::initrd(&image.probe)?)?;
    Ok(Spec {
        arch: image.arch(),
        boot: Boot::Direct { kernel, initrd, cmdline },
        disk: None,
        memory_mib: options.memory_mib,
        cpus: options.cpus,
        forwards: Vec::new(),
        outside: Outside::Isolated,
        time: options.time,
        accel: Accel::Tcg,
    })
}
