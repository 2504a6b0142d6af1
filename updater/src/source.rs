//! Where an update's bytes come from.
//!
//! A source is trusted with nothing: every byte it gives is checked against signed digests. It is only asked for bytes
//! from an offset on, in order.

mod file;
mod http;
mod stdin;

use crate::error::{Kind, Result};
use std::io::{self, Read};
use std::path::Path;

pub use file::FileSource;
pub use http::{Fetcher, HttpSource, encoded};
pub use stdin::StdinSource;

/// Why a source gives no bytes. `Display` does not contain the cause.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    /// Its class: what the process ends with when this is the end of it.
    pub kind: Kind,
    /// What was attempted, on what.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// Why it failed.
    pub source: Option<io::Error>,
}

impl SourceError {
    /// An error that says what was attempted, on what.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, source: None }
    }

    /// With what to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With its cause.
    pub fn because(mut self, source: io::Error) -> Self {
        self.source = Some(source);
        self
    }
}

/// How many bytes a source has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// So many.
    Exactly(u64),
    /// So many, and not all of them need belong to the update: a block device.
    AtMost(u64),
    /// It is not known before the stream ends; it ends where the update ends.
    Unknown,
    /// The same, and all of it comes, wanted or not: it can be read to its end at no cost.
    ToTheEnd,
}

/// A place that holds an update.
///
/// The writer makes its source, then gives up the network for good, then opens it: whatever a source needs of the
/// network (a helper process of another user) it must have started when it was made.
pub trait Source {
    /// What it is, for messages: a path, or an address without credentials.
    fn describe(&self) -> String;

    /// How many bytes it has.
    fn length(&mut self) -> Result<Length, SourceError> {
        Ok(Length::Unknown)
    }

    /// A continuous stream from byte `offset` on. May be called again, with another offset, when the stream before it is
    /// dropped. A stream ends (reads 0 bytes) only where the update ends; a transport that breaks resumes inside, or
    /// fails with an [`io::Error`] that carries a [`SourceError`] where it knows more.
    fn open(&mut self, offset: u64) -> Result<Box<dyn Read + '_>, SourceError>;
}

/// The source that `place` names: an `http:` or `https:` address, `-` for the standard input, or the path of a file or
/// block device. Nothing is read yet. `rate` caps what is taken from the network, in bytes per second; 0: no limit.
pub fn of(place: &str, rate: u64) -> Result<Box<dyn Source>, SourceError> {
    if place.starts_with("http://") || place.starts_with("https://") {
        return Ok(Box::new(HttpSource::new(place, rate)?));
    }
    if place.contains("://") {
        let message = format!("cannot read {place}: only http:// and https:// addresses are known");
        return Err(
            SourceError::new(Kind::Usage, message).hint("name a file, a block device, or an http(s) address")
        );
    }
    if place == "-" {
        return Ok(Box::new(StdinSource::new()));
    }
    Ok(Box::new(FileSource::new(Path::new(place))))
}

/// An address as it may be shown: without user, password and query, which may be secrets.
pub(crate) fn shown(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_once('/').map_or((rest, ""), |(host, path)| (host, path));
            let host = host.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}/{path}")
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn an_address_is_shown_without_its_secrets() {
        assert_eq!(shown("https://me:word@updates.example/a@b?token=1#x"), "https://updates.example/a@b");
        assert_eq!(shown("http://updates.example"), "http://updates.example/");
    }
}
