//! `coracle man DIR`: one page per verb.

use super::args::{Cli, Man};
use crate::error::{Doing as _, Result};
use clap::CommandFactory as _;

pub(super) fn run(args: &Man) -> Result<()> {
    std::fs::create_dir_all(&args.dir).doing("create directory", &args.dir)?;
    clap_mangen::generate_to(Cli::command(), &args.dir).doing("write man pages into", &args.dir)
}
