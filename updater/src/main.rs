//! `coracle-update`: the updater of a Coracle machine. See `coracle_update`.
#![forbid(unsafe_code)]

use coracle_update::{cli, report::Report};
use std::io::{stderr, stdout};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    let (mut out, mut err) = (stdout(), stderr());
    let exit = cli::run(&arguments, &mut Report::new(&mut out, &mut err));
    ExitCode::from(exit.code())
}
