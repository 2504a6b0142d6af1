//! The three ways to show events: bars on a terminal, lines in a pipe, objects with `--json`.

mod json;
mod lines;
mod terminal;
mod text;

pub use json::{Json, SCHEMA};
pub use lines::Lines;
pub use terminal::Terminal;
pub use text::{bytes, table};

use crate::report::{Level, Report};
use std::{
    io::{self, IsTerminal},
    sync::Arc,
};

/// How much a person wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// `-q`: warnings and errors.
    Quiet,
    /// Steps and their results.
    Normal,
    /// `-v`: details too.
    Verbose,
}

impl Verbosity {
    /// Whether a note of this level is shown.
    pub fn shows(self, level: Level) -> bool {
        match level {
            Level::Warning => true,
            Level::Info => self >= Self::Normal,
            Level::Detail => self >= Self::Verbose,
        }
    }
}

/// The form of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Human,
    /// One JSON object per line on stdout.
    Json,
}

/// The report for this process: bars when stderr is a terminal, lines otherwise, objects for `--json`.
pub fn report(format: Format, verbosity: Verbosity) -> Report {
    match format {
        Format::Json => Report::new(Arc::new(Json::new(io::stdout()))),
        Format::Human if io::stderr().is_terminal() => Report::new(Arc::new(Terminal::new(verbosity))),
        Format::Human => Report::new(Arc::new(Lines::new(io::stderr(), verbosity))),
    }
}
