//! Flags of `coracle publish` and `coracle channel`.

use super::{keys::Offline, version};
use crate::{
    keys::KeyDir,
    publish::{Days, Keys, Signing, deltas},
    signer::{Command, Signer},
};
use clap::{Args, Subcommand};
use coracle_format::{slot::Arch, version::Version};
use coracle_rollout::document::is_channel;
use std::path::PathBuf;

/// `coracle publish`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
pub struct Publish {
    /// A directory that `coracle build --bundle` made; several, such as one per architecture, appear at once
    #[arg(value_name = "DIR", group = "what")]
    pub dirs: Vec<PathBuf>,
    /// The repository and its keys
    #[command(flatten)]
    pub place: Place,
    /// The channel
    #[arg(long, value_name = "NAME", default_value = "stable", value_parser = channel)]
    pub channel: String,
    /// From when on a share of the machines takes it, such as `10%@2026-12-01T06:00:00Z` or `100%@+3d`; repeated with
    /// growing shares [default: all at once]
    #[arg(long = "wave", value_name = "SHARE@START")]
    pub waves: Vec<String>,
    /// The lowest version that it may be installed over
    #[arg(long, value_name = "VERSION", value_parser = version, requires = "dirs")]
    pub minimum: Option<Version>,
    /// Let it replace versions up to this newer one: a signed downgrade
    #[arg(long, value_name = "VERSION", value_parser = version, requires = "dirs")]
    pub replaces: Option<Version>,
    /// A key of the channel's own (PEM, public or private) that decides when releases are taken, when the channel is new
    /// [default: the timestamp's]
    #[arg(long, value_name = "FILE")]
    pub channel_key: Option<PathBuf>,
    /// Make deltas to the release from so many of the newest before it, at most 16
    #[arg(long, value_name = "N", default_value_t = deltas::DEFAULT,
          value_parser = clap::value_parser!(u8).range(0..=i64::from(deltas::MAX)))]
    pub deltas: u8,
    /// Write the channel to an image for a USB stick as well
    #[arg(long, value_name = "FILE", group = "what")]
    pub usb: Option<PathBuf>,
}

/// A repository, and what signs for it.
#[derive(Clone, Debug, Args)]
pub struct Place {
    /// The repository: a directory of static files
    #[arg(long, value_name = "DIR")]
    pub repo: PathBuf,
    /// What signs
    #[command(flatten)]
    pub online: Online,
}

/// What signs for a repository.
#[expect(clippy::struct_field_names, reason = "fields are named as their flags")]
#[derive(Clone, Debug, Args)]
pub struct Online {
    /// The directory of keys, as `coracle keys new` makes it; only the keys that are asked for need to be there
    #[arg(long, value_name = "DIR")]
    pub keys: PathBuf,
    /// A program that signs releases: `CMD targets` gets bytes and prints a signature
    #[arg(long, value_name = "CMD")]
    pub signer: Vec<Command>,
    /// A program that has the online key: `CMD timestamp`, `CMD snapshot` and `CMD targets` get bytes and print a
    /// signature
    #[arg(long, value_name = "CMD")]
    pub online_signer: Vec<Command>,
    /// What opens the keys
    #[command(flatten)]
    pub offline: Offline,
    /// Days until a new timestamp expires
    #[arg(long, value_name = "N", default_value_t = Days::DEFAULT.timestamp)]
    pub timestamp_days: u64,
    /// Days until a new snapshot expires
    #[arg(long, value_name = "N", default_value_t = Days::DEFAULT.snapshot)]
    pub snapshot_days: u64,
    /// Days until a channel's new document expires
    #[arg(long, value_name = "N", default_value_t = Days::DEFAULT.channel)]
    pub channel_days: u64,
    /// Days until a new list of releases expires
    #[arg(long, value_name = "N", default_value_t = Days::DEFAULT.targets)]
    pub targets_days: u64,
}

impl Online {
    /// The keys that it means.
    pub fn signing(&self) -> Signing {
        let commands = |commands: &[Command]| commands.iter().cloned().map(Signer::Command).collect();
        Signing {
            keys: Keys {
                dir: KeyDir::new(&self.keys).with_passphrase(self.offline.passphrase()),
                targets: commands(&self.signer),
                online: commands(&self.online_signer),
            },
            days: Days {
                timestamp: self.timestamp_days,
                snapshot: self.snapshot_days,
                channel: self.channel_days,
                targets: self.targets_days,
            },
        }
    }
}

/// `coracle channel`.
#[derive(Debug, Args)]
pub struct Channel {
    /// What to do
    #[command(subcommand)]
    pub action: ChannelAction,
}

/// Which releases of a channel.
#[derive(Clone, Debug, Default, Args)]
pub struct Which {
    /// The image, where a channel has several [default: all]
    #[arg(long, value_name = "NAME")]
    pub image: Option<String>,
    /// The architecture [default: all]
    #[arg(long, value_name = "x86_64|aarch64", value_parser = arch)]
    pub arch: Option<Arch>,
    /// The version [default: the newest that is not withdrawn]
    #[arg(long, value_name = "VERSION", value_parser = version)]
    pub version: Option<Version>,
}

/// What `coracle channel` does.
#[derive(Debug, Subcommand)]
pub enum ChannelAction {
    /// Show what every channel offers, and until when its documents are good
    Show {
        /// The repository
        #[arg(long, value_name = "DIR")]
        repo: PathBuf,
    },
    /// Offer the release of one channel in another one
    #[command(disable_version_flag = true)]
    Promote {
        /// The channel that has it
        #[arg(value_name = "FROM", value_parser = channel)]
        from: String,
        /// The channel that gets it
        #[arg(value_name = "TO", value_parser = channel)]
        to: String,
        /// Which release
        #[command(flatten)]
        which: Which,
        /// From when on a share of the machines takes it, such as `10%@2026-12-01T06:00:00Z` or `100%@+3d`
        #[arg(long = "wave", value_name = "SHARE@START")]
        waves: Vec<String>,
        /// The repository and its keys
        #[command(flatten)]
        place: Place,
    },
    /// Stop a release from being taken, for now
    #[command(disable_version_flag = true)]
    Pause(Steer),
    /// Let a paused release be taken again
    #[command(disable_version_flag = true)]
    Resume(Steer),
    /// Never offer a release again
    #[command(disable_version_flag = true)]
    Withdraw {
        /// Which release
        #[command(flatten)]
        steer: Steer,
        /// Where machines that run it go; an older version needs to be published with --replaces
        #[arg(long, value_name = "VERSION", value_parser = version)]
        instead: Option<Version>,
    },
    /// Sign a new timestamp, and whatever else is near its date: for a timer
    Refresh {
        /// The repository and its keys
        #[command(flatten)]
        place: Place,
        /// Sign everything anew with the keys of the newest root, after looking at what is there
        #[arg(long)]
        resign: bool,
    },
    /// Verify a whole repository as machines would
    Check {
        /// The repository
        #[arg(long, value_name = "DIR")]
        repo: PathBuf,
        /// The root metadata that machines trust [default: the repository's first]
        #[arg(long, value_name = "FILE")]
        root: Option<PathBuf>,
    },
}

/// A release whose state changes.
#[derive(Clone, Debug, Args)]
pub struct Steer {
    /// The channel
    #[arg(value_name = "CHANNEL", value_parser = channel)]
    pub channel: String,
    /// Which release
    #[command(flatten)]
    pub which: Which,
    /// The repository and its keys
    #[command(flatten)]
    pub place: Place,
}

fn channel(text: &str) -> Result<String, &'static str> {
    let valid = is_channel(text).then(|| text.to_owned());
    valid.ok_or("a channel's name has 1 to 32 characters of a-z, 0-9 and -, and is no role of TUF")
}

fn arch(text: &str) -> Result<Arch, &'static str> {
    let known = [Arch::X86_64, Arch::Aarch64].into_iter().find(|arch| arch.name() == text);
    known.ok_or("architectures are x86_64 and aarch64")
}
