//! The update's bytes in order, with the place where the reader stands.

use crate::error::{Error, Kind, Result};
use crate::source::SourceError;
use std::io::{self, Read};

/// A source that was opened at an offset.
pub(super) struct Stream<'a> {
    reader: Box<dyn Read + 'a>,
    /// Offset of the next byte.
    pub(super) at: u64,
    place: &'a str,
}

impl<'a> Stream<'a> {
    pub(super) fn new(reader: Box<dyn Read + 'a>, at: u64, place: &'a str) -> Self {
        Self { reader, at, place }
    }

    /// Fills the buffer. An end before that is a truncated update.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            match self.reader.read(&mut buffer[done..]) {
                Ok(0) => return Err(self.truncated()),
                Ok(more) => {
                    done += more;
                    self.at = self.at.saturating_add(u64::try_from(more).unwrap_or(0));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        Ok(())
    }

    /// Whether the source ends here.
    pub(super) fn is_at_end(&mut self) -> Result<bool> {
        loop {
            match self.reader.read(&mut [0]) {
                Ok(more) => return Ok(more == 0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
    }

    fn truncated(&self) -> Error {
        let message = format!("cannot read {}: it ends after {} bytes, in the middle", self.place, self.at);
        Error::new(Kind::Hostile, message).hint("it is incomplete: copy or download it again")
    }

    fn failed(&self, error: io::Error) -> Error {
        let at = self.at;
        // A source that knows more than the kernel does says it this way.
        match error.downcast::<SourceError>() {
            Ok(error) => error.into(),
            Err(error) => {
                let message = format!("cannot read {} from byte {at} on", self.place);
                Error::new(Kind::Io, message).because(error)
            }
        }
    }
}
