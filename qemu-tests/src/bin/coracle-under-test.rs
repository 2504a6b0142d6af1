//! The `coracle` program for tests that run it as a user does, with an environment of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    coracle::cli::main(std::env::args_os())
}
