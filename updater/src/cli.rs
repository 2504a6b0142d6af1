//! The command line: words to a command, a command to its result.

mod args;

use crate::error::{Error, Exit, Result};
use crate::report::Report;
use args::{Command, HELP, Parsed};

/// Does what the arguments (without the program's name) ask for, and says so on `report`.
pub fn run(arguments: &[String], report: &mut Report<'_>) -> Exit {
    let parsed = match args::parse(arguments) {
        Ok(parsed) => parsed,
        Err(error) => return fail(report, &error),
    };
    report.set_style(parsed.style);
    dispatch(parsed, report).unwrap_or_else(|error| fail(report, &error))
}

fn fail(report: &mut Report<'_>, error: &Error) -> Exit {
    report.error(error);
    error.kind().exit()
}

fn dispatch(parsed: Parsed, report: &mut Report<'_>) -> Result<Exit> {
    match parsed.command {
        Command::Help => report.data(HELP)?,
        Command::Gate => return crate::gate::run(),
        Command::Fetch(arguments) => return crate::fetch::run(&arguments),
        Command::Status
        | Command::Check { .. }
        | Command::Apply { .. }
        | Command::Confirm
        | Command::Rollback { .. }
        | Command::Retry { .. }
        | Command::History => {}
    }
    Ok(Exit::Done)
}
