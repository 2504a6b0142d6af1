//! PID 1 of a Coracle machine: in the initramfs, and again as init of the root. See `coracle_init`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    coracle_init::start()
}
