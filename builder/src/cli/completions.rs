//! `coracle completions SHELL`.

use super::args::{Cli, Completions};
use crate::error::Result;
use clap::CommandFactory as _;

pub(super) fn run(args: &Completions) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "coracle", &mut script);
    super::print(&String::from_utf8_lossy(&script))
}
