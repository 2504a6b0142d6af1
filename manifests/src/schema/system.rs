//! The tables about the machine: where its parts come from, kernel, network, disk.

use crate::values::{
    Bytes, HostPath, Hostname, Ipv4Setting, Ipv6Setting, KernelArgs, LinkMatch, Millis, ModuleName,
    PackageName, Server, SysctlName, Url,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Where Debian packages come from. Every package is verified through the archive's signature, whichever mirror
/// served it.
///
/// ```toml
/// [debian]
/// mirror = "https://mirror.example/debian"
/// security_mirror = "https://mirror.example/debian-security"
/// ```
#[derive(Deserialize, JsonSchema, Debug)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DebianTable {
    /// The release.
    pub(crate) suite: Suite,
    /// The mirror to fetch from. Flag and environment go before it; without any of the three, a Debian host's own mirror is used.
    pub(crate) mirror: Option<Url>,
    /// The mirror of the security archive. Without it, the address is derived from the mirror's.
    #[schemars(extend("examples" = ["https://mirror.example/debian-security"]))]
    pub(crate) security_mirror: Option<Url>,
    /// Whether security updates are used.
    pub(crate) security: bool,
}

impl Default for DebianTable {
    fn default() -> Self {
        Self { suite: Suite::Trixie, mirror: None, security_mirror: None, security: true }
    }
}

/// A Debian release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Suite {
    /// Debian 13.
    Trixie,
}

impl Suite {
    /// The code name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trixie => "trixie",
        }
    }
}

/// The kernel and what it must drive. Only the modules that the named hardware needs get into the image.
///
/// ```toml
/// [kernel]
/// hardware = ["virtio", "nvme"]
/// modules = ["wireguard"]
/// args = "mitigations=auto"
/// ```
#[derive(Deserialize, JsonSchema, Debug)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct KernelTable {
    /// The Debian package with the kernel. Default: `linux-image-cloud-amd64` or `linux-image-cloud-arm64`, by architecture.
    #[schemars(extend("examples" = ["linux-image-amd64"]))]
    pub(crate) package: Option<PackageName>,
    /// A kernel of your own instead of a package: a bzImage (x86_64) or an uncompressed Image (aarch64).
    #[schemars(extend("examples" = ["kernel/bzImage"]))]
    pub(crate) image: Option<HostPath>,
    /// The modules of your own kernel: a directory or tar archive that holds `lib/modules/<release>`. Leave it out if everything is built in.
    #[schemars(extend("examples" = ["kernel/modules.tar"]))]
    pub(crate) image_modules: Option<HostPath>,
    /// The classes of hardware the image must run on.
    #[schemars(extend("examples" = [["virtio", "nvme"]]))]
    pub(crate) hardware: Vec<Hardware>,
    /// Modules to load at every boot beside those, with all they depend on.
    #[schemars(length(max = 1024))]
    pub(crate) modules: Vec<ModuleName>,
    /// Kernel arguments to add.
    pub(crate) args: Option<KernelArgs>,
}

impl Default for KernelTable {
    fn default() -> Self {
        Self {
            package: None,
            image: None,
            image_modules: None,
            hardware: vec![Hardware::Virtio],
            modules: Vec::new(),
            args: None,
        }
    }
}

/// A class of hardware: the storage, network and watchdog devices of one kind of machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Hardware {
    /// QEMU/KVM and clouds built on it: virtio disks and network.
    Virtio,
    /// NVMe disks.
    Nvme,
    /// SATA disks.
    Sata,
    /// Amazon EC2: NVMe and Xen disks, ENA and older networks.
    Aws,
    /// Google Compute Engine: virtio and NVMe disks, virtio and gVNIC networks.
    Gcp,
    /// Microsoft Azure and Hyper-V.
    Azure,
    /// VMware: PVSCSI, SATA and NVMe disks, vmxnet3 network.
    Vmware,
    /// Intel network cards, 1 to 100 Gbit/s; not in Debian's cloud kernel.
    IntelNet,
    /// USB disks.
    Usb,
}

impl Hardware {
    /// The name in manifests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Virtio => "virtio",
            Self::Nvme => "nvme",
            Self::Sata => "sata",
            Self::Aws => "aws",
            Self::Gcp => "gcp",
            Self::Azure => "azure",
            Self::Vmware => "vmware",
            Self::IntelNet => "intel-net",
            Self::Usb => "usb",
        }
    }
}

/// What runs the containers.
///
/// ```toml
/// [runtime]
/// flavour = "crun"
/// ```
#[derive(Deserialize, JsonSchema, Debug, Default)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RuntimeTable {
    /// The runtime.
    #[schemars(extend("examples" = ["crun"]))]
    pub(crate) flavour: Flavour,
}

/// What runs the containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    /// crun, started by Coracle's own supervisor: no daemon, no shim.
    #[default]
    Crun,
    /// youki (not available in this version).
    Youki,
    /// The containerd daemon (not available in this version).
    Containerd,
    /// The Docker daemon (not available in this version).
    Docker,
    /// podman (not available in this version).
    Podman,
}

impl Flavour {
    /// The name in manifests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crun => "crun",
            Self::Youki => "youki",
            Self::Containerd => "containerd",
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }
}

/// The network. Without this table every physical Ethernet link uses DHCP and IPv6 autoconfiguration.
///
/// ```toml
/// [network]
/// dns = ["192.0.2.53"]
/// search = ["example.net"]
///
/// [[network.interface]]
/// match = "eth0"
/// ipv4 = "192.0.2.10/24"
/// ipv4_gateway = "192.0.2.1"
/// ipv6 = "slaac"
/// ```
#[derive(Deserialize, JsonSchema, Debug, Default)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct NetworkTable {
    #[schemars(length(max = 64))]
    pub(crate) interface: Vec<InterfaceTable>,
    /// Name servers beside those that DHCP brings.
    #[schemars(length(max = 8), extend("examples" = [["192.0.2.53"]]))]
    pub(crate) dns: Vec<IpAddr>,
    /// Search domains.
    #[schemars(length(max = 6), extend("examples" = [["example.net"]]))]
    pub(crate) search: Vec<Hostname>,
}

/// One interface. The first table that matches a link applies to it; a link that none matches stays down.
#[derive(Deserialize, JsonSchema, Debug)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct InterfaceTable {
    /// The links it applies to.
    #[schemars(extend("examples" = ["eth0"]))]
    pub(crate) r#match: LinkMatch,
    /// IPv4.
    #[schemars(extend("examples" = ["192.0.2.10/24"]))]
    pub(crate) ipv4: Ipv4Setting,
    /// The gateway of a fixed IPv4 address.
    #[schemars(extend("examples" = ["192.0.2.1"]))]
    pub(crate) ipv4_gateway: Option<Ipv4Addr>,
    /// IPv6.
    #[schemars(extend("examples" = ["2001:db8::10/64"]))]
    pub(crate) ipv6: Ipv6Setting,
    /// The gateway of a fixed IPv6 address.
    #[schemars(extend("examples" = ["2001:db8::1"]))]
    pub(crate) ipv6_gateway: Option<Ipv6Addr>,
    /// The largest packet, in bytes. Default: what driver and DHCP say.
    #[schemars(range(min = 576, max = 65535), extend("examples" = [9000]))]
    pub(crate) mtu: Option<u32>,
}

impl Default for InterfaceTable {
    fn default() -> Self {
        Self {
            r#match: LinkMatch::Any,
            ipv4: Ipv4Setting::Dhcp,
            ipv4_gateway: None,
            ipv6: Ipv6Setting::Slaac,
            ipv6_gateway: None,
            mtu: None,
        }
    }
}

/// The clock. It never goes back behind the newest signed date of the build.
///
/// ```toml
/// [clock]
/// ntp = ["time.example.net"]
/// ```
#[derive(Deserialize, JsonSchema, Debug, Default)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ClockTable {
    /// NTP servers beside those that DHCP brings. With neither, the hardware clock is believed.
    #[schemars(length(max = 16))]
    pub(crate) ntp: Vec<Server>,
}

/// The disk.
///
/// ```toml
/// [disk]
/// slot_size = "512 MiB"
/// ```
#[derive(Deserialize, JsonSchema, Debug, Default)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DiskTable {
    /// The size of each of the two slots that hold a release. It can never grow later. Default: four times the first release, at least 256 MiB, at most 2 GiB.
    #[schemars(extend("examples" = ["512 MiB"]))]
    pub(crate) slot_size: Option<Bytes>,
}

/// The machine as a whole.
///
/// ```toml
/// [system]
/// hostname = "edge-1"
/// watchdog = "1 min"
///
/// [system.sysctl]
/// "net.ipv4.ip_forward" = 1
/// ```
#[derive(Deserialize, JsonSchema, Debug)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SystemTable {
    /// The host name. Default: the image's name and six digits of the machine's id.
    pub(crate) hostname: Option<Hostname>,
    /// What to do when the boot fails.
    pub(crate) on_failure: OnFailure,
    /// How long the hardware watchdog waits before it resets a machine that hangs: 5 s to 10 min, or `"0 s"` to leave it alone.
    #[schemars(extend("examples" = ["30 s"]))]
    pub(crate) watchdog: Millis,
    /// How long an ordered stop may take before everything left is killed: 1 s to 1 h.
    #[schemars(extend("examples" = ["30 s"]))]
    pub(crate) stop_timeout: Millis,
    /// Kernel settings, by their path below `/proc/sys` with dots.
    #[schemars(extend("propertyNames" = {"format": "sysctl-name"}, "examples" = [{"net.ipv4.ip_forward": 1}]))]
    pub(crate) sysctl: BTreeMap<SysctlName, SysctlValue>,
}

impl Default for SystemTable {
    fn default() -> Self {
        Self {
            hostname: None,
            on_failure: OnFailure::Reboot,
            watchdog: Millis(30_000),
            stop_timeout: Millis(30_000),
            sysctl: BTreeMap::new(),
        }
    }
}

/// What to do when the boot fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// Reboot: the other slot is used if it holds a good release.
    Reboot,
    /// Power off and wait for a person.
    PowerOff,
}

/// The value of a kernel setting.
#[derive(Deserialize, Serialize, JsonSchema, Debug, Clone, PartialEq, Eq)]
#[serde(untagged)]
pub(crate) enum SysctlValue {
    Number(i64),
    Text(#[schemars(length(min = 1, max = 1024))] String),
}
