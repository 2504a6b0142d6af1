//! What came of a campaign: a table for people, objects for programs, a section and a picture for the documentation.

use super::{EPOCHS_MAX, Options, recording::Name};
use crate::powercut::{Epochs, Mode};
use anyhow::Result;
use serde_json::{Value, json};
use std::{fmt::Write as _, path::PathBuf};

/// Width of the picture, and height of one recording in it.
const WIDTH: u64 = 720;
const ROW: u64 = 44;

/// What became of one cut.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Its number.
    pub number: u64,
    /// Entries of the recording before it.
    pub entries: u64,
    /// Operations that were in the cache.
    pub cached: usize,
    /// How many of them arrived.
    pub kept: usize,
    /// How many of those in part.
    pub torn: usize,
    /// Records that had to be there.
    pub acknowledged: u64,
    /// Records that were there.
    pub records: Option<u64>,
    /// What the selector chose.
    pub slot: Option<String>,
    /// How often the machine was started.
    pub boots: u32,
    /// How often its firmware said nothing.
    pub silent: u32,
    /// How long it took.
    pub ms: u64,
    /// Why it failed.
    pub failure: Option<String>,
    /// Its console, if it failed.
    pub log: PathBuf,
}

impl Outcome {
    /// One line.
    pub(super) fn line(&self, name: Name) -> String {
        let records = self.records.map_or_else(|| "none".to_owned(), |records| records.to_string());
        let slot = self.slot.as_deref().unwrap_or("none");
        format!(
            "{name}, cut {}: slot {slot}, {records} records of {}, {} of {} cached writes arrived, {} s",
            self.number,
            self.acknowledged,
            self.kept,
            self.cached,
            self.ms / 1000
        )
    }

    /// One object.
    pub(super) fn json(&self, name: Name) -> Value {
        json!({
            "v": 1, "event": "cut", "recording": name.word(), "number": self.number, "entries": self.entries,
            "cached": self.cached, "kept": self.kept, "torn": self.torn, "slot": self.slot,
            "records_acknowledged": self.acknowledged, "records": self.records, "boots": self.boots,
            "silent_starts": self.silent, "ms": self.ms, "failure": self.failure,
        })
    }
}

/// The cuts of one recording.
#[derive(Clone, Debug)]
pub struct Part {
    /// Which.
    pub name: Name,
    /// What it consists of.
    pub epochs: Epochs,
    /// How many different cuts there are.
    pub planned: usize,
    /// How many leave the same disk as one of them.
    pub merged: u64,
    /// What became of those that were made.
    pub outcomes: Vec<Outcome>,
}

impl Part {
    fn failures(&self) -> usize {
        self.outcomes.iter().filter(|outcome| outcome.failure.is_some()).count()
    }

    fn sum(&self, of: impl Fn(&Outcome) -> u64) -> u64 {
        self.outcomes.iter().map(of).sum()
    }

    fn cells(&self) -> [String; 9] {
        [
            self.name.to_string(),
            self.epochs.writes.to_string(),
            self.epochs.flushes.to_string(),
            self.epochs.outside.to_string(),
            self.outcomes.len().to_string(),
            self.merged.to_string(),
            self.sum(|outcome| u64::from(outcome.boots)).to_string(),
            self.sum(|outcome| u64::from(outcome.silent)).to_string(),
            self.failures().to_string(),
        ]
    }
}

const HEAD: [&str; 9] = [
    "recording",
    "writes",
    "flushes",
    "epochs outside `state`",
    "cuts",
    "merged",
    "starts",
    "silent starts",
    "failures",
];

/// What became of all of them.
#[derive(Clone, Debug)]
pub struct Summary {
    options: Options,
    /// The recordings.
    pub parts: Vec<Part>,
    /// How long it all took.
    pub seconds: u64,
}

impl Summary {
    pub(super) fn new(options: &Options) -> Self {
        Self { options: options.clone(), parts: Vec::new(), seconds: 0 }
    }

    /// Everything that should not be, in words.
    pub fn failures(&self) -> Vec<String> {
        let mut out = Vec::new();
        for part in &self.parts {
            for outcome in &part.outcomes {
                if let Some(why) = &outcome.failure {
                    let again = self.options.reproduce(part.name, outcome.number);
                    let log = outcome.log.display();
                    out.push(format!(
                        "{}, cut {}: {why}\n  console: {log}\n  again: {again}",
                        part.name, outcome.number
                    ));
                }
            }
            let outside = part.epochs.outside;
            if part.name == Name::Update && outside > EPOCHS_MAX {
                out.push(format!(
                    "the update writes outside `state` in {outside} stretches between flushes, more than {EPOCHS_MAX}"
                ));
            }
        }
        out
    }

    fn title(&self) -> String {
        let (backend, arch) = (self.options.backend.word(), self.options.arch.name());
        let what = match self.options.mode() {
            Mode::EveryFlush => "every flush boundary".to_owned(),
            Mode::Random { count, seed, atomic } => {
                format!("{count} random cuts per recording, seed {seed}, sectors of {atomic} bytes")
            }
        };
        let by = if self.options.delta { ", updates by delta" } else { "" };
        format!("{backend}, {arch}: {what}{by}")
    }

    /// A table for the terminal.
    pub fn table(&self) -> String {
        let rows: Vec<_> = self.parts.iter().map(Part::cells).collect();
        let widths: Vec<_> = HEAD
            .iter()
            .enumerate()
            .map(|(column, head)| {
                rows.iter().map(|row| row[column].len()).chain([head.len()]).max().unwrap_or(0)
            })
            .collect();
        let mut out = format!("{} ({} s)\n", self.title(), self.seconds);
        let line = |cells: Vec<&str>| -> String {
            let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}"));
            padded.collect::<Vec<_>>().join("  ") + "\n"
        };
        out += &line(HEAD.to_vec());
        for row in &rows {
            out += &line(row.iter().map(String::as_str).collect());
        }
        out
    }

    /// One object with everything.
    pub fn json(&self) -> Value {
        let parts: Vec<_> = self
            .parts
            .iter()
            .map(|part| {
                json!({
                    "recording": part.name.word(), "writes": part.epochs.writes, "flushes": part.epochs.flushes,
                    "epochs_outside_state": part.epochs.outside, "bytes": part.epochs.bytes,
                    "cuts_planned": part.planned, "cuts": part.outcomes.len(), "merged": part.merged,
                    "failures": part.failures(),
                })
            })
            .collect();
        json!({
            "v": 1, "event": "summary", "backend": self.options.backend.word(), "arch": self.options.arch.name(),
            "delta": self.options.delta,
            "seconds": self.seconds, "parts": parts, "failures": self.failures(),
        })
    }

    /// A section for the documentation; `picture` is the name of the file with [`Summary::picture`].
    pub fn markdown(&self, picture: &str) -> Result<String> {
        let mut out = format!("## {}\n\n", self.title());
        writeln!(out, "| {} |", HEAD.join(" | "))?;
        writeln!(out, "|{}", "---|".repeat(HEAD.len()))?;
        for part in &self.parts {
            writeln!(out, "| {} |", part.cells().join(" | "))?;
        }
        writeln!(out, "\n![Every cut along its recording]({picture})\n")?;
        let failures = self.failures();
        let verdict = if failures.is_empty() { "No failure" } else { "Failures" };
        writeln!(
            out,
            "{verdict}; {} s of wall clock with {} machines at a time.",
            self.seconds, self.options.jobs
        )?;
        for failure in failures {
            writeln!(out, "- {}", failure.replace('\n', "\n  "))?;
        }
        Ok(out)
    }

    /// Every cut as a mark along its recording.
    pub fn picture(&self) -> Result<String> {
        let rows = u64::try_from(self.parts.len())?;
        let mut out = String::new();
        let (width, height) = (WIDTH + 20, rows * ROW + 10);
        writeln!(
            out,
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="12">"#
        )?;
        writeln!(out, r##"<rect width="100%" height="100%" fill="#fff"/>"##)?;
        for (row, part) in (0..).zip(&self.parts) {
            let top = row * ROW + 20;
            let last = part.outcomes.iter().map(|outcome| outcome.entries).max().unwrap_or(1).max(1);
            let (cuts, failures) = (part.outcomes.len(), part.failures());
            writeln!(
                out,
                r#"<text x="10" y="{}">{}: {cuts} cuts, {failures} failures</text>"#,
                top - 4,
                part.name
            )?;
            writeln!(out, r##"<rect x="10" y="{top}" width="{WIDTH}" height="16" fill="#eee"/>"##)?;
            for outcome in &part.outcomes {
                let x = 10 + outcome.entries * WIDTH / last;
                let colour = if outcome.failure.is_some() { "#c00" } else { "#2a7" };
                writeln!(out, r#"<rect x="{x}" y="{top}" width="1" height="16" fill="{colour}"/>"#)?;
            }
        }
        out += "</svg>\n";
        Ok(out)
    }
}
