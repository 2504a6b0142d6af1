//! The harness as a program: campaigns that are too long for a test.

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use coracle_qemu_tests::{
    campaign::{self, Summary},
    conformance, deltas, fleet,
};
use std::{
    fs,
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
    /// Run the public TUF conformance suite against the device's channel client.
    TufConformance(conformance::Options),
    /// Let a fleet of machines follow a channel, in virtual time.
    Fleet(fleet::Options),
    /// Measure how large updates are: ours, and what general tools make of the same releases.
    Deltas(deltas::Options),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::PowerCut(options) => power_cut(options),
        Command::TufConformance(options) => tuf_conformance(&options),
        Command::Fleet(options) => follow(&options),
        Command::Deltas(options) => differ(&options),
    };
    match done {
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

/// Whether nothing failed but what is refused on purpose.
fn tuf_conformance(options: &conformance::Options) -> Result<bool> {
    let outcome = conformance::run(options)?;
    write!(io::stdout(), "{}", outcome.text())?;
    Ok(outcome.passed > 0 && outcome.failed.is_empty())
}

/// Whether everything was as it must be.
fn follow(options: &fleet::Options) -> Result<bool> {
    let summary = fleet::run(options.machines)?;
    let (mut out, tables, broken) = (io::stdout(), summary.tables(), summary.broken());
    write!(out, "{tables}")?;
    for sentence in &broken {
        writeln!(out, "{sentence}")?;
    }
    if let Some(path) = &options.svg {
        coracle::files::replace(path, summary.picture().as_bytes())?;
    }
    if let Some(path) = &options.report {
        coracle::files::replace(path, tables.as_bytes())?;
    }
    Ok(broken.is_empty())
}

/// Whether every delta is as small as it must be.
fn differ(options: &deltas::Options) -> Result<bool> {
    let mut out = io::stdout();
    if options.list {
        write!(out, "{}", deltas::names())?;
        return Ok(true);
    }
    let summary = deltas::run(options, |object| {
        if options.json {
            writeln!(io::stdout(), "{object}")?;
        }
        Ok(())
    })?;
    let table = summary.table();
    if !options.json {
        write!(out, "{table}")?;
    }
    if let Some(dir) = &options.out {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        coracle::files::replace(&dir.join("deltas.md"), table.as_bytes())?;
        coracle::files::replace(&dir.join("deltas.svg"), summary.picture().as_bytes())?;
    }
    Ok(summary.is_good())
}

fn write_report(summary: &Summary, path: &Path) -> Result<()> {
    let picture = path.with_extension("svg");
    let name = picture.file_name().context("the report needs a file name")?.to_string_lossy().into_owned();
    coracle::files::replace(path, summary.markdown(&name)?.as_bytes())?;
    coracle::files::replace(&picture, summary.picture()?.as_bytes())?;
    Ok(())
}
