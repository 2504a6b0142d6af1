//! What is wrong with a manifest: every fault with its place, the line it is in, and what to write instead.

use serde::Serialize;
use std::{fmt, ops::Range};

/// How many faults are reported; the rest is counted.
pub const FAULTS_MAX: usize = 100;
/// The longest part of a source line that is shown, in characters.
const LINE_MAX: usize = 160;

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The manifest's file, as it was named.
    pub file: String,
    /// Where in it; absent if the file itself could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The key, `container[0].memory`; empty for the whole document.
    pub key: String,
    /// What is wrong, one line.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Where a fault is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The line's text, without control characters, cut if it is long.
    pub source: String,
    /// How many characters of the line are meant, at least 1.
    pub width: usize,
}

/// Every fault of a manifest, in the order of their places. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
pub struct Faults {
    /// The faults, at most [`FAULTS_MAX`].
    pub faults: Vec<Fault>,
    /// How many more there are.
    pub more: usize,
}

impl Faults {
    /// The text for a person: each fault with its source line and a caret, and their number in the last line.
    pub fn render(&self) -> String {
        let mut parts: Vec<_> = self.faults.iter().map(Fault::to_string).collect();
        if self.more > 0 {
            parts.push(format!("… and {} more\n", self.more));
        }
        parts.push(format!("{self}\n"));
        parts.join("\n")
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.faults.first().map_or("", |fault| fault.file.as_str());
        match self.faults.len() + self.more {
            1 => write!(f, "1 fault in {file}"),
            count => write!(f, "{count} faults in {file}"),
        }
    }
}

/// Several lines: place and message, the source line, a caret below what is meant, the hint.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(place) = &self.place else {
            writeln!(f, "{}: {}", self.file, self.message)?;
            return match &self.hint {
                Some(hint) => writeln!(f, "  = hint: {hint}"),
                None => Ok(()),
            };
        };
        let line = place.line.to_string();
        let gutter = " ".repeat(line.len());
        writeln!(f, "{}:{line}:{}: {}", self.file, place.column, self.message)?;
        let before = place.column.saturating_sub(1);
        // What is meant may lie beyond the part of a long line that is shown.
        let room = place.source.chars().count().saturating_sub(before);
        if !place.source.is_empty() && before <= LINE_MAX {
            let indent = " ".repeat(before);
            let carets = "^".repeat(place.width.min(room).max(1));
            writeln!(f, "{gutter} |\n{line} | {}\n{gutter} | {indent}{carets}", place.source)?;
        }
        match &self.hint {
            Some(hint) => writeln!(f, "{gutter} = hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// A fault before its place is worked out.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    start: usize,
    end: usize,
    key: String,
    message: String,
    hint: Option<String>,
}

/// Collects the faults of one text.
pub(crate) struct Collector<'t> {
    file: String,
    text: &'t str,
    found: Vec<Found>,
    of_file: Option<Fault>,
}

impl<'t> Collector<'t> {
    pub(crate) fn new(file: &str, text: &'t str) -> Self {
        let printable = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
        let file = file.chars().map(printable).collect();
        Self { file, text, found: Vec::new(), of_file: None }
    }

    /// Takes a fault at the bytes `span` of the text.
    pub(crate) fn fault(&mut self, key: &str, span: &Range<usize>, message: &str, hint: Option<String>) {
        self.found.push(Found {
            start: span.start,
            end: span.end,
            key: key.to_owned(),
            message: message.to_owned(),
            hint,
        });
    }

    /// Takes a fault of the file as a whole, which leaves no sense in others.
    pub(crate) fn fault_of_file(&mut self, message: &str, hint: Option<String>) {
        self.of_file = Some(Fault {
            file: self.file.clone(),
            place: None,
            key: String::new(),
            message: message.to_owned(),
            hint,
        });
    }

    /// Keeps only the first fault of every line: what follows a syntax error on its line is guesswork.
    pub(crate) fn keep_first_of_line(&mut self) {
        self.found.sort();
        let text = self.text.as_bytes();
        self.found.dedup_by(|later, earlier| {
            let between = text.get(earlier.start..later.start).unwrap_or_default();
            !between.contains(&b'\n')
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty() && self.of_file.is_none()
    }

    /// The faults in the order of their places, each once.
    pub(crate) fn finish(mut self) -> Faults {
        if let Some(fault) = self.of_file {
            return Faults { faults: vec![fault], more: 0 };
        }
        self.found.sort();
        self.found.dedup();
        let more = self.found.len().saturating_sub(FAULTS_MAX);
        // Places are worked out for the faults that are shown only: a hostile manifest may have a hundred thousand.
        let shown = std::mem::take(&mut self.found).into_iter().take(FAULTS_MAX);
        let faults = shown.map(|found| Fault {
            file: self.file.clone(),
            place: Some(self.place(found.start, found.end)),
            key: found.key,
            message: found.message,
            hint: found.hint,
        });
        Faults { faults: faults.collect(), more }
    }

    fn place(&self, start: usize, end: usize) -> Place {
        let start = self.text.floor_char_boundary(start);
        let before = &self.text[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = self.text[line_start..].lines().next().unwrap_or_default();
        let end = self.text.floor_char_boundary(end).min(line_start + line.len());
        let meant = self.text.get(start..end).unwrap_or_default();
        let shown = line.chars().take(LINE_MAX).map(|c| match c {
            '\t' => ' ',
            c if c.is_control() => char::REPLACEMENT_CHARACTER,
            c => c,
        });
        Place {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            source: shown.collect(),
            width: meant.chars().count().max(1),
        }
    }
}
