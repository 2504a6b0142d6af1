//! The tables about changing a machine from outside: updates, the checks that judge them, control.

use super::container::default_true;
use crate::values::{
    ChannelName, Endpoint, GuestPath, HostPath, HttpAddress, Millis, Name, OperatorKey, Rate, RepositoryUrl,
    Window,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Updates. Without this table the image takes none. With it, `version` in `[image]` is one to four numbers with dots
/// between them, such as `1.4.0`: only a higher one is taken.
///
/// ```toml
/// [update]
/// root = "keys/root.json"
/// deadline = "3 min"
/// download_rate = "2 MB/s"
/// ```
#[derive(Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateTable {
    /// The first trusted root, as `coracle keys` makes it: who may sign updates of this image.
    #[schemars(extend("examples" = ["keys/root.json"]))]
    pub(crate) root: HostPath,
    /// The security epoch. Raise it when older releases must not be booted any more, because a hole in them is known: a machine that has committed a release never goes back to one of a lower epoch.
    #[serde(default)]
    #[schemars(extend("examples" = [1]))]
    pub(crate) epoch: u32,
    /// How long after its start a new release may take to become healthy, before the machine goes back to the old one by itself: 30 s to 1 h.
    #[serde(default = "default_deadline")]
    #[schemars(extend("examples" = ["3 min"]))]
    pub(crate) deadline: Millis,
    /// How long everything must stay healthy before a new release is kept: at most 10 min, and less than the deadline.
    #[serde(default = "default_settle")]
    #[schemars(extend("examples" = ["30 s"]))]
    pub(crate) settle: Millis,
    /// When a new release is kept.
    #[serde(default)]
    pub(crate) gate: Gate,
    /// The most that is taken from the network. Default: no limit.
    #[schemars(extend("examples" = ["2 MB/s"]))]
    pub(crate) download_rate: Option<Rate>,
    /// The most that is written to the disk. Default: no limit.
    #[schemars(extend("examples" = ["20 MB/s"]))]
    pub(crate) write_rate: Option<Rate>,
    /// The repository that the machine follows, as `coracle publish` makes it. Without it the machine takes only what it is given.
    #[schemars(extend("examples" = ["https://updates.example/shop"]))]
    pub(crate) url: Option<RepositoryUrl>,
    /// The channel of that repository. Default: `stable`.
    #[schemars(extend("examples" = ["stable"]))]
    pub(crate) channel: Option<ChannelName>,
    /// How often the machine looks there: 1 min to 24 h, a fifth more or less by chance. Default: 1 h.
    #[schemars(extend("examples" = ["1 h"]))]
    pub(crate) poll: Option<Millis>,
    /// When the machine may restart for an update that it found there: at most 16 windows. Default: at any time. What is offered is written to the spare slot before that.
    #[schemars(length(max = 16), extend("examples" = [["Sat,Sun 02:00-05:00"]]))]
    pub(crate) windows: Option<Vec<Window>>,
    /// Whether the machine can make the kernel of a release from a delta: an image for x86_64 then has the program `zstd`. Without it, a new kernel is fetched whole. An aarch64 kernel is not compressed, and needs no program.
    #[serde(default = "default_true")]
    #[schemars(extend("examples" = [false]))]
    pub(crate) kernel_deltas: bool,
}

pub(crate) fn default_deadline() -> Millis {
    Millis(300_000)
}

fn default_settle() -> Millis {
    Millis(10_000)
}

/// When a new release is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Gate {
    /// When every container runs and every check passes.
    #[default]
    Healthy,
    /// When nothing is sick that was well under the old release.
    NoWorse,
}

/// A check that a new release must pass to be kept, beside its containers running. It has exactly one of `command`,
/// `http`, `tcp` or `file`, and passes when one attempt succeeds; failing attempts are repeated until the deadline of
/// `[update]`.
///
/// ```toml
/// [update]
/// root = "keys/root.json"
///
/// [[health]]
/// name = "front-page"
/// http = "http://127.0.0.1:8080/"
/// ```
#[derive(Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct HealthTable {
    /// The name, unique in the image.
    #[schemars(extend("examples" = ["front-page"]))]
    pub(crate) name: Name,
    /// A program and its arguments, started in `container`: it must end with status 0.
    #[schemars(length(min = 1, max = 256), extend("examples" = [["redis-cli", "ping"]]))]
    pub(crate) command: Option<Vec<String>>,
    /// The container that `command` is started in.
    #[schemars(extend("examples" = ["web"]))]
    pub(crate) container: Option<Name>,
    /// An address that must answer with a status of 200 to 399.
    #[schemars(extend("examples" = ["http://127.0.0.1:8080/"]))]
    pub(crate) http: Option<HttpAddress>,
    /// An address that must accept a connection.
    #[schemars(extend("examples" = ["127.0.0.1:6379"]))]
    pub(crate) tcp: Option<Endpoint>,
    /// A file that must exist, below `/state` or `/run`.
    #[schemars(extend("examples" = ["/state/volumes/web/data/ready"]))]
    pub(crate) file: Option<GuestPath>,
    /// How long one attempt may take: 100 ms to 5 min.
    #[serde(default = "default_timeout")]
    #[schemars(extend("examples" = ["10 s"]))]
    pub(crate) timeout: Millis,
    /// The pause between attempts: 100 ms to 5 min.
    #[serde(default = "default_interval")]
    #[schemars(extend("examples" = ["5 s"]))]
    pub(crate) interval: Millis,
}

fn default_timeout() -> Millis {
    Millis(5000)
}

fn default_interval() -> Millis {
    Millis(2000)
}

/// Control of the machine from its host: status, logs, updates, reboot. Without this table nobody has it. Every request
/// is signed by one of these keys; see `coracle ctl`.
///
/// ```toml
/// [control]
/// keys = ["keys/operator.pub"]
/// ```
#[derive(Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct ControlTable {
    /// The operators' public keys.
    #[schemars(length(min = 1, max = 64), extend("examples" = [["keys/operator.pub"]]))]
    pub(crate) keys: Vec<OperatorKey>,
    /// Where requests come from.
    #[serde(default = "default_transports")]
    #[schemars(length(min = 1), extend("uniqueItems" = true, "examples" = [["virtio-serial", "vsock"]]))]
    pub(crate) transports: Vec<Transport>,
}

fn default_transports() -> Vec<Transport> {
    vec![Transport::VirtioSerial]
}

/// Where requests come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// The virtio-serial port named `coracle.control`.
    VirtioSerial,
    /// A vsock listener on port 7070.
    Vsock,
}
