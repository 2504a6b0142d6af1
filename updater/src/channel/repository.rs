//! Where a channel's files come from. None of these is trusted with anything.

use super::archive::Archive;
use crate::error::Kind;
use crate::source::{Fetcher, Length, Source, SourceError, encoded};
use coracle_trust::client::{Fetch, FetchError};
use std::path::Path;

/// A channel's repository: the directories `metadata` and `targets`.
pub trait Repository {
    /// What it is, for messages.
    fn describe(&self) -> String;

    /// A metadata file of at most `limit` bytes, if there is one. `file` is a name that is safe in an address.
    fn metadata(&mut self, file: &str, limit: u64) -> Result<Option<Vec<u8>>, SourceError>;

    /// A target of at most `limit` bytes, if there is one.
    fn document(&mut self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, SourceError>;

    /// A target of exactly so many bytes, to be read in order.
    fn bundle(&mut self, path: &str, bytes: u64) -> Result<Box<dyn Source>, SourceError>;
}

/// Behind an address.
#[derive(Debug)]
pub struct Remote {
    address: String,
    fetcher: Fetcher,
}

impl Remote {
    /// The repository at `address`; bundles are taken at `rate` bytes per second at most; 0: no limit.
    pub fn new(address: &str, rate: u64) -> Result<Self, SourceError> {
        Ok(Self { address: address.to_owned(), fetcher: Fetcher::new(address, rate)? })
    }

    /// With `coracle-update` at another place.
    pub fn with_program(program: &Path, address: &str, rate: u64) -> Result<Self, SourceError> {
        Ok(Self { address: address.to_owned(), fetcher: Fetcher::with_program(program, address, rate)? })
    }
}

impl Repository for Remote {
    fn describe(&self) -> String {
        crate::source::shown(&self.address)
    }

    fn metadata(&mut self, file: &str, limit: u64) -> Result<Option<Vec<u8>>, SourceError> {
        self.fetcher.document(&format!("metadata/{file}"), limit)
    }

    fn document(&mut self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, SourceError> {
        self.fetcher.document(&format!("targets/{}", encoded(path)), limit)
    }

    fn bundle(&mut self, path: &str, bytes: u64) -> Result<Box<dyn Source>, SourceError> {
        let path = format!("targets/{}", encoded(path));
        Ok(Box::new(self.fetcher.file(&path, Length::Exactly(bytes))))
    }
}

impl Repository for Archive {
    fn describe(&self) -> String {
        self.path().display().to_string()
    }

    fn metadata(&mut self, file: &str, limit: u64) -> Result<Option<Vec<u8>>, SourceError> {
        self.read(&format!("metadata/{file}"), limit)
    }

    fn document(&mut self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, SourceError> {
        self.read(&format!("targets/{path}"), limit)
    }

    fn bundle(&mut self, path: &str, bytes: u64) -> Result<Box<dyn Source>, SourceError> {
        let mut section = self.section(&format!("targets/{path}"))?;
        match section.length()? {
            Length::Exactly(found) if found == bytes => Ok(Box::new(section)),
            Length::Exactly(_) | Length::AtMost(_) | Length::Unknown | Length::ToTheEnd => {
                let message = format!("cannot read {}", section.describe());
                Err(SourceError::new(Kind::Hostile, message)
                    .because(std::io::Error::other("it has not the length that was signed"))
                    .hint("write the stick again"))
            }
        }
    }
}

/// A repository's metadata as the client asks for it, with the reason why it could not be had.
pub struct Metadata<'a> {
    repository: &'a mut dyn Repository,
    failure: Option<SourceError>,
}

impl std::fmt::Debug for Metadata<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Metadata({})", self.repository.describe())
    }
}

impl<'a> Metadata<'a> {
    /// Of this repository.
    pub fn of(repository: &'a mut dyn Repository) -> Self {
        Self { repository, failure: None }
    }

    /// Why the last file could not be fetched.
    pub fn take_failure(&mut self) -> Option<SourceError> {
        self.failure.take()
    }
}

impl Fetch for Metadata<'_> {
    fn metadata(&mut self, file: &str, limit: u64) -> Result<Option<Vec<u8>>, FetchError> {
        self.repository.metadata(file, limit).map_err(|error| {
            let why = error.source.as_ref().map_or_else(|| error.to_string(), ToString::to_string);
            self.failure = Some(error);
            FetchError::Failed(why)
        })
    }
}
