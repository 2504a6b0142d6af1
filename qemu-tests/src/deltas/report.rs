//! What was measured: a table, objects, a picture.

use super::{
    goal::{Goal, Reached, Sizes, hundredths},
    measure::Figures,
    ours::Ours,
    plan::Pair,
    plot,
};
use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// A pair and what came of it.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// The pair's name.
    pub(super) name: String,
    /// What is expected.
    pub(super) goal: Goal,
    /// What was found, or why nothing was.
    pub(super) figures: Result<Figures, String>,
}

const HEAD: [&str; 7] = ["pair", "full", "xdelta3", "zstd", "casync", "B1", "B2"];
const HEAD_OF_OURS: [&str; 8] = ["ours", "of B1", "of B2", "made in", "memory", "must", "wanted", "met"];

impl Row {
    pub(super) fn new(pair: &Pair, outcome: Result<Figures>) -> Self {
        let figures = outcome.map_err(|error| format!("{error:#}"));
        Self { name: pair.name.clone(), goal: pair.goal, figures }
    }

    /// What [`json`](Self::json) told of one of these pairs.
    pub(super) fn told(pairs: &[Pair], object: &Value) -> Result<Self> {
        let name = object["pair"].as_str().context("it names no pair")?;
        let pair = pairs.iter().find(|pair| pair.name == name);
        let goal = pair.with_context(|| format!("there is no pair {name:?}"))?.goal;
        let figures = match object["error"].as_str() {
            Some(why) => Err(why.to_owned()),
            None => Ok(figures(object).with_context(|| format!("figures of {name} are missing"))?),
        };
        Ok(Self { name: name.to_owned(), goal, figures })
    }

    /// How far our delta came, if there is one.
    pub(super) fn reached(&self) -> Option<Reached> {
        let figures = self.figures.as_ref().ok()?;
        let ours = figures.ours.as_ref()?;
        Some(self.goal.judge(ours.bytes, &figures.sizes))
    }

    /// Nothing was measured, or the delta is larger than it must be.
    fn is_broken(&self) -> bool {
        self.figures.is_err() || self.reached() == Some(Reached::Missed)
    }

    /// One object.
    pub(super) fn json(&self) -> Value {
        let figures = match &self.figures {
            Ok(figures) => figures,
            Err(why) => return json!({ "v": 1, "pair": self.name, "error": why }),
        };
        let sizes = &figures.sizes;
        let ours = figures.ours.as_ref().map(|ours| {
            json!({ "bytes": ours.bytes, "full_bytes": ours.full, "ms": ours.ms, "peak_bytes": ours.peak })
        });
        json!({
            "v": 1, "pair": self.name, "full": sizes.full, "xdelta3": sizes.xdelta3, "zstd": sizes.zstd,
            "casync": sizes.casync, "b1": sizes.general(), "b2": sizes.by_hand, "bsdiff_of_file": sizes.file,
            "changed_files": figures.changed, "ours": ours, "must_bytes": self.goal.must.bytes(sizes),
            "met": self.reached().map(|reached| reached != Reached::Missed),
            "aim_met": self.reached().map(|reached| reached == Reached::Aim),
        })
    }

    fn cells(&self, with_ours: bool) -> Option<Vec<String>> {
        let figures = self.figures.as_ref().ok()?;
        let sizes = &figures.sizes;
        let mut cells = vec![self.name.clone()];
        let all = [sizes.full, sizes.xdelta3, sizes.zstd, sizes.casync, sizes.general(), sizes.by_hand];
        cells.extend(all.map(size));
        if with_ours {
            let Some(ours) = &figures.ours else {
                cells.extend(HEAD_OF_OURS.map(|_| "–".to_owned()));
                return Some(cells);
            };
            cells.extend([
                size(ours.bytes),
                ratio(ours.bytes, sizes.general()),
                ratio(ours.bytes, sizes.by_hand),
                format!("{} s", ours.ms.div_ceil(1000)),
                size(ours.peak),
                format!("≤ {}", self.goal.must),
                self.goal.aim.iter().map(|limit| format!("≤ {limit}")).collect::<Vec<_>>().join(", "),
                self.reached().map_or("–", Reached::word).to_owned(),
            ]);
        }
        Some(cells)
    }
}

fn figures(object: &Value) -> Option<Figures> {
    let number = |name: &str| object[name].as_u64();
    let ours = |object: &Value| {
        let number = |name: &str| object[name].as_u64();
        let (bytes, full) = (number("bytes")?, number("full_bytes")?);
        Some(Ours { bytes, full, ms: number("ms")?, peak: number("peak_bytes")? })
    };
    Some(Figures {
        sizes: Sizes {
            full: number("full")?,
            xdelta3: number("xdelta3")?,
            zstd: number("zstd")?,
            casync: number("casync")?,
            by_hand: number("b2")?,
            file: number("bsdiff_of_file"),
        },
        changed: usize::try_from(number("changed_files")?).ok()?,
        ours: if object["ours"].is_null() { None } else { Some(ours(&object["ours"])?) },
    })
}

/// All pairs that were measured.
#[derive(Clone, Debug)]
pub struct Summary {
    rows: Vec<Row>,
}

impl Summary {
    pub(super) const fn new(rows: Vec<Row>) -> Self {
        Self { rows }
    }

    /// Whether every pair was measured and every delta is as small as it must be.
    pub fn is_good(&self) -> bool {
        !self.rows.iter().any(Row::is_broken)
    }

    /// The figures, as Markdown that is a table to the eye as well.
    pub fn table(&self) -> String {
        let with_ours = self.rows.iter().any(|row| row.reached().is_some());
        let head = HEAD.iter().chain(HEAD_OF_OURS.iter().filter(|_| with_ours));
        let head: Vec<String> = head.map(|name| (*name).to_owned()).collect();
        let body: Vec<_> = self.rows.iter().filter_map(|row| row.cells(with_ours)).collect();
        let broken = self.rows.iter().filter_map(|row| Some((&row.name, row.figures.as_ref().err()?)));
        broken.fold(aligned(&head, &body), |table, (name, why)| {
            table + &format!("\n{name} was not measured: {why}\n")
        })
    }

    /// Full, B1, B2 and ours as bars.
    pub fn picture(&self) -> String {
        plot::draw(&self.rows)
    }
}

/// A table whose first column is text and whose others are numbers.
fn aligned(head: &[String], body: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = std::iter::once(head).chain(body.iter().map(Vec::as_slice));
        cells.filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0).max(3)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |row: &[String]| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
    };
    let rules: Vec<String> = widths
        .iter()
        .enumerate()
        .map(|(column, width)| match column {
            0 => "-".repeat(*width),
            _ => "-".repeat(width - 1) + ":",
        })
        .collect();
    let rows: String = body.iter().map(|row| line(row)).collect();
    line(head) + &line(&rules) + &rows
}

/// Three digits or so: `1.23 MB`, `45.6 KB`, `789 B`.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} KB", digits(bytes, 1_000)),
        _ => format!("{} MB", digits(bytes, 1_000_000)),
    }
}

fn digits(bytes: u64, unit: u64) -> String {
    let rounded = |parts: u64| bytes.saturating_mul(parts).saturating_add(unit / 2) / unit;
    match bytes / unit {
        0..10 => hundredths(rounded(100)),
        10..100 => format!("{}.{}", rounded(10) / 10, rounded(10) % 10),
        _ => rounded(1).to_string(),
    }
}

/// `0.27`, rounded up: what is told is never better than what was found.
fn ratio(part: u64, whole: u64) -> String {
    match whole {
        0 => "–".to_owned(),
        whole => hundredths(part.saturating_mul(100).div_ceil(whole)),
    }
}
