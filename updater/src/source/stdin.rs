//! An update that comes in order on the standard input: from the control channel, or a pipe.

use super::{Length, Source, SourceError};
use crate::error::Kind;
use std::io::{self, Read};

/// A stream that can only be read once.
#[derive(Debug)]
pub struct StdinSource<R = io::Stdin> {
    input: R,
    /// Bytes that have been read.
    at: u64,
}

impl StdinSource {
    /// The standard input.
    pub fn new() -> Self {
        Self::over(io::stdin())
    }
}

impl Default for StdinSource {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: Read> StdinSource<R> {
    /// Any stream.
    pub const fn over(input: R) -> Self {
        Self { input, at: 0 }
    }
}

impl<R: Read> Source for StdinSource<R> {
    fn describe(&self) -> String {
        "the standard input".to_owned()
    }

    fn length(&mut self) -> Result<Length, SourceError> {
        Ok(Length::ToTheEnd)
    }

    /// What lies before `offset` is read and dropped: what is known already is passed over, never gone back to.
    fn open(&mut self, offset: u64) -> Result<Box<dyn Read + '_>, SourceError> {
        let failed = |message: &str| SourceError::new(Kind::Io, format!("cannot read {message}"));
        let ahead = offset.checked_sub(self.at).ok_or_else(|| {
            failed("the standard input twice").hint("give the update as a file or an address")
        })?;
        let skipped = io::copy(&mut self.by_ref().take(ahead), &mut io::sink())
            .map_err(|error| failed("the standard input").because(error))?;
        if skipped < ahead {
            let message = format!("the standard input ends at byte {}, in the middle", self.at);
            return Err(SourceError::new(Kind::Hostile, message).hint("send the whole update again"));
        }
        Ok(Box::new(self))
    }
}

impl<R: Read> Read for StdinSource<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.input.read(buffer)?;
        self.at = self.at.saturating_add(u64::try_from(length).unwrap_or(0));
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(source: &mut StdinSource<&[u8]>, offset: u64, bytes: u64) -> Result<String, SourceError> {
        let mut out = String::new();
        source.open(offset)?.take(bytes).read_to_string(&mut out).unwrap();
        Ok(out)
    }

    #[test]
    fn it_is_read_onwards_and_never_back() {
        let mut source = StdinSource::over(&b"0123456789"[..]);
        assert_eq!(text(&mut source, 0, 3).unwrap(), "012");
        assert_eq!(text(&mut source, 3, 1).unwrap(), "3");
        assert_eq!(text(&mut source, 7, 2).unwrap(), "78");
        assert_eq!(text(&mut source, 5, 1).unwrap_err().to_string(), "cannot read the standard input twice");
    }

    #[test]
    fn an_end_before_the_offset_is_a_truncated_update() {
        let mut source = StdinSource::over(&b"0123"[..]);
        assert_eq!(text(&mut source, 9, 1).unwrap_err().kind, Kind::Hostile);
    }
}
