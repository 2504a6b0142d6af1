//! Flags of `coracle delta`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `coracle delta`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Delta {
    /// What else to do with deltas
    #[command(subcommand)]
    pub action: Option<DeltaAction>,
    /// The release that machines run: a directory that `coracle build` made, or a bundle
    #[arg(value_name = "OLD", required = true)]
    pub old: Option<PathBuf>,
    /// The release that they get
    #[arg(value_name = "NEW", required = true)]
    pub new: Option<PathBuf>,
    /// The delta
    #[arg(short, long, value_name = "FILE", required = true)]
    pub out: Option<PathBuf>,
    /// Show what costs how much, as a table; with FILE as a picture (SVG) as well
    #[expect(clippy::option_option, reason = "the flag, and the file behind it")]
    #[arg(long, value_name = "FILE")]
    pub explain: Option<Option<PathBuf>>,
}

/// What to do with a delta.
#[derive(Debug, Subcommand)]
pub enum DeltaAction {
    /// Make the new release from the old one, as a machine does
    Apply {
        /// The delta
        #[arg(value_name = "FILE")]
        delta: PathBuf,
        /// The release that it starts from: a directory that `coracle build` made, or a bundle
        #[arg(value_name = "OLD")]
        old: PathBuf,
        /// The directory for root.img, boot.efi and, if it is signed, update.bundle
        #[arg(value_name = "NEW")]
        new: PathBuf,
    },
}
