//! The update's bytes in order, with the place where the reader stands.
//!
//! There may be two sources, and one is read at a time. Whoever needs bytes says where they are with [`Stream::go_to`]; if
//! the stream stands elsewhere, the work is left with [`Halt::Needs`] and done again with a stream that stands there.

use crate::error::{Error, Kind, Result};
use crate::source::SourceError;
use std::io::{self, Read};

/// So many bytes are read and dropped rather than asked for anew behind them.
const PASS_OVER_BYTES: u64 = 32 << 10;

/// One of the two sources of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Feed {
    /// The one that was named: a bundle or a delta.
    Main,
    /// The bundle beside a delta.
    Full,
}

/// A place in a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) feed: Feed,
    pub(super) offset: u64,
}

/// Why work on an update is left.
pub(super) enum Halt {
    /// It needs a stream that stands here, and is to be done again with one.
    Needs(Place),
    /// It has failed.
    Failed(Error),
}

/// The result of work that may need another stream.
pub(super) type Reach<T> = Result<T, Halt>;

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// A source that was opened at an offset.
pub(super) struct Stream<'a> {
    reader: Box<dyn Read + 'a>,
    from: Place,
    /// Offset of the next byte.
    at: u64,
    place: &'a str,
}

impl<'a> Stream<'a> {
    /// `place` names the source.
    pub(super) fn new(reader: Box<dyn Read + 'a>, from: Place, place: &'a str) -> Self {
        Self { reader, from, at: from.offset, place }
    }

    /// Stands at `to` when it returns well.
    pub(super) fn go_to(&mut self, to: Place) -> Reach<()> {
        let ahead = to.offset.checked_sub(self.at).filter(|ahead| *ahead <= PASS_OVER_BYTES);
        let Some(ahead) = ahead.filter(|_| self.from.feed == to.feed) else {
            return Err(Halt::Needs(to));
        };
        let mut left = usize::try_from(ahead).unwrap_or(0);
        let mut dropped = [0; 4096];
        while left > 0 {
            let length = left.min(dropped.len());
            self.fill(&mut dropped[..length])?;
            left -= length;
        }
        Ok(())
    }

    /// Where it stands.
    pub(super) fn at(&self) -> Place {
        Place { offset: self.at, ..self.from }
    }

    /// Bytes that were taken from it.
    pub(super) fn taken(&self) -> u64 {
        self.at.saturating_sub(self.from.offset)
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
