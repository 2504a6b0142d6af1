//! From a built image to a machine that boots it: a disk of its own, and the parts its firmware needs.

use crate::{
    build::Built,
    context::Context,
    digest::Hasher,
    error::{Doing as _, Error, Kind, Result},
    floor,
    image::{inspect::Disk, sparse},
    machine::{
        Accel, Boot, Firmware, Forward, Outside, Protocol, Selection, Spec, VarsLock, Vm,
        selection::take_apart, spec::Time,
    },
    toolroot::{HostArch, ToolRoot},
};
use coracle_format::{layout::Role, slot::Arch};
/// How long the selector's watchdog waits, and ours.
pub use coracle_selector::WATCHDOG;
use std::{
    ffi::OsString,
    fs, io,
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
    /// The variables that UEFI firmware begins with, for a disk that has none yet; `None`: those that the firmware
    /// brings. With [`Firmware::UefiSecure`] these are the enrolled keys.
    pub vars: Option<PathBuf>,
    /// How long a release that relies on the selector's watchdog may take to its own, with [`Firmware::Direct`].
    pub watchdog: Duration,
    /// Where kernel and initramfs are put for [`Firmware::Direct`]; `None`: beside the disk.
    pub dir: Option<PathBuf>,
    /// A second disk.
    pub second_disk: Option<PathBuf>,
    /// Whether a disk can be plugged in while it runs.
    pub has_port: bool,
    /// Where every write and flush of the disk is recorded.
    pub write_log: Option<PathBuf>,
    /// The unix socket behind the machine's control port.
    pub control: Option<PathBuf>,
    /// More arguments for QEMU.
    pub more: Vec<OsString>,
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
            vars: None,
            watchdog: WATCHDOG,
            dir: None,
            second_disk: None,
            has_port: false,
            write_log: None,
            control: None,
            more: Vec::new(),
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
    make_disk(image, options, &disk)?;
    reuse(ctx, tools, image, options, &disk)
}

/// Makes the disk of a new machine: the image's, with what the firmware's variables are when it is new.
pub fn make_disk(image: &Built, options: &Options, disk: &Path) -> Result<()> {
    let vars = vars_of(disk);
    match fs::remove_file(&vars) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).doing("remove", &vars),
        Ok(()) | Err(_) => {}
    }
    // Half a copy must not be taken for a disk that was left.
    let part = crate::files::with_suffix(disk, ".part");
    copy_disk(&image.disk, &part, options.disk_bytes)?;
    fs::rename(&part, disk).doing("make disk", disk)
}

/// Makes the disk of a machine that is switched off larger, as for one that is moved to a larger disk.
pub fn grow_disk(disk: &Path, bytes: u64) -> Result<()> {
    let file = fs::OpenOptions::new().write(true).open(disk).doing("open disk", disk)?;
    let has = file.metadata().doing("inspect", disk)?.len();
    if bytes < has {
        let message = format!("{} has {has} bytes and cannot be cut to {bytes}", disk.display());
        return Err(Error::new(Kind::Usage, message).hint("ask for a larger --disk-size, or leave it out"));
    }
    file.set_len(bytes).doing("grow disk", disk)
}

/// Where the firmware's variables of a machine with this disk are kept: `disk.raw.vars.fd`.
pub fn vars_of(disk: &Path) -> PathBuf {
    crate::files::with_suffix(disk, ".vars.fd")
}

/// Prepares a machine over a disk that an earlier one has left, with the variables that its firmware has left.
pub fn reuse(ctx: &Context, tools: &ToolRoot, image: &Built, options: &Options, disk: &Path) -> Result<Spec> {
    let boot = match options.firmware {
        Firmware::Uefi | Firmware::UefiSecure => uefi(tools, image.arch(), options, disk)?,
        Firmware::Direct => {
            let beside = || disk.parent().unwrap_or_else(|| Path::new(".")).to_owned();
            let dir = options.dir.clone().unwrap_or_else(beside);
            Boot::Selected(Selection { dir, more: options.cmdline.clone(), watchdog: options.watchdog })
        }
    };
    ctx.check()?;
    Ok(Spec {
        disk: Some(disk.to_owned()),
        second_disk: options.second_disk.clone(),
        has_port: options.has_port,
        write_log: options.write_log.clone(),
        control: options.control.clone(),
        forwards: options.forwards.clone(),
        outside: options.outside,
        more: options.more.clone(),
        ..machine(image, options, boot)
    })
}

/// A machine without disk and network.
fn machine(image: &Built, options: &Options, boot: Boot) -> Spec {
    Spec {
        arch: image.arch(),
        boot,
        disk: None,
        second_disk: None,
        has_port: false,
        write_log: None,
        control: None,
        memory_mib: options.memory_mib,
        cpus: options.cpus,
        forwards: Vec::new(),
        outside: Outside::Isolated,
        time: options.time,
        accel: Accel::Tcg,
        more: Vec::new(),
    }
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

/// The firmware's files in its package, below `usr/share`.
struct FirmwareFiles {
    package: &'static str,
    vars: &'static str,
    open: &'static str,
    secure: &'static str,
}

impl FirmwareFiles {
    const fn of(arch: Arch) -> Self {
        match arch {
            Arch::X86_64 => Self {
                package: "ovmf",
                vars: "OVMF/OVMF_VARS_4M.fd",
                open: "OVMF/OVMF_CODE_4M.fd",
                secure: "OVMF/OVMF_CODE_4M.secboot.fd",
            },
            Arch::Aarch64 => Self {
                package: "qemu-efi-aarch64",
                vars: "AAVMF/AAVMF_VARS.fd",
                open: "AAVMF/AAVMF_CODE.no-secboot.fd",
                secure: "AAVMF/AAVMF_CODE.secboot.fd",
            },
        }
    }

    fn find(&self, tools: &ToolRoot, name: &str) -> Result<PathBuf> {
        tools.file(&format!("usr/share/{name}"), self.package)
    }
}

/// Writes to `out` what firmware knows in which this certificate (DER), and nothing else, is enrolled: see
/// [`Options::vars`].
pub fn enrol(tools: &ToolRoot, image: &Built, certificate: &[u8], out: &Path) -> Result<()> {
    let files = FirmwareFiles::of(image.arch());
    let template = files.find(tools, files.vars)?;
    let empty = fs::read(&template).doing("read", &template)?;
    crate::files::replace(out, &crate::secure_boot::enrol(&empty, certificate)?)
}

fn uefi(tools: &ToolRoot, arch: Arch, options: &Options, disk: &Path) -> Result<Boot> {
    let files = FirmwareFiles::of(arch);
    let (code, lock) = match options.firmware {
        Firmware::UefiSecure => (files.secure, VarsLock::Firmware),
        Firmware::Uefi | Firmware::Direct => (files.open, VarsLock::Open),
    };
    let own = vars_of(disk);
    if !own.exists() {
        let template = options.vars.clone().map_or_else(|| files.find(tools, files.vars), Ok)?;
        fs::copy(&template, &own).doing("copy", &template)?;
    }
    Ok(Boot::Uefi { code: files.find(tools, code)?, vars: own, lock })
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
    let disk = Disk::open(&image.disk)?;
    let slot = disk
        .slot(Role::SlotA)?
        .ok_or_else(|| Error::new(Kind::NotFound, "the image has nothing in slot A to boot"))?;
    let selection =
        Selection { dir: dir.to_owned(), more: options.cmdline.clone(), watchdog: options.watchdog };
    let parts = take_apart(&slot.boot()?, &selection)?;
    crate::files::replace(&parts.initrd, &floor::initrd(&image.probe)?)?;
    Ok(machine(image, options, Boot::Direct(parts)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_grows_and_is_never_cut() {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("disk.raw");
        crate::files::replace(&disk, &[7; 4096]).unwrap();
        grow_disk(&disk, 8192).unwrap();
        assert_eq!(grow_disk(&disk, 4096).unwrap_err().kind(), Kind::Usage);
        let bytes = fs::read(&disk).unwrap();
        assert_eq!((bytes.len(), bytes[4095], bytes[4096]), (8192, 7, 0));
    }
}
