//! What a virtual machine is made of, and QEMU's command line for it.

use super::Accel;
use crate::error::{Error, Kind, Result};
use coracle_format::{device::CONTROL_PORT, slot::Arch};
use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

/// The port that disks are plugged into.
pub(super) const PORT: &str = "free-port";

/// How a machine starts what is on its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// UEFI firmware loads the selector from the disk.
    Uefi,
    /// UEFI firmware that enforces Secure Boot does so.
    UefiSecure,
    /// The host plays the selector, and QEMU loads kernel and initramfs itself.
    Direct,
}

/// The parts that the firmware choice needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Boot {
    /// Firmware code (shared, read-only) and this machine's own copy of its variables.
    Uefi {
        /// The code image.
        code: PathBuf,
        /// The variable store, written by the machine.
        vars: PathBuf,
        /// Whether only the firmware may write the variables.
        lock: VarsLock,
    },
    /// These parts, whatever the disk says. A machine that resets starts them again.
    Direct(Parts),
    /// The parts of the slot that the selector chooses on the disk, at every start anew.
    Selected(Selection),
}

/// Whether the variable store is protected from what runs on the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VarsLock {
    /// It is not: firmware without Secure Boot.
    Open,
    /// Only the firmware in system management mode writes it: what Secure Boot rests on, on x86.
    Firmware,
}

/// The parts of a boot artefact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Kernel image.
    pub kernel: PathBuf,
    /// Initramfs.
    pub initrd: PathBuf,
    /// Kernel command line.
    pub cmdline: String,
}

/// How the host plays the selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Where the parts of the chosen boot artefact are put.
    pub dir: PathBuf,
    /// Added to its command line.
    pub more: String,
    /// How long a release that the selector would start with a running watchdog may take until it has taken that over.
    pub watchdog: Duration,
}

/// TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A port of the host that leads into the machine. Only the loopback address listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Port on the host.
    pub host: u16,
    /// Port in the machine.
    pub guest: u16,
}

/// What the machine's network reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outside {
    /// Whatever the host reaches.
    Reachable,
    /// Nothing but the forwarded ports.
    Isolated,
}

/// How virtual time passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// With the host's.
    Host,
    /// With the number of instructions executed (`-icount`): repeatable measurements.
    Instructions,
}

/// A virtual machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Architecture of the machine.
    pub arch: Arch,
    /// How it starts.
    pub boot: Boot,
    /// The raw disk; written by the machine. `None`: no disk at all.
    pub disk: Option<PathBuf>,
    /// A second raw disk, behind the first.
    pub second_disk: Option<PathBuf>,
    /// Whether a disk can be plugged in while it runs: [`crate::machine::qmp::Qmp::plug`].
    pub has_port: bool,
    /// Where every write and flush of the disk is recorded (`blklogwrites`); what was there is gone.
    pub write_log: Option<PathBuf>,
    /// The unix socket behind the machine's control port; QEMU listens there.
    pub control: Option<PathBuf>,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Processors.
    pub cpus: u8,
    /// Ports that lead in.
    pub forwards: Vec<Forward>,
    /// What the network reaches.
    pub outside: Outside,
    /// How time passes.
    pub time: Time,
    /// Emulated or accelerated.
    pub accel: Accel,
    /// More arguments for QEMU, as they are.
    pub more: Vec<OsString>,
}

/// What the process of one start is given of the host.
#[derive(Clone, Debug, Default)]
pub struct Host<'a> {
    /// The path of the QMP socket to listen on.
    pub monitor: Option<&'a Path>,
    /// A second one, of whoever starts the machine again. With it QEMU ends instead of resetting the machine, and waits
    /// to be told so.
    pub keeper: Option<&'a Path>,
    /// The file that is the machine's memory, so that it outlives QEMU.
    pub memory: Option<&'a Path>,
}

impl Spec {
    /// QEMU's program for this architecture.
    pub const fn program(&self) -> &'static str {
        match self.arch {
            Arch::X86_64 => "qemu-system-x86_64",
            Arch::Aarch64 => "qemu-system-aarch64",
        }
    }

    /// QEMU's arguments. Those of [`Boot::Selected`] have no kernel: it has to be chosen first.
    pub fn args(&self, host: &Host<'_>) -> Vec<OsString> {
        let mut args = Args::default();
        args.words("-nodefaults -no-user-config -display none -chardev stdio,id=console,signal=off -serial chardev:console");
        for socket in [host.monitor, host.keeper].into_iter().flatten() {
            args.joined("-qmp", &["unix:", &comma(socket), ",server=on,wait=off"]);
        }
        self.processor(host, &mut args);
        args.pair("-m", self.memory_mib.to_string());
        args.pair("-smp", self.cpus.to_string());
        self.boot_args(&mut args);
        self.disk_args(&mut args);
        args.pair("-netdev", self.netdev());
        args.pair("-device", "virtio-net-pci,netdev=net0,romfile=");
        args.pair("-device", "virtio-rng-pci");
        if self.arch == Arch::Aarch64 {
            // Without ACPI the board's power button is a GPIO key, for which cloud kernels have no driver.
            args.pair("-device", "virtio-keyboard-pci");
        }
        args.pair("-device", "virtio-balloon-pci,id=balloon");
        args.pair("-device", "i6300esb");
        let kept = if host.keeper.is_some() { ",reboot=shutdown,shutdown=pause" } else { "" };
        args.joined("-action", &["watchdog=reset,panic=none", kept]);
        if let Some(socket) = &self.control {
            args.joined("-chardev", &["socket,id=control,server=on,wait=off,path=", &comma(socket)]);
            args.pair("-device", "virtio-serial-pci");
            args.pair("-device", format!("virtserialport,chardev=control,name={CONTROL_PORT}"));
        }
        args.0.extend(self.more.iter().cloned());
        args.0
    }

    fn disk_args(&self, args: &mut Args) {
        let raw = |node: &str, path: &Path| {
            let path = comma(path);
            format!(
                "driver=raw,node-name={node},file.driver=file,file.filename={path},cache.direct=off,discard=unmap"
            )
        };
        if let Some(disk) = &self.disk {
            args.pair("-blockdev", raw("disk", disk));
            // The log puts its own header in front of every write: one that was merged up to the host's limit of pieces
            // would be over it then, and fail.
            let (drive, merging) = if let Some(log) = &self.write_log {
                args.joined("-blockdev", &["driver=file,node-name=log,filename=", &comma(log)]);
                args.pair(
                    "-blockdev",
                    "driver=blklogwrites,node-name=logged,file=disk,log=log,log-append=on",
                );
                ("logged", ",request-merging=off")
            } else {
                ("disk", "")
            };
            args.pair("-device", format!("virtio-blk-pci,drive={drive},serial=coracle,bootindex=1{merging}"));
        }
        if let Some(disk) = &self.second_disk {
            args.pair("-blockdev", raw("second", disk));
            args.pair("-device", "virtio-blk-pci,drive=second,serial=second");
        }
        if self.has_port {
            args.pair("-device", format!("pcie-root-port,id={PORT},chassis=1"));
        }
    }

    fn processor(&self, host: &Host<'_>, args: &mut Args) {
        let accel = match self.accel {
            Accel::Kvm => "kvm",
            Accel::Tcg => "tcg",
            Accel::TcgInTurn => "tcg,thread=single",
        };
        let (machine, cpu) = match (self.arch, self.accel) {
            (Arch::X86_64, _) => ("q35,usb=off,vmport=off", "max"),
            (Arch::Aarch64, Accel::Kvm) => ("virt,gic-version=max", "host"),
            // The generic "max" pays for pointer authentication in software with every call.
            (Arch::Aarch64, Accel::Tcg | Accel::TcgInTurn) => ("virt,gic-version=3", "cortex-a76"),
        };
        let mut machine = machine.to_owned();
        args.pair("-accel", accel);
        if let Some(memory) = host.memory {
            let (size, path) = (self.memory_mib.to_string(), comma(memory));
            let parts = ["memory-backend-file,id=ram,share=on,size=", &size, "M,mem-path=", &path];
            args.joined("-object", &parts);
            machine.push_str(",memory-backend=ram");
        }
        if matches!(self.boot, Boot::Uefi { lock: VarsLock::Firmware, .. }) && self.arch == Arch::X86_64 {
            machine.push_str(",smm=on");
            args.pair("-global", "driver=cfi.pflash01,property=secure,value=on");
        }
        args.pair("-machine", machine);
        args.pair("-cpu", cpu);
        if self.time == Time::Instructions {
            args.pair("-icount", "shift=1,sleep=off");
        }
    }

    fn boot_args(&self, args: &mut Args) {
        match &self.boot {
            Boot::Uefi { code, vars, lock: _ } => {
                for (unit, path, readonly) in [(0, code, "on"), (1, vars, "off")] {
                    args.pair(
                        "-drive",
                        format!("if=pflash,format=raw,unit={unit},readonly={readonly},file={}", comma(path)),
                    );
                }
            }
            Boot::Direct(Parts { kernel, initrd, cmdline }) => {
                args.pair("-kernel", kernel);
                args.pair("-initrd", initrd);
                args.pair("-append", cmdline);
            }
            Boot::Selected(_) => {}
        }
    }

    fn netdev(&self) -> String {
        let restrict = match self.outside {
            Outside::Reachable => "off",
            Outside::Isolated => "on",
        };
        let mut out = format!("user,id=net0,restrict={restrict}");
        for Forward { protocol, host, guest } in &self.forwards {
            let protocol = match protocol {
                Protocol::Tcp => "tcp",
                Protocol::Udp => "udp",
            };
            out.extend([",hostfwd=", protocol, ":127.0.0.1:", &host.to_string(), "-:", &guest.to_string()]);
        }
        out
    }
}

/// QEMU's option syntax writes a comma in a value twice.
fn comma(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

#[derive(Default)]
struct Args(Vec<OsString>);

impl Args {
    fn words(&mut self, words: &str) {
        self.0.extend(words.split(' ').map(OsString::from));
    }

    fn pair(&mut self, flag: &str, value: impl Into<OsString>) {
        self.0.push(flag.into());
        self.0.push(value.into());
    }

    fn joined(&mut self, flag: &str, parts: &[&str]) {
        self.pair(flag, parts.concat());
    }
}

impl fmt::Display for Firmware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uefi => "uefi",
            Self::UefiSecure => "uefi-secure",
            Self::Direct => "direct",
        })
    }
}

impl FromStr for Firmware {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "uefi" => Ok(Self::Uefi),
            "uefi-secure" => Ok(Self::UefiSecure),
            "direct" => Ok(Self::Direct),
            _ => Err(Error::new(Kind::Usage, format!("unknown firmware {text:?}"))
                .hint("use uefi, uefi-secure or direct")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn spec(arch: Arch) -> Spec {
        Spec {
            arch,
            boot: Boot::Direct(Parts {
                kernel: "/k".into(),
                initrd: "/i".into(),
                cmdline: "console=ttyS0 quiet".to_owned(),
            }),
            disk: Some("/out,1/disk.raw".into()),
            second_disk: None,
            has_port: false,
            write_log: None,
            control: None,
            memory_mib: 512,
            cpus: 2,
            forwards: vec![Forward { protocol: Protocol::Tcp, host: 8080, guest: 80 }],
            outside: Outside::Isolated,
            time: Time::Host,
            accel: Accel::Tcg,
            more: Vec::new(),
        }
    }

    fn line(spec: &Spec) -> String {
        let args = spec.args(&Host { monitor: Some(Path::new("/run/q")), ..Host::default() });
        args.iter().map(|arg| arg.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn forwarded_ports_listen_on_loopback_only() {
        let line = line(&spec(Arch::X86_64));
        assert!(line.contains("user,id=net0,restrict=on,hostfwd=tcp:127.0.0.1:8080-:80"), "{line}");
    }

    #[test]
    fn a_comma_in_a_path_cannot_add_an_option() {
        let line = line(&spec(Arch::X86_64));
        assert!(line.contains("file.filename=/out,,1/disk.raw,"), "{line}");
    }

    #[test]
    fn a_machine_that_the_host_starts_again_ends_instead_of_resetting_and_leaves_its_memory() {
        let spec = spec(Arch::X86_64);
        let host = Host { keeper: Some(Path::new("/k")), memory: Some(Path::new("/m")), ..Host::default() };
        let args = spec.args(&host);
        let has = |word: &str| args.iter().any(|arg| arg.to_string_lossy().contains(word));
        assert!(has("reboot=shutdown,shutdown=pause") && has("share=on,size=512M,mem-path=/m"));
        assert!(has("q35,usb=off,vmport=off,memory-backend=ram"));
        assert!(!line(&spec).contains("shutdown"));
    }

    #[test]
    fn a_recorded_disk_is_written_through_its_recording() {
        let recorded = Spec { write_log: Some("/w".into()), ..spec(Arch::X86_64) };
        assert!(line(&recorded).contains("virtio-blk-pci,drive=logged,"));
        assert!(line(&spec(Arch::X86_64)).contains("virtio-blk-pci,drive=disk,"));
    }

    #[test]
    fn each_architecture_has_its_machine() {
        let x86 = line(&spec(Arch::X86_64));
        assert!(x86.contains("-accel tcg -machine q35,usb=off,vmport=off -cpu max"), "{x86}");
        let arm = line(&Spec { accel: Accel::TcgInTurn, ..spec(Arch::Aarch64) });
        assert!(
            arm.contains("-accel tcg,thread=single -machine virt,gic-version=3 -cpu cortex-a76"),
            "{arm}"
        );
    }
}
