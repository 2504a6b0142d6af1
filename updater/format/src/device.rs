//! The device configuration: what the builder compiled from the manifest for `coracle-init` and its services.
//!
//! Two files, one envelope (magic, version, length, SHA-256, then [postcard](https://postcard.jamesmunns.com)): the
//! *early* one in the initramfs, the *device* one beside it. Written and read by programs of the same build,
//! so there is no compatibility to keep; an unknown version is an error. See `docs/formats/device-config.md`.

use alloc::{string::String, vec::Vec};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

/// Path of the [`EarlyConfig`] in the initramfs.
pub const EARLY_PATH: &str = "/etc/coracle/early.cfg";
/// Path of the [`DeviceConfig`], in the initramfs too.
pub const DEVICE_PATH: &str = "/etc/coracle/device.cfg";
/// Where the verified root image is mounted. What of the root is not in memory is a link to the same path below it.
pub const SYSTEM: &str = "/system";
/// The first trusted metadata root of updates, on the verified root image: TUF `root` metadata, JSON.
pub const TRUST_ROOT_PATH: &str = "/usr/share/coracle/root.json";
/// The program that compresses what a delta has made of the contents of a compressed file, on the verified root image.
pub const ZSTD_PATH: &str = "/usr/bin/zstd";
/// Its version: another one gives other bytes, and deltas name this one.
pub const ZSTD_VERSION: &str = "1.5.7";
/// The largest configuration file that is read.
pub const LIMIT_BYTES: usize = 4 << 20;
/// Kernel argument `coracle.verity=<root hash>:<salt>:<data blocks>`, hexadecimal and decimal: the root of trust of
/// the root file system, covered by the signature of the boot artefact.
pub const VERITY_ARG: &str = "coracle.verity";

const MAGIC: [u8; 8] = *b"CORACFG\0";
const VERSION: u32 = 0;
const HEADER_BYTES: usize = 8 + 4 + 4 + 32;

/// Name of the virtio-serial port that leads to the control service.
pub const CONTROL_PORT: &str = "coracle.control";
/// The vsock port of the control service.
pub const CONTROL_VSOCK_PORT: u32 = 7070;

/// What to do when a boot phase failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnFailure {
    /// Reboot: the selector falls back if there is something to fall back to.
    Reboot,
    /// Power off and wait for a person.
    PowerOff,
}

/// One kernel module; the list it stands in is in load order, dependencies first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// Name as `/proc/modules` shows it (underscores).
    pub name: String,
    /// Absolute path of the uncompressed file.
    pub path: String,
    /// Module parameters, as on `modprobe`'s command line; usually empty.
    pub params: String,
    /// When it is loaded.
    pub load: Load,
    /// Indices of the modules in the same list that must be loaded first (closure, ascending, all smaller than its own).
    pub needs: Vec<u16>,
}

/// When a module is loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Load {
    /// Before every other module: watchdog and crash recorder.
    First,
    /// Always.
    Always,
    /// When a device's modalias matches one of these patterns (`*`, `?`, `[…]` as in modules.alias).
    Alias(Vec<String>),
    /// Only because another module needs it.
    Dependency,
}

/// The part that leads to the verified root image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarlyConfig {
    /// How long to wait for the disk, milliseconds.
    pub root_wait_ms: u32,
    /// Modules needed to reach the root.
    pub modules: Vec<Module>,
}

/// The part for everything else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceConfig {
    /// `[image] name`.
    pub image_name: String,
    /// `[image] version`.
    pub image_version: String,
    /// What to do when a phase failed.
    pub on_failure: OnFailure,
    /// Host name; empty: made of the image name and the machine id (`hello-3f9a0c`).
    pub hostname: String,
    /// Modules loaded after the switch to the root.
    pub modules: Vec<Module>,
    /// Watchdog timeout in seconds; 0 leaves it alone.
    pub watchdog_seconds: u16,
    /// `/proc/sys` settings: path with slashes below `/proc/sys`, value.
    pub sysctl: Vec<(String, String)>,
    /// Network set-up.
    pub network: Network,
    /// Clock set-up.
    pub clock: Clock,
    /// Containers in manifest order.
    pub containers: Vec<Container>,
    /// Seconds that an ordered stop may take before everything is killed.
    pub stop_seconds: u16,
    /// How updates are taken; `None`: this image takes none, and its slots never change.
    pub update: Option<Update>,
    /// The user's own checks that decide, beside the containers, whether a trial is committed.
    pub checks: Vec<Check>,
    /// Who may control the machine; `None`: nobody, the service is not started.
    pub control: Option<Control>,
}

/// How updates are taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// Security epoch of this image.
    pub epoch: u32,
    /// Seconds from the start of the kernel within which a release on trial must be committed.
    pub deadline_seconds: u16,
    /// Seconds that everything must stay healthy before the commit.
    pub settle_seconds: u16,
    /// What "healthy" means for a release on trial.
    pub gate: Gate,
    /// Most bytes per second taken from the network; 0: no limit.
    pub download_rate: u64,
    /// Most bytes per second written to the spare slot; 0: no limit.
    pub write_rate: u64,
    /// The channel that the machine follows; `None`: it takes only what it is given.
    pub channel: Option<Channel>,
}

/// A channel of updates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// Address of its repository, without a slash at its end.
    pub url: String,
    /// Its name.
    pub name: String,
    /// Seconds between two looks, more or less.
    pub poll_seconds: u32,
    /// When the machine may restart, `Sat,Sun 02:00-05:00` in UTC; empty: at any time.
    pub windows: Vec<String>,
}

/// What "healthy" means for a release on trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Gate {
    /// Every container and check is healthy.
    Healthy,
    /// Nothing is sick that was healthy when the trial was armed, so that a sick application cannot block its own fix.
    NoWorse,
}

/// One check of the user's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Name, unique; `[a-z0-9-]`, at most 40 bytes.
    pub name: String,
    /// What is done.
    pub probe: Probe,
    /// Milliseconds that one attempt may take.
    pub timeout_ms: u32,
    /// Milliseconds between attempts.
    pub interval_ms: u32,
}

/// What a check does. It passes when the attempt succeeds within its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Probe {
    /// A program inside a running container ends with status 0.
    Command {
        /// The container.
        container: String,
        /// Program and arguments, at least one.
        args: Vec<String>,
    },
    /// `GET` over plain HTTP from this machine answers with a status of 200 to 399.
    Http {
        /// Address or name.
        host: String,
        /// Port.
        port: u16,
        /// Path and query, from the first slash.
        path: String,
    },
    /// A TCP connection is accepted.
    Tcp {
        /// Address or name.
        host: String,
        /// Port.
        port: u16,
    },
    /// A file exists (on `state` or in `/run`).
    File {
        /// Absolute path.
        path: String,
    },
}

/// Who may control the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// Ed25519 public keys of the operators.
    pub keys: Vec<[u8; 32]>,
    /// Where requests come from.
    pub transports: Vec<Transport>,
}

/// A way to the control service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transport {
    /// The virtio-serial port of the name [`CONTROL_PORT`].
    VirtioSerial,
    /// A vsock listener on port [`CONTROL_VSOCK_PORT`].
    Vsock,
}

/// Network set-up.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Network {
    /// One entry per declared interface; the first that matches a link applies. Links without a match stay down.
    pub interfaces: Vec<Interface>,
    /// Name servers beside those that DHCP brings.
    pub dns: Vec<IpAddr>,
    /// Search domains.
    pub search: Vec<String>,
}

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Which links it applies to.
    pub select: Select,
    /// IPv4.
    pub ipv4: Ipv4,
    /// IPv6.
    pub ipv6: Ipv6,
    /// MTU; 0 leaves the driver's.
    pub mtu: u32,
}

/// Which links an [`Interface`] applies to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Select {
    /// Any physical Ethernet link.
    AnyEthernet,
    /// By kernel name, `eth0`.
    Name(String),
    /// By hardware address.
    Mac([u8; 6]),
}

/// IPv4 of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ipv4 {
    /// None.
    Off,
    /// DHCPv4 (RFC 2131).
    Dhcp,
    /// Fixed.
    Static {
        /// Own address.
        address: Ipv4Addr,
        /// Prefix length.
        prefix: u8,
        /// Default gateway.
        gateway: Option<Ipv4Addr>,
    },
}

/// IPv6 of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ipv6 {
    /// Disabled on the link.
    Off,
    /// Stateless autoconfiguration (RFC 4862).
    Slaac,
    /// Fixed, without router advertisements.
    Static {
        /// Own address.
        address: Ipv6Addr,
        /// Prefix length.
        prefix: u8,
        /// Default gateway.
        gateway: Option<Ipv6Addr>,
    },
}

/// Clock set-up.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Clock {
    /// No clock before this moment is believed: the newest signed date in the build, seconds since 1970.
    pub floor: u64,
    /// NTP servers (names or addresses) beside those that DHCP brings. Empty and none from DHCP: the clock is left alone.
    pub ntp: Vec<String>,
}

/// One container.
#[expect(clippy::struct_excessive_bools, reason = "each is one key of the manifest")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Name, unique; `[a-z0-9-]`, at most 40 bytes.
    pub name: String,
    /// Directory in the root with `config.json` (OCI runtime specification) and `rootfs`.
    pub bundle: String,
    /// Whether the container may write to its root.
    pub root: ContainerRoot,
    /// When it is started again.
    pub restart: Restart,
    /// First and longest pause before a restart, milliseconds; it doubles in between.
    pub backoff_ms: (u32, u32),
    /// Where its output goes.
    pub log: Log,
    /// Directories on `state` to make before the start.
    pub volumes: Vec<Volume>,
    /// It starts only when the system file system is mounted: its bundle is there, not in memory.
    pub needs_system: bool,
    /// It starts only when `state` is mounted (it has volumes or a file log).
    pub needs_state: bool,
    /// It starts only when the network is up.
    pub needs_network: bool,
    /// Signal that asks it to stop.
    pub stop_signal: u8,
    /// Seconds until it is killed.
    pub stop_seconds: u16,
    /// Whether it waits until the running release is committed: for containers that migrate data.
    pub after_commit: bool,
}

/// A container's root file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerRoot {
    /// The baked tree as it is; `root.path` in `config.json` is `<bundle>/rootfs`.
    ReadOnly,
    /// An overlay with its upper layer in memory, gone at every start; `root.path` is
    /// `/run/coracle/containers/<name>/rootfs`.
    Ephemeral,
}

/// When a container is started again after it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Restart {
    /// Always.
    Always,
    /// When it ended with a status other than 0.
    OnFailure,
    /// Never.
    Never,
}

/// Where a container's output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Log {
    /// To the console, one line at a time, `name: ` before each, rate-limited.
    Console,
    /// To `/state/log/<name>.log`, rotated.
    File {
        /// Bytes of one file before it is rotated.
        max_bytes: u64,
        /// How many files are kept.
        files: u8,
    },
    /// Nowhere.
    Discard,
}

/// A directory on `state` that a container sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Absolute path, below `/state/volumes/`.
    pub path: String,
    /// Owner when it is made.
    pub uid: u32,
    /// Group when it is made.
    pub gid: u32,
    /// Mode when it is made.
    pub mode: u32,
}

/// Why bytes are not a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAConfig {
    /// Shorter than its header or its stated length, or longer.
    Length,
    /// Another magic number.
    Magic,
    /// Another version.
    Version(u32),
    /// The digest does not match.
    Digest,
    /// The body is not what it says.
    Body,
}

impl core::fmt::Display for NotAConfig {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Length => f.write_str("device configuration has the wrong length"),
            Self::Magic => f.write_str("not a device configuration"),
            Self::Version(version) => {
                write!(f, "device configuration has unknown version {version}")
            }
            Self::Digest => f.write_str("device configuration does not match its digest"),
            Self::Body => f.write_str("device configuration cannot be decoded"),
        }
    }
}

impl core::error::Error for NotAConfig {}

/// Encodes a configuration with its envelope; `None` if it is larger than [`LIMIT_BYTES`].
pub fn encode<T: Serialize>(config: &T) -> Option<Vec<u8>> {
    let body = postcard::to_allocvec(config).ok()?;
    let length = u32::try_from(body.len()).ok()?;
    let mut out = Vec::with_capacity(HEADER_BYTES + body.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&Sha256::digest(&body));
    out.extend_from_slice(&body);
    (out.len() <= LIMIT_BYTES).then_some(out)
}

/// Decodes [`EarlyConfig`] or [`DeviceConfig`]. The digest is checked before the body is parsed.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, NotAConfig> {
    let (header, body) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(NotAConfig::Length)?;
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if header[..8] != MAGIC {
        return Err(NotAConfig::Magic);
    }
    if word(8) != VERSION {
        return Err(NotAConfig::Version(word(8)));
    }
    if usize::try_from(word(12)) != Ok(body.len()) || bytes.len() > LIMIT_BYTES {
        return Err(NotAConfig::Length);
    }
    if Sha256::digest(body)[..] != header[16..] {
        return Err(NotAConfig::Digest);
    }
    match postcard::take_from_bytes(body) {
        Ok((config, [])) => Ok(config),
        Ok(_) | Err(_) => Err(NotAConfig::Body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn sample() -> EarlyConfig {
        EarlyConfig {
            root_wait_ms: 30_000,
            modules: vec![Module {
                name: "virtio_blk".into(),
                path: "/lib/modules/virtio_blk.ko".into(),
                params: String::new(),
                load: Load::Alias(vec!["virtio:d00000002v*".into()]),
                needs: vec![],
            }],
        }
    }

    #[test]
    fn a_configuration_survives_the_round_trip() {
        let bytes = encode(&sample()).unwrap();
        assert_eq!(decode::<EarlyConfig>(&bytes), Ok(sample()));
    }

    #[test]
    fn damage_truncation_and_trailing_bytes_are_refused() {
        let bytes = encode(&sample()).unwrap();
        for index in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[index] ^= 1;
            assert!(decode::<EarlyConfig>(&damaged).is_err(), "byte {index}");
            assert!(decode::<EarlyConfig>(&bytes[..index]).is_err(), "cut at {index}");
        }
        let mut longer = bytes;
        longer.push(0);
        assert_eq!(decode::<EarlyConfig>(&longer), Err(NotAConfig::Length));
    }
}
