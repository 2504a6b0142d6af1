//! The manifest as the builder reads it: faultless, typed, defaults filled in, paths resolved.

pub use crate::schema::{
    Arch, Backoff, Flavour, Gate, Hardware, Need, NetworkMode, OnFailure, Restart, Root, Start, Suite,
    Transport,
};
use crate::values::{
    Bytes, Capability, Endpoint, EnvName, GuestPath, Hostname, HttpAddress, Ipv4Setting, Ipv6Setting,
    LinkMatch, Millis, Mode, ModuleName, Name, PackageName, Port, Rate, RepositoryUrl, Server, Signal,
    SysctlName, Url, User, Version, Window,
};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

/// What an image is. Made by [`Manifest::load`] or [`parse`](crate::parse) only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The manifest's file, as it was named.
    pub file: PathBuf,
    /// The image.
    pub image: Image,
    /// Where Debian packages come from.
    pub debian: Debian,
    /// The kernel.
    pub kernel: Kernel,
    /// What runs the containers.
    pub runtime: Flavour,
    /// The network; at least one interface.
    pub network: Network,
    /// NTP servers beside those that DHCP brings.
    pub ntp: Vec<Server>,
    /// The size of a slot; `None`: [`coracle_format::layout::slot_bytes`] decides.
    pub slot_size: Option<Bytes>,
    /// The machine as a whole.
    pub system: System,
    /// The containers, in manifest order, names unique.
    pub containers: Vec<Container>,
    /// Files for the machine's root file system, paths unique.
    pub files: Vec<File>,
    /// How updates are taken; `None`: not at all.
    pub update: Option<Update>,
    /// Checks that a new release must pass; none without `update`. Names unique.
    pub checks: Vec<Check>,
    /// Who controls the machine; `None`: nobody.
    pub control: Option<Control>,
}

/// `[image]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Name.
    pub name: Name,
    /// Version.
    pub version: Version,
    /// Architecture.
    pub arch: Arch,
}

/// `[debian]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Debian {
    /// Release.
    pub suite: Suite,
    /// Mirror, if the manifest names one.
    pub mirror: Option<Url>,
    /// Mirror of the security archive, if the manifest names one.
    pub security_mirror: Option<Url>,
    /// Whether security updates are used.
    pub security: bool,
}

/// `[kernel]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Where it comes from.
    pub source: KernelSource,
    /// Classes of hardware, sorted, each once.
    pub hardware: Vec<Hardware>,
    /// Modules to load beside those.
    pub modules: Vec<ModuleName>,
    /// Extra arguments; empty if there are none.
    pub args: String,
}

/// Where the kernel comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelSource {
    /// A Debian package.
    Package(PackageName),
    /// The author's own.
    Own {
        /// bzImage or Image.
        image: InputPath,
        /// Directory or tar archive with `lib/modules/<release>`; `None`: everything is built in.
        modules: Option<InputPath>,
    },
}

/// A file or directory on the computer that builds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputPath {
    /// As the manifest writes it: for messages and the lock.
    pub written: String,
    /// Where it is: resolved against the manifest's directory.
    pub path: PathBuf,
}

/// `[network]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Interfaces, in manifest order; the first that matches a link applies.
    pub interfaces: Vec<Interface>,
    /// Name servers.
    pub dns: Vec<IpAddr>,
    /// Search domains.
    pub search: Vec<Hostname>,
}

/// `[[network.interface]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Links it applies to.
    pub select: LinkMatch,
    /// IPv4.
    pub ipv4: Ipv4Setting,
    /// Gateway of a fixed IPv4 address.
    pub ipv4_gateway: Option<Ipv4Addr>,
    /// IPv6.
    pub ipv6: Ipv6Setting,
    /// Gateway of a fixed IPv6 address.
    pub ipv6_gateway: Option<Ipv6Addr>,
    /// Largest packet; `None` leaves the driver's.
    pub mtu: Option<u32>,
}

/// `[system]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    /// Host name; `None`: made of the image's name and the machine's id.
    pub hostname: Option<Hostname>,
    /// What to do when the boot fails.
    pub on_failure: OnFailure,
    /// Watchdog timeout; zero leaves the watchdog alone.
    pub watchdog: Millis,
    /// How long an ordered stop may take.
    pub stop_timeout: Millis,
    /// Settings below `/proc/sys`, sorted.
    pub sysctl: BTreeMap<SysctlName, String>,
}

/// `[[container]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Name.
    pub name: Name,
    /// Where its root file system comes from.
    pub source: Source,
    /// Program and arguments; `None` only with [`Source::Oci`]: the image's.
    pub command: Option<Vec<String>>,
    /// Environment variables beside the image's.
    pub env: BTreeMap<EnvName, String>,
    /// Working directory; `None`: the image's, else `/`.
    pub workdir: Option<GuestPath>,
    /// User; `None`: the image's, else root.
    pub user: Option<User>,
    /// Ports on which it answers.
    pub ports: Vec<Port>,
    /// Directories on `state`.
    pub volumes: Vec<Volume>,
    /// Every directory in memory, the usual ones included; sorted, each once, none under a volume's path.
    pub tmpfs: Vec<GuestPath>,
    /// What it may do with its root.
    pub root: Root,
    /// When it is started again.
    pub restart: Restart,
    /// The pause before that.
    pub backoff: Backoff,
    /// Where its output goes.
    pub log: Log,
    /// Memory limit.
    pub memory: Bytes,
    /// Limit of processes and threads.
    pub pids: u32,
    /// cgroup v2 `cpu.weight`.
    pub cpu_weight: u16,
    /// The whole set it gets, sorted.
    pub capabilities: Vec<Capability>,
    /// System call filter.
    pub seccomp: SeccompProfile,
    /// Whether set-user-id programs are without effect.
    pub no_new_privileges: bool,
    /// Which network it sees.
    pub network: NetworkMode,
    /// Whether it waits for the network.
    pub needs_network: bool,
    /// When it starts for the first time.
    pub start: Start,
    /// Host name inside.
    pub hostname: Hostname,
    /// Signal that asks it to stop; `None`: the image's, else SIGTERM.
    pub stop_signal: Option<Signal>,
    /// How long it may take to stop.
    pub stop_timeout: Millis,
    /// Files for its root file system, paths unique.
    pub files: Vec<File>,
}

impl Container {
    /// It cannot start before `state` is mounted: it has volumes or logs to a file.
    pub fn needs_state(&self) -> bool {
        !self.volumes.is_empty() || matches!(self.log, Log::File { .. })
    }
}

/// Where a container's root file system comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Debian packages; at least one.
    Packages(Vec<PackageName>),
    /// An OCI layout or `docker save` archive.
    Oci {
        /// Directory or tar archive.
        path: InputPath,
        /// Which image in it.
        tag: Option<String>,
    },
    /// A directory or tar archive.
    Rootfs(InputPath),
}

/// A directory on `state`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Name.
    pub name: Name,
    /// Where the device keeps it: `/state/volumes/<container>/<name>`.
    pub device_path: String,
    /// Where the container sees it.
    pub path: GuestPath,
    /// Owner when it is made; `None`: the container's user as the builder resolves it, else 0.
    pub uid: Option<u32>,
    /// Group when it is made; `None`: the container's group as the builder resolves it, else 0.
    pub gid: Option<u32>,
    /// Mode when it is made.
    pub mode: Mode,
}

/// Where a container's output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Log {
    /// To the console.
    Console,
    /// To a file on `state`.
    File {
        /// How large one file may become.
        max_size: Bytes,
        /// How many are kept.
        files: u8,
    },
    /// Nowhere.
    Discard,
}

/// Which system calls a container may make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SeccompProfile {
    /// The built-in profile.
    Default,
    /// All.
    Unconfined,
    /// The author's own: JSON, `linux.seccomp` of the OCI runtime specification.
    File(InputPath),
}

/// `[update]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The first trusted root.
    pub root: InputPath,
    /// Security epoch.
    pub epoch: u32,
    /// How long a new release may take.
    pub deadline: Millis,
    /// How long everything must stay healthy.
    pub settle: Millis,
    /// When a new release is kept.
    pub gate: Gate,
    /// Most bytes per second from the network; `None`: no limit.
    pub download_rate: Option<Rate>,
    /// Most bytes per second to the disk; `None`: no limit.
    pub write_rate: Option<Rate>,
    /// Whether the machine can make kernels from deltas, where that needs a program.
    pub kernel_deltas: bool,
    /// The channel that the machine follows; `None`: it takes only what it is given.
    pub channel: Option<Channel>,
}

/// What of `[update]` is about a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Its repository.
    pub url: RepositoryUrl,
    /// Its name.
    pub name: String,
    /// How often the machine looks.
    pub poll: Millis,
    /// When the machine may restart; empty: at any time.
    pub windows: Vec<Window>,
}

/// `[[health]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Name.
    pub name: Name,
    /// What is done.
    pub probe: Probe,
    /// How long one attempt may take.
    pub timeout: Millis,
    /// The pause between attempts.
    pub interval: Millis,
}

/// What a check does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A program in a container ends with status 0.
    Command {
        /// The container, which exists.
        container: Name,
        /// Program and arguments.
        args: Vec<String>,
    },
    /// An address answers well.
    Http(HttpAddress),
    /// An address accepts a connection.
    Tcp(Endpoint),
    /// A file exists.
    File(GuestPath),
}

/// `[control]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// The operators' public keys.
    pub keys: Vec<ControlKey>,
    /// Where requests come from, sorted, each once.
    pub transports: Vec<Transport>,
}

/// The public key of an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlKey {
    /// The key itself, Ed25519.
    Key([u8; 32]),
    /// A file that has it.
    File(InputPath),
}

/// A file put into a root file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Where it is put.
    pub path: GuestPath,
    /// What is in it.
    pub content: FileContent,
    /// Mode.
    pub mode: Mode,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What is in a [`File`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileContent {
    /// A copy of this file.
    Source(InputPath),
    /// This text.
    Text(String),
}
