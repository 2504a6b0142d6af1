//! Flags of `coracle keys`.

use crate::{
    keys::{KeyDir, Passphrase},
    signer::Command,
};
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// `coracle keys`.
#[derive(Debug, Args)]
pub struct Keys {
    /// What to do
    #[command(subcommand)]
    pub action: KeysAction,
}

/// What `coracle keys` does.
#[derive(Debug, Subcommand)]
pub enum KeysAction {
    /// Make keys and the root metadata that machines trust
    New(NewKeys),
    /// List roles, their keys, thresholds and dates
    List {
        /// The directory of keys
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
    /// Encrypt the keys of a directory with a passphrase
    Encrypt(Opening),
    /// Take the encryption off the keys of a directory
    Decrypt(Opening),
    /// Make the next root metadata: other keys, other thresholds, a later date
    Rotate(Rotate),
    /// Add a signature to root metadata that lacks some
    Sign(SignRoot),
    /// Say what it would mean if keys were lost or stolen; changes nothing
    Drill {
        /// The directory of keys
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// A key that is gone: the beginning of its id, or its file
        #[arg(long, value_name = "KEY", required = true, num_args = 1..)]
        lose: Vec<String>,
    },
    /// Make a key and a certificate for Secure Boot
    SecureBoot {
        /// The directory to make them in
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// Whose they are: what the firmware's menu shows
        #[arg(long, value_name = "NAME", default_value = "coracle")]
        name: String,
    },
    /// Make an operator's key for `coracle ctl` and print its public half
    Operator {
        /// The file to write
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// A directory of keys, and what opens them.
#[derive(Clone, Debug, Args)]
pub struct Opening {
    /// The directory of keys
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// What opens them
    #[command(flatten)]
    pub offline: Offline,
}

/// What opens encrypted keys.
#[derive(Clone, Debug, Args)]
pub struct Offline {
    /// A file whose first line opens encrypted keys [default: $CORACLE_KEYS_PASSPHRASE, or asked for]
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

impl Offline {
    /// The passphrase.
    pub fn passphrase(&self) -> Passphrase {
        Passphrase::new(self.passphrase_file.clone())
    }
}

impl Opening {
    /// The directory, which knows what opens it.
    pub fn keys(&self) -> KeyDir {
        KeyDir::new(&self.dir).with_passphrase(self.offline.passphrase())
    }
}

/// `coracle keys new`.
#[derive(Debug, Args)]
pub struct NewKeys {
    /// Where to make them
    #[command(flatten)]
    pub opening: Opening,
    /// How many root keys to make
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub root_keys: u32,
    /// How many targets keys to make: these sign releases
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub targets_keys: u32,
    /// How many keys of a role must sign
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub threshold: u32,
    /// How many root keys must sign, if that is another number
    #[arg(long, value_name = "N")]
    pub root_threshold: Option<u32>,
    /// Days until the root metadata expires
    #[arg(long, value_name = "N", default_value_t = 3652)]
    pub days: u64,
    /// Let this program sign releases instead of a new targets key: `CMD public` prints its public key
    #[arg(long, value_name = "CMD", conflicts_with = "targets_keys")]
    pub signer: Option<Command>,
    /// Encrypt the keys with a passphrase
    #[arg(long)]
    pub encrypt: bool,
}

/// Roles whose keys can be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// May change the root.
    Root,
    /// Signs releases.
    Targets,
    /// Signs which documents are the newest.
    Snapshot,
    /// Signs which snapshot is the newest.
    Timestamp,
    /// Snapshot and timestamp.
    Online,
}

/// `coracle keys rotate`.
#[derive(Debug, Args)]
pub struct Rotate {
    /// The directory of keys
    #[command(flatten)]
    pub opening: Opening,
    /// The role whose keys change; without one only the date does
    #[arg(long, value_name = "ROLE", value_enum, hide_possible_values = false)]
    pub role: Option<Role>,
    /// A key that joins it: PEM, public or private
    #[arg(long, value_name = "FILE", requires = "role")]
    pub add: Vec<PathBuf>,
    /// Make a new key that joins it
    #[arg(long, requires = "role")]
    pub new: bool,
    /// A key that leaves it: the beginning of its id, or its file
    #[arg(long, value_name = "KEY", requires = "role")]
    pub revoke: Vec<String>,
    /// How many of its keys must sign from now on
    #[arg(long, value_name = "N", requires = "role")]
    pub threshold: Option<u32>,
    /// Days until the new root metadata expires
    #[arg(long, value_name = "N", default_value_t = 3652)]
    pub days: u64,
    /// A program that signs as a root key: `CMD root` gets bytes and prints a signature
    #[arg(long, value_name = "CMD")]
    pub signer: Vec<Command>,
}

/// `coracle keys sign`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("who").required(true).multiple(true))]
pub struct SignRoot {
    /// The metadata: N.root.json.staged
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// A root key (PEM)
    #[arg(long, value_name = "FILE", group = "who")]
    pub key: Vec<PathBuf>,
    /// A program that signs as a root key: `CMD root` gets bytes and prints a signature
    #[arg(long, value_name = "CMD", group = "who")]
    pub signer: Vec<Command>,
    /// What opens the keys
    #[command(flatten)]
    pub offline: Offline,
}
