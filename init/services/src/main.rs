//! The multi-call entry: `coracle-services <network|clock|containers|control>`.
#![forbid(unsafe_code)]

use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    match coracle_services::run(&name) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

/// Prints an error with its causes. Nothing is left to do when standard error is closed as well.
fn report(error: &coracle_services::ServiceError) -> ExitCode {
    let mut text = format!("coracle-services: {error}\n");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str("  caused by: ");
        text.push_str(&cause.to_string());
        text.push('\n');
        source = cause.source();
    }
    match std::io::stderr().write_all(text.as_bytes()) {
        Ok(()) | Err(_) => ExitCode::from(error.exit_code()),
    }
}
