//! What was attempted, on which path, and why it failed.

use std::io;
use std::path::{Path, PathBuf};

/// A failed operation on a path. `Display` does not contain the cause; follow `source()`.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct PathError {
    /// What was attempted, an infinitive: `read`.
    pub action: &'static str,
    /// On what.
    pub path: PathBuf,
    /// Why it failed.
    pub source: io::Error,
}

/// Names the attempt when it fails.
pub trait Doing<T> {
    /// Turns the error into a [`PathError`].
    fn doing(self, action: &'static str, path: &Path) -> Result<T, PathError>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, action: &'static str, path: &Path) -> Result<T, PathError> {
        self.map_err(|source| PathError { action, path: path.to_owned(), source: source.into() })
    }
}

/// An [`io::Error`] for bytes that are not what they should be.
pub(crate) fn invalid(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
