//! The `coracle` program: see [`coracle::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    coracle::cli::main(std::env::args_os())
}
