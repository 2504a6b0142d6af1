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
    /// The text for a person: each fault with its source line and a caret.
    pub fn render(&self) -> String {
        let mut out = String::new();
        for fault in &self.faults {
            fault.render(&mut out);
            out.push('\n');
        }
        let count = self.faults.len() + self.more;
        if self.more > 0 {
            out += &format!("… and {} more\n", self.more);
        }
        let file = self.faults.first().map_or("", |fault| fault.file.as_str());
        let faults = if count == 1 { "fault" } else { "faults" };
        out += &format!("{count} {faults} in {file}\n");
        out
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render())
    }
}

impl Fault {
    fn render(&self, out: &mut String) {
        let Some(place) = &self.place else {
            *out += &format!("{}: {}\n", self.file, self.message);
            if let Some(hint) = &self.hint {
                *out += &format!("  hint: {hint}\n");
            }
            return;
        };
        let number = place.line.to_string();
        let gutter = " ".repeat(number.len());
        let indent = " ".repeat(place.column.saturating_sub(1).min(LINE_MAX));
        let room = place.source.chars().count().saturating_sub(indent.len());
        let carets = "^".repeat(place.width.min(room).max(1));
        *out += &format!("{}:{number}:{}: {}\n", self.file, place.column, self.message);
        if !place.source.is_empty() {
            *out += &format!("{gutter} |\n{number} | {}\n", place.source);
            *out += &format!("{gutter} | {indent}{carets}\n");
        }
        if let Some(hint) = &self.hint {
            *out += &format!("{gutter} = hint: {hint}\n");
        }
    }
}

/// Collects the faults of one text.
pub(crate) struct Collector<'t> {
    file: String,
    text: &'t str,
    faults: Vec<(usize, Fault)>,
}

impl<'t> Collector<'t> {
    pub(crate) fn new(file: &str, text: &'t str) -> Self {
        let text_or_mark = |c: char| if c.is_control() { '\u{fffd}' } else { c };
        Self { file: file.chars().map(text_or_mark).collect(), text, faults: Vec::new() }
    }

    /// Takes a fault at the bytes `span` of the text.
    pub(crate) fn fault(&mut self, key: &str, span: &Range<usize>, message: &str, hint: Option<String>) {
        let fault = Fault {
            file: self.file.clone(),
            place: Some(self.place(span)),
            key: key.to_owned(),
            message: message.to_owned(),
            hint,
        };
        if !self.faults.iter().any(|(_, known)| *known == fault) {
            self.faults.push((span.start, fault));
        }
    }

    /// Takes a fault of the file as a whole.
    pub(crate) fn fault_of_file(&mut self, message: &str, hint: Option<String>) {
        let fault = Fault {
            file: self.file.clone(),
            place: None,
            key: String::new(),
            message: message.to_owned(),
            hint,
        };
        self.faults.push((0, fault));
    }

    /// Keeps only the first fault of every line: what follows a syntax error on its line is guesswork.
    pub(crate) fn keep_first_of_line(&mut self) {
        self.faults.sort_by_key(|(at, _)| *at);
        self.faults.dedup_by_key(|(_, fault)| fault.place.as_ref().map(|place| place.line));
    }

    /// `Ok` if there were none.
    pub(crate) fn finish(mut self) -> Result<(), Faults> {
        if self.faults.is_empty() {
            return Ok(());
        }
        self.faults.sort_by_key(|(at, _)| *at);
        let more = self.faults.len().saturating_sub(FAULTS_MAX);
        self.faults.truncate(FAULTS_MAX);
        Err(Faults { faults: self.faults.into_iter().map(|(_, fault)| fault).collect(), more })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    fn place(&self, span: &Range<usize>) -> Place {
        let start = self.text.floor_char_boundary(span.start);
        let before = &self.text[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = self.text[line_start..].lines().next().unwrap_or_default();
        let end = self.text.floor_char_boundary(span.end).min(line_start + line.len());
        let meant = self.text.get(start..end).unwrap_or_default();
        let shown = line.chars().take(LINE_MAX).map(|c| match c {
            '\t' => ' ',
            c if c.is_control() => '\u{fffd}',
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
