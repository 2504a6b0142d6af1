//! Every flag, in one place; help, man pages and completions are made from this.

mod channel;
mod delta;
mod keys;

pub(super) use channel::{Channel, ChannelAction, Place, Publish, Steer, Which};
pub(super) use delta::{Delta, DeltaAction};
pub(super) use keys::{Keys, KeysAction, NewKeys, Role, Rotate, SignRoot};

use crate::{
    ctl::{Address, CONNECT_WITHIN},
    machine::Firmware,
    show::{Format, Verbosity},
    signer::Command,
};
use clap::{Args, Parser, Subcommand};
use coracle_format::version::Version;
use std::path::PathBuf;

/// Builds the smallest Linux that carries containers, from one TOML manifest.
///
/// Exit codes: 0 done; 1 the work failed; 2 usage or manifest wrong, nothing touched; 3 refused (signature, digest,
/// version, policy).
#[derive(Debug, Parser)]
#[command(name = "coracle", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// Flags of every verb.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Flags of every verb.
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line are just that")]
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Print one JSON object per line on stdout
    #[arg(long, global = true)]
    pub json: bool,
    /// Show warnings and errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Show details
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Never use the network: everything must be in the cache or in the mirror directory
    #[arg(long, global = true)]
    pub offline: bool,
    /// Where downloads and build steps are kept [default: $XDG_CACHE_HOME/coracle or ~/.cache/coracle]
    #[arg(long, global = true, value_name = "DIR", env = "CORACLE_CACHE", hide_env_values = true)]
    pub cache: Option<PathBuf>,
}

impl Global {
    /// The form of output.
    pub const fn format(&self) -> Format {
        if self.json { Format::Json } else { Format::Human }
    }

    /// How much to show.
    pub const fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, true) => Verbosity::Verbose,
            (false, false) => Verbosity::Normal,
        }
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Build the image of a manifest
    Build(BuildBundle),
    /// Build the image if needed and boot it in QEMU
    Run(Run),
    /// Choose and record the exact packages of a manifest
    Lock(Lock),
    /// Keep everything a lock names in a directory that serves as a mirror later
    Vendor(Vendor),
    /// Make, list and change keys: for updates, Secure Boot, operators
    Keys(Keys),
    /// Put releases into an update channel
    Publish(Publish),
    /// Show and steer update channels: promote, pause, withdraw, refresh, check
    Channel(Channel),
    /// Make what brings machines from one release to another in few bytes
    Delta(Delta),
    /// Sign what firmware starts, for Secure Boot
    Sign(Sign),
    /// Show what is in a disk image, an update bundle or a delta
    Inspect(Inspect),
    /// Check an update bundle as a machine would, or who vouches for a delta
    Verify(Verify),
    /// Measure size, boot time and memory of an image
    Bench(Bench),
    /// Control a running machine: status, logs, updates, reboot
    Ctl(Ctl),
    /// Pack the device programs for a coracle installed without its sources
    Device(Device),
    /// Print a completion script for a shell
    Completions(Completions),
    /// Write the man pages
    Man(Man),
}

/// Where packages come from.
#[derive(Clone, Debug, Default, Args)]
pub struct Source {
    /// Debian mirror: a URL or a directory [default: the manifest's, or this host's own]
    #[arg(long, value_name = "URL|DIR", env = "CORACLE_MIRROR", hide_env_values = true)]
    pub mirror: Option<String>,
    /// Debian security mirror [default: beside the mirror]
    #[arg(long, value_name = "URL|DIR", env = "CORACLE_SECURITY_MIRROR", hide_env_values = true)]
    pub security_mirror: Option<String>,
    /// Archive keys to trust instead of the built-in ones
    #[arg(long, value_name = "FILE")]
    pub keyring: Option<PathBuf>,
    /// Accept package indexes that have expired (for old releases in a vendored mirror)
    #[arg(long)]
    pub allow_expired: bool,
}

/// `coracle build`.
#[derive(Clone, Debug, Args)]
pub struct Build {
    /// The manifest
    #[arg(value_name = "MANIFEST")]
    pub manifest: PathBuf,
    /// Output directory [default: out/<image name>-<architecture>]
    #[arg(short, long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Use the lock as it is; refuse if it is missing or no longer fits the manifest
    #[arg(long)]
    pub locked: bool,
    /// Where packages come from
    #[command(flatten)]
    pub source: Source,
}

/// `coracle build`, with what only it can make.
#[derive(Debug, Args)]
pub struct BuildBundle {
    /// What to build
    #[command(flatten)]
    pub build: Build,
    /// Write update.bundle beside the disk as well: what brings machines from other releases to this one
    #[arg(long)]
    pub bundle: bool,
    /// Keys that sign the bundle, as `coracle keys new` makes them
    #[arg(long, value_name = "DIR", requires = "bundle")]
    pub keys: Option<PathBuf>,
    /// Program that signs the bundle: `CMD targets` gets bytes and prints a signature, `CMD public` prints the public key
    #[arg(long, value_name = "CMD", requires = "bundle")]
    pub signer: Option<Command>,
    /// Let the bundle replace versions up to this newer one: a signed downgrade
    #[arg(long, value_name = "VERSION", requires = "bundle", value_parser = version)]
    pub replaces: Option<Version>,
    /// Sign selector and boot artefact for Secure Boot with this key (PEM), as `coracle sign` does
    #[arg(long, value_name = "FILE", requires = "sign_cert")]
    pub sign_key: Option<PathBuf>,
    /// The certificate of that key (PEM)
    #[arg(long, value_name = "FILE", requires = "sign_key")]
    pub sign_cert: Option<PathBuf>,
}

fn version(text: &str) -> Result<Version, &'static str> {
    Version::parse(text).ok_or("a version is one to four numbers up to 65535, such as 1.2.3")
}

/// `coracle sign`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("how").required(true).multiple(true))]
pub struct Sign {
    /// The directory that `coracle build` made
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// The key that signs (PEM)
    #[arg(long, value_name = "FILE", requires = "cert", group = "how")]
    pub key: Option<PathBuf>,
    /// Its certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// Leave the disk alone and write detached signatures to this directory
    #[arg(long, value_name = "OUT", requires = "key")]
    pub detached: Option<PathBuf>,
    /// Write both programs to this directory, to be signed elsewhere
    #[arg(long, value_name = "WORK", group = "how", conflicts_with_all = ["key", "import"])]
    pub export: Option<PathBuf>,
    /// Put both programs, signed elsewhere, or their detached signatures (.p7) from this directory onto the disk
    #[arg(long, value_name = "WORK", group = "how", conflicts_with = "key")]
    pub import: Option<PathBuf>,
}

/// `coracle verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// The bundle or delta
    #[arg(value_name = "FILE")]
    pub bundle: PathBuf,
    /// The root metadata that machines trust
    #[arg(long, value_name = "FILE")]
    pub root: PathBuf,
}

/// `coracle run`.
#[derive(Debug, Args)]
pub struct Run {
    /// What to build
    #[command(flatten)]
    pub build: Build,
    /// How the machine starts: through UEFI firmware (with Secure Boot), or with the kernel loaded directly
    #[arg(long, value_name = "uefi|uefi-secure|direct", default_value = "uefi")]
    pub firmware: Firmware,
    /// The certificate (PEM) that firmware with Secure Boot trusts, and no other
    #[arg(long, value_name = "FILE")]
    pub secure_boot_cert: Option<PathBuf>,
    /// Keep the machine's disk in this file: made from the image if there is none, else booted as it is
    #[arg(long, value_name = "FILE")]
    pub disk: Option<PathBuf>,
    /// Size of the machine's disk in MiB; a kept one grows to it [default: 2048, or what a kept disk has]
    #[arg(long, value_name = "MIB")]
    pub disk_size: Option<u64>,
    /// Lead the machine's control port to a unix socket, for `coracle ctl`
    #[arg(long, value_name = "SOCKET")]
    pub control: Option<PathBuf>,
    /// Memory in MiB
    #[arg(long, value_name = "MIB", default_value_t = 512)]
    pub memory: u32,
    /// Processors
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub cpus: u8,
    /// Do not show the console; say when the containers are up
    #[arg(long)]
    pub headless: bool,
    /// Power the machine off after this many seconds
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
    /// Let the machine reach nothing but its forwarded ports
    #[arg(long)]
    pub isolated: bool,
    /// Write a chart of the boot to this SVG file
    #[arg(long, value_name = "FILE")]
    pub boot_chart: Option<PathBuf>,
}

/// `coracle lock`.
#[derive(Debug, Args)]
pub struct Lock {
    /// The manifest
    #[arg(value_name = "MANIFEST")]
    pub manifest: PathBuf,
    /// Where packages come from
    #[command(flatten)]
    pub source: Source,
}

/// `coracle vendor`.
#[derive(Debug, Args)]
pub struct Vendor {
    /// The manifest
    #[arg(value_name = "MANIFEST")]
    pub manifest: PathBuf,
    /// The directory
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Where packages come from
    #[command(flatten)]
    pub source: Source,
}

/// `coracle inspect`.
#[derive(Debug, Args)]
pub struct Inspect {
    /// A disk image, an update bundle, a delta, or a directory that `coracle build` made
    #[arg(value_name = "IMAGE")]
    pub image: PathBuf,
}

/// `coracle bench`.
#[derive(Debug, Args)]
pub struct Bench {
    /// What to build
    #[command(flatten)]
    pub build: Build,
    /// Pairs of boots to measure
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub pairs: u32,
    /// Write a chart of the boot to this SVG file
    #[arg(long, value_name = "FILE")]
    pub boot_chart: Option<PathBuf>,
}

/// `coracle ctl`. Ends with the machine's exit code.
#[derive(Debug, Args)]
pub struct Ctl {
    /// The machine: a socket that leads to its virtio-serial port, or a virtual machine of this computer
    #[arg(long, value_name = "unix:PATH|vsock:CID")]
    pub to: Address,
    /// The operator's key, made by `coracle keys operator`
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// How long to wait for the machine to answer
    #[arg(long, value_name = "SECONDS", default_value_t = CONNECT_WITHIN.as_secs())]
    pub wait: u64,
    /// What to ask for
    #[command(subcommand)]
    pub action: CtlAction,
}

/// What to ask a machine for.
#[derive(Debug, Subcommand)]
pub enum CtlAction {
    /// Show what runs, what both slots hold, and how the services are
    Status,
    /// Show the kernel log, or that of a container
    Logs {
        /// The container; without one, the kernel log
        #[arg(value_name = "CONTAINER")]
        container: Option<String>,
        /// How many of the last lines
        #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
        lines: u32,
        /// Go on with what is added
        #[arg(short, long)]
        follow: bool,
    },
    /// Say whether an update would be applied
    Check {
        /// Where it is
        #[command(flatten)]
        place: CtlPlace,
    },
    /// Write an update to the spare slot and arm its trial
    Apply {
        /// Where it is
        #[command(flatten)]
        place: CtlPlace,
        /// Reboot into it
        #[arg(long)]
        reboot: bool,
    },
    /// Commit the release on trial by hand
    Confirm,
    /// Boot the other good slot next, and hold it
    Rollback {
        /// Reboot into it
        #[arg(long)]
        reboot: bool,
    },
    /// Allow a release that failed to be applied again
    Retry {
        /// The beginning of its digest [default: the one that failed last]
        #[arg(value_name = "RELEASE")]
        release: Option<String>,
    },
    /// Show what happened to both slots
    History,
    /// Reboot the machine
    Reboot,
    /// Power the machine off
    Poweroff,
}

/// Where an update for a machine is: here or at an address, or on the machine.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct CtlPlace {
    /// A bundle on this computer, or the address at which the machine fetches it
    #[arg(value_name = "FILE|URL")]
    pub source: Option<String>,
    /// A block device of the machine that holds a bundle, as /dev/vdb, or a file below its /state
    #[arg(long, value_name = "PATH")]
    pub device: Option<String>,
}

/// `coracle device`.
#[derive(Debug, Args)]
pub struct Device {
    /// The archive to write
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,
}

/// `coracle completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// `coracle man`.
#[derive(Debug, Args)]
pub struct Man {
    /// The directory to write into
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}
