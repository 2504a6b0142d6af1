//! The harness as a program: campaigns that are too long for a test.

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use coracle_qemu_tests::campaign::{self, Summary};
use std::{
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

/// Long runs against real machines in QEMU.
#[derive(Parser, Debug)]
#[command(name = "coracle-qemu-tests")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Record a first boot and an update, cut the power everywhere, boot what is left.
    PowerCut(campaign::Options),
}

fn main() -> ExitCode {
    let Cli { command: Command::PowerCut(options) } = Cli::parse();
    match power_cut(options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // There is nobody left to tell if this cannot be written either.
            drop(writeln!(io::stderr(), "error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Whether nothing failed.
fn power_cut(options: campaign::Options) -> Result<bool> {
    let (json, report) = (options.json, options.report.clone());
    let summary = campaign::run(options)?;
    let failures = summary.failures();
    let mut out = io::stdout();
    if json {
        writeln!(out, "{}", summary.json())?;
    } else {
        write!(out, "{}", summary.table())?;
        for failure in &failures {
            writeln!(out, "\n{failure}")?;
        }
    }
    if let Some(path) = report {
        write_report(&summary, &path)?;
    }
    Ok(failures.is_empty())
}

fn write_report(summary: &Summary, path: &Path) -> Result<()> {
    let picture = path.with_extension("svg");
    let name = picture.file_name().context("the report needs a file name")?.to_string_lossy().into_owned();
    coracle::files::replace(path, summary.markdown(&name)?.as_bytes())?;
    coracle::files::replace(&picture, summary.picture()?.as_bytes())?;
    Ok(())
}
