//! A fleet in virtual time: thousands of machines with the code that real ones run (metadata client, rollout decisions,
//! windows, polling, update engine, slot record), and one static repository in a directory. No machine boots and no bundle
//! is moved; every request is made and counted.
//!
//! ```text
//! plan        what happens, and when; what makes machines different
//! publisher   the repository, made by the builder
//! bundle      what it publishes
//! transfer    how machines get at it
//! device      one machine
//! update      the update engine, with nothing behind it
//! simulation  virtual time
//! claims      what must be true of what happened
//! report, plot
//! ```

mod bundle;
mod claims;
mod device;
mod plan;
mod plot;
mod publisher;
mod report;
mod simulation;
#[cfg(test)]
mod tests;
mod transfer;
mod update;

use anyhow::{Context as _, Result};
use std::path::PathBuf;

/// Let a fleet of machines follow a channel, in virtual time.
#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    /// How many machines.
    #[arg(long, default_value_t = 10_000)]
    pub machines: u64,
    /// Writes the share of machines over time, as a picture.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Writes the tables, as Markdown.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// What happened to the fleet.
#[derive(Clone, Debug)]
pub struct Summary(simulation::Log);

/// Runs the fleet through its plan.
pub fn run(machines: u64) -> Result<Summary> {
    let directory = tempfile::tempdir().context("cannot make a directory for the repository")?;
    simulation::run(machines, directory.path()).map(Summary)
}

impl Summary {
    /// What is not as it must be, a sentence each.
    pub fn broken(&self) -> Vec<String> {
        claims::broken(&self.0)
    }

    /// Requests, bytes and who runs what, as Markdown.
    pub fn tables(&self) -> String {
        report::tables(&self.0)
    }

    /// The share of machines over time, as SVG.
    pub fn picture(&self) -> String {
        plot::draw(&self.0)
    }
}
