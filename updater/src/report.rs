//! All that is shown: data and, for a person, progress and errors apart from it; with `--json` one object per line.

mod json;

use crate::error::{Error, Result};
use coracle_block::PathError;
pub use json::Object;
use std::io::Write;
use std::path::Path;

/// Version of the objects that `--json` prints.
pub const SCHEMA: u64 = 0;

/// A digest as text.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let pair = |byte: &u8| [byte >> 4, byte & 15].map(|half| DIGITS[usize::from(half)]);
    bytes.iter().flat_map(pair).collect()
}

/// The beginning of a digest: enough to name a release to a person, and to [`crate::cli`].
pub fn short(bytes: &[u8]) -> String {
    hex(&bytes[..bytes.len().min(6)])
}

/// How results are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Style {
    /// For a person.
    #[default]
    Human,
    /// One JSON object per line.
    Json,
}

/// Where results and messages go.
pub struct Report<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    style: Style,
}

impl std::fmt::Debug for Report<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Report").field("style", &self.style).finish_non_exhaustive()
    }
}

impl<'a> Report<'a> {
    /// Data to `out`, everything else to `err`.
    pub fn new(out: &'a mut dyn Write, err: &'a mut dyn Write) -> Self {
        Self { out, err, style: Style::Human }
    }

    /// How results are shown from now on.
    pub fn set_style(&mut self, style: Style) {
        self.style = style;
    }

    /// How results are shown.
    pub fn style(&self) -> Style {
        self.style
    }

    /// Prints data as it is.
    pub fn data(&mut self, text: &str) -> Result<()> {
        self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()).map_err(|source| {
            let path = Path::new("the standard output").to_owned();
            Error::from(PathError { action: "write to", path, source })
        })
    }

    /// Prints one event: `text` for a person (not data), the object with `--json`.
    pub fn event(&mut self, text: &str, object: Object) -> Result<()> {
        match self.style {
            Style::Human => {
                self.message(&format!("{text}\n"));
                Ok(())
            }
            Style::Json => self.data(&object.line()),
        }
    }

    /// Prints an error.
    pub fn error(&mut self, error: &Error) {
        self.message(&error.render());
        if self.style == Style::Json {
            let object = Object::event("error")
                .text("kind", error.kind().word())
                .text("message", &error.to_string())
                .texts("causes", &error.causes())
                .maybe_text("hint", error.hint_text());
            if let Err(error) = self.data(&object.line()) {
                self.message(&error.render());
            }
        }
    }

    fn message(&mut self, text: &str) {
        if self.err.write_all(text.as_bytes()).is_err() {
            // There is nowhere left to say it; the exit code still does.
        }
    }
}
