//! What a campaign shows while it runs.

use super::{Options, Outcome, recording::Name};
use crate::powercut::Epochs;
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    io::{self, IsTerminal as _, Write as _},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// A bar on a terminal, lines elsewhere; with `--json` an object per cut on standard output.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    terminal: bool,
    json: bool,
    failures: AtomicU64,
}

impl Progress {
    pub(super) fn new(options: &Options) -> Self {
        let bar = ProgressBar::new(0);
        let style = ProgressStyle::with_template(
            "{prefix:>12} {wide_bar} {pos}/{len} cuts, {msg} ({elapsed}, {eta} left)",
        );
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(500));
        let terminal = io::stderr().is_terminal();
        Self { bar, terminal, json: options.json, failures: AtomicU64::new(0) }
    }

    /// Says what is going on.
    pub(super) fn say(&self, line: &str) {
        if self.terminal {
            self.bar.println(line);
        } else {
            // Whoever read this has gone; the campaign goes on.
            drop(writeln!(io::stderr(), "{line}"));
        }
    }

    /// Begins with the cuts of a recording.
    pub(super) fn part(&self, name: Name, cuts: usize, epochs: &Epochs) {
        let Epochs { flushes, outside, writes, bytes } = epochs;
        self.say(&format!(
            "{name}: {writes} writes ({} MB), {flushes} flushes, {outside} stretches that write outside state; {cuts} cuts",
            bytes / 1_000_000
        ));
        self.bar.set_prefix(name.to_string());
        self.bar.set_length(u64::try_from(cuts).unwrap_or(u64::MAX));
        self.bar.reset();
        self.bar.set_message("no failure");
    }

    /// One cut was judged.
    pub(super) fn outcome(&self, name: Name, outcome: &Outcome) {
        if let Some(why) = &outcome.failure {
            let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
            self.bar.set_message(format!("{failures} failed"));
            self.say(&format!("{name}, cut {}: {why}\n  console: {}", outcome.number, outcome.log.display()));
        } else if !self.terminal {
            self.say(&outcome.line(name));
        }
        self.bar.inc(1);
        if self.json {
            drop(writeln!(io::stdout(), "{}", outcome.json(name)));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
