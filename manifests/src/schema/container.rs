//! `[[container]]` and the files put into a root file system.

use crate::values::{
    Bytes, Capability, EnvName, GuestPath, HostPath, Hostname, Millis, Mode, Name, PackageName, Port,
    Seccomp, Signal, User,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A container. It has exactly one source: `packages`, `oci` or `rootfs`.
///
/// ```toml
/// [[container]]
/// name = "web"
/// packages = ["busybox-static"]
/// command = ["busybox", "httpd", "-f", "-p", "8080", "-h", "/www"]
/// ports = ["8080"]
/// memory = "32 MiB"
///
/// [[container.file]]
/// path = "/www/index.html"
/// content = "Hello.\n"
/// ```
#[derive(Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct ContainerTable {
    /// The name, unique in the image.
    #[schemars(extend("examples" = ["web"]))]
    pub(crate) name: Name,
    /// Source: Debian packages, unpacked with all they depend on. No maintainer script runs.
    #[schemars(length(min = 1, max = 256), extend("examples" = [["busybox-static"]]))]
    pub(crate) packages: Option<Vec<PackageName>>,
    /// Source: an OCI image layout (directory or tar) or a `docker save` archive.
    #[schemars(extend("examples" = ["images/app.tar"]))]
    pub(crate) oci: Option<HostPath>,
    /// Which image of `oci` to take, if it holds several.
    #[schemars(length(min = 1, max = 256), extend("examples" = ["app:1.0"]))]
    pub(crate) tag: Option<String>,
    /// Source: a directory or tar archive with a root file system.
    #[schemars(extend("examples" = ["rootfs.tar"]))]
    pub(crate) rootfs: Option<HostPath>,
    /// The program and its arguments. Default: what the OCI image says; the other sources have no default.
    #[schemars(length(min = 1, max = 1024), extend("examples" = [["nginx", "-g", "daemon off;"]]))]
    pub(crate) command: Option<Vec<String>>,
    /// Environment variables, added to those of the OCI image.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": "env-name"}, "examples" = [{"LOG_LEVEL": "info"}]))]
    pub(crate) env: BTreeMap<EnvName, String>,
    /// The working directory. Default: the OCI image's, else `/`.
    #[schemars(extend("examples" = ["/srv"]))]
    pub(crate) workdir: Option<GuestPath>,
    /// The user it runs as. Default: the OCI image's, else root.
    pub(crate) user: Option<User>,
    /// The ports on which it answers.
    #[serde(default)]
    #[schemars(length(max = 256), extend("examples" = [["8080", "5353:53/udp"]]))]
    pub(crate) ports: Vec<Port>,
    /// Directories that survive restarts and updates.
    #[serde(default)]
    #[schemars(length(max = 64), extend("examples" = [[{"name": "data", "path": "/var/lib/redis"}]]))]
    pub(crate) volumes: Vec<VolumeTable>,
    /// Directories in memory, empty at every start. With a read-only root `/tmp`, `/run` and `/var/tmp` always are, and `/dev/shm` in every container.
    #[serde(default)]
    #[schemars(length(max = 64), extend("examples" = [["/var/lib/nginx"]]))]
    pub(crate) tmpfs: Vec<GuestPath>,
    /// What it may do with its root file system.
    #[serde(default)]
    pub(crate) root: Root,
    /// When it is started again after it ended.
    #[serde(default)]
    pub(crate) restart: Restart,
    /// The pause before it is started again.
    #[serde(default)]
    pub(crate) backoff: Backoff,
    /// Where its output goes.
    #[serde(default = "default_log")]
    #[schemars(extend("examples" = [{"max_size": "1 MiB"}]))]
    pub(crate) log: LogWritten,
    /// The memory it may use, at least 4 MiB. More, and the kernel ends it.
    #[serde(default = "default_memory")]
    #[schemars(extend("examples" = ["64 MiB"]))]
    pub(crate) memory: Bytes,
    /// How many processes and threads it may have.
    #[serde(default = "default_pids")]
    #[schemars(range(min = 1, max = 4_194_304))]
    pub(crate) pids: u32,
    /// Its share of the processor when that is short, against the others' weights.
    #[serde(default = "default_cpu_weight")]
    #[schemars(range(min = 1, max = 10_000))]
    pub(crate) cpu_weight: u16,
    /// Capabilities beside or without the usual ones.
    #[serde(default)]
    pub(crate) capabilities: CapabilitiesTable,
    /// The system calls it may make.
    #[serde(default = "default_seccomp")]
    pub(crate) seccomp: Seccomp,
    /// Whether set-user-id programs in it are without effect.
    #[serde(default = "default_true")]
    pub(crate) no_new_privileges: bool,
    /// Which network it sees.
    #[serde(default)]
    pub(crate) network: NetworkMode,
    /// What must be up before it starts. Volumes and a file log wait for the disk by themselves.
    #[serde(default)]
    #[schemars(extend("uniqueItems" = true, "examples" = [["network"]]))]
    pub(crate) needs: Vec<Need>,
    /// When it starts for the first time.
    #[serde(default)]
    pub(crate) start: Start,
    /// Its host name. Default: its name.
    pub(crate) hostname: Option<Hostname>,
    /// The signal that asks it to stop. Default: the OCI image's, else `SIGTERM`.
    pub(crate) stop_signal: Option<Signal>,
    /// How long it may take to stop before it is killed: at most 1 h.
    #[serde(default = "default_stop_timeout")]
    pub(crate) stop_timeout: Millis,
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub(crate) file: Vec<FileTable>,
}

fn default_log() -> LogWritten {
    LogWritten::Word(LogWord::Console)
}

fn default_memory() -> Bytes {
    Bytes(256 << 20)
}

fn default_pids() -> u32 {
    512
}

fn default_cpu_weight() -> u16 {
    100
}

fn default_seccomp() -> Seccomp {
    Seccomp::Default
}

pub(crate) fn default_true() -> bool {
    true
}

fn default_stop_timeout() -> Millis {
    Millis(10_000)
}

/// A directory on the `state` partition, `/state/volumes/<container>/<name>`.
#[derive(Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct VolumeTable {
    /// The name, unique in the container.
    #[schemars(extend("examples" = ["data"]))]
    pub(crate) name: Name,
    /// Where the container sees it.
    #[schemars(extend("examples" = ["/var/lib/redis"]))]
    pub(crate) path: GuestPath,
    /// Its owner when it is made. Default: the container's user if that is a number, else 0.
    #[schemars(extend("examples" = [999]))]
    pub(crate) uid: Option<u32>,
    /// Its group when it is made. Default: the container's group if that is a number, else 0.
    #[schemars(extend("examples" = [999]))]
    pub(crate) gid: Option<u32>,
    /// Its mode when it is made.
    #[serde(default = "volume_mode")]
    #[schemars(extend("examples" = ["0750"]))]
    pub(crate) mode: Mode,
}

fn volume_mode() -> Mode {
    Mode(0o755)
}

/// What a container may do with its root file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Root {
    /// Nothing is written.
    #[default]
    ReadOnly,
    /// What is written stays in memory and is gone at the next start.
    Ephemeral,
}

/// When a container is started again after it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Always.
    #[default]
    Always,
    /// When it ended with a status other than 0.
    OnFailure,
    /// Never.
    Never,
}

/// The pause before a container is started again. It doubles from `first` to `longest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Backoff {
    /// The first pause.
    #[schemars(extend("examples" = ["500 ms"]))]
    pub first: Millis,
    /// The longest pause.
    #[schemars(extend("examples" = ["1 min"]))]
    pub longest: Millis,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Millis(500), longest: Millis(60_000) }
    }
}

/// Where a container's output goes: a word, or a table for a file with limits of your own.
#[derive(Deserialize, Serialize, JsonSchema, Debug)]
#[serde(untagged)]
pub(crate) enum LogWritten {
    Word(LogWord),
    Table(LogTable),
}

/// Where a container's output goes.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogWord {
    /// To the console.
    Console,
    /// To `/state/log/<container>.log`, rotated.
    File,
    /// Nowhere.
    Discard,
}

/// The limits of a log file, where `log` is a table rather than a word.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LogTable {
    /// How large one file may become: 4 KiB to 1 GiB.
    #[schemars(extend("examples" = ["1 MiB"]))]
    pub(crate) max_size: Bytes,
    /// How many files are kept.
    #[schemars(range(min = 1, max = 100))]
    pub(crate) files: u8,
}

impl Default for LogTable {
    fn default() -> Self {
        Self { max_size: Bytes(1 << 20), files: 4 }
    }
}

/// Changes to the usual fourteen capabilities: `CHOWN`, `DAC_OVERRIDE`, `FOWNER`, `FSETID`, `KILL`, `SETGID`, `SETUID`,
/// `SETPCAP`, `NET_BIND_SERVICE`, `NET_RAW`, `SYS_CHROOT`, `MKNOD`, `AUDIT_WRITE`, `SETFCAP`.
#[derive(Deserialize, Serialize, JsonSchema, Debug, Default)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CapabilitiesTable {
    /// To give beside them.
    #[schemars(length(max = 64), extend("examples" = [["NET_ADMIN"]]))]
    pub(crate) add: Vec<Capability>,
    /// To take away; `ALL` leaves only those in `add`.
    #[schemars(length(max = 64), extend("examples" = [["NET_RAW"]]))]
    pub(crate) drop: Vec<Capability>,
}

/// Which network a container sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// The device's.
    #[default]
    Host,
    /// Its own, empty one: only loopback.
    None,
}

/// When a container starts for the first time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// As soon as what it needs is up.
    #[default]
    AtOnce,
    /// Once the running release is to stay: for what changes data so that an older release could not read it. It then has no part in deciding whether an update is kept.
    AfterCommit,
}

/// What must be up before a container starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Need {
    /// An address on some interface.
    Network,
}

/// A file put into a root file system. `[[file]]` goes into the machine's, `[[container.file]]` into a container's. It
/// has either `source` or `content`.
///
/// ```toml
/// [[file]]
/// path = "/etc/motd"
/// content = "Nobody logs in here.\n"
/// mode = "0644"
/// ```
#[derive(Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileTable {
    /// Where it is put. Missing directories are made; a file that is there is replaced.
    #[schemars(extend("examples" = ["/www/index.html"]))]
    pub(crate) path: GuestPath,
    /// The file to copy.
    #[schemars(extend("examples" = ["site/index.html"]))]
    pub(crate) source: Option<HostPath>,
    /// The text to write.
    #[schemars(extend("examples" = ["Hello.\n"]))]
    pub(crate) content: Option<String>,
    /// Its mode.
    #[serde(default = "file_mode")]
    pub(crate) mode: Mode,
    /// Its owner.
    #[serde(default)]
    pub(crate) uid: u32,
    /// Its group.
    #[serde(default)]
    pub(crate) gid: u32,
}

fn file_mode() -> Mode {
    Mode(0o644)
}
