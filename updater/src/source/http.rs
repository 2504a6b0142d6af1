//! A file behind an HTTP(S) address, fetched by a helper process that has no rights of its own.

use super::{Source, SourceError};
use crate::error::Kind;
use crate::fetch::wire::{self, PAYLOAD_BYTES_MAX, Received, Request};
use crate::own;
use std::io::{self, Read, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

/// What the clock service publishes.
const CLOCK_STATUS: &str = "/run/coracle/status/clock";
/// Longest status file that is read.
const STATUS_BYTES_MAX: usize = 16 << 10;

/// A file at an address. The helper runs from the moment this is made.
#[derive(Debug)]
pub struct HttpSource {
    url: String,
    helper: Helper,
    id: u32,
}

#[derive(Debug)]
struct Helper {
    child: Child,
    requests: ChildStdin,
    answers: ChildStdout,
}

impl HttpSource {
    /// The file at `url`, taken at `rate` bytes per second at most; 0: no limit.
    pub fn new(url: &str, rate: u64) -> Result<Self, SourceError> {
        Self::with_program(Path::new(own::PROGRAM), url, rate)
    }

    /// With `coracle-update` at another place.
    pub fn with_program(program: &Path, url: &str, rate: u64) -> Result<Self, SourceError> {
        if let Err(error) = url.parse::<ureq::http::Uri>() {
            let message = format!("{} is not an address", super::shown(url));
            return Err(SourceError::new(Kind::Usage, message).because(io::Error::other(error)));
        }
        let clock = if clock_is_set() { wire::CLOCK_SET } else { wire::CLOCK_UNSET };
        let failed =
            |error| SourceError::new(Kind::Internal, "cannot start the process that fetches").because(error);
        let arguments = ["fetch", url, &rate.to_string(), clock];
        let mut child = own::start(program, &arguments, Stdio::piped()).map_err(failed)?;
        let pipes = (child.stdin.take(), child.stdout.take());
        let (Some(requests), Some(answers)) = pipes else {
            return Err(failed(io::Error::other("it has no pipes")));
        };
        Ok(Self { url: url.to_owned(), helper: Helper { child, requests, answers }, id: 0 })
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone afterwards.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Whether the clock service has heard from a time server. No status, no clock.
fn clock_is_set() -> bool {
    let status = coracle_block::read_limited(Path::new(CLOCK_STATUS), STATUS_BYTES_MAX);
    let status = status.unwrap_or_default();
    String::from_utf8_lossy(&status).lines().any(|line| line == "synced=yes")
}

impl Source for HttpSource {
    fn describe(&self) -> String {
        super::shown(&self.url)
    }

    fn open(&mut self, offset: u64) -> Result<Box<dyn Read + '_>, SourceError> {
        self.id = self.id.wrapping_add(1);
        let request = Request { id: self.id, offset };
        self.helper.requests.write_all(&request.encode()).map_err(|error| {
            SourceError::new(Kind::Network, format!("cannot fetch {}", super::shown(&self.url)))
                .because(io::Error::other(format!("the process that fetches is gone: {error}")))
        })?;
        Ok(Box::new(Answer {
            input: &mut self.helper.answers,
            id: self.id,
            payload: Box::new([0; PAYLOAD_BYTES_MAX]),
            rest: 0..0,
            ended: false,
        }))
    }
}

/// The answer to one request.
struct Answer<'a> {
    input: &'a mut ChildStdout,
    id: u32,
    payload: Box<[u8; PAYLOAD_BYTES_MAX]>,
    rest: std::ops::Range<usize>,
    ended: bool,
}

impl Read for Answer<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() && !self.ended {
            match wire::receive(self.input, &mut self.payload)? {
                // What was under way for a request before this one.
                (id, _) if id != self.id => {}
                (_, Received::Data(length)) => self.rest = 0..length,
                (_, Received::End) => self.ended = true,
                (_, Received::Failed(error)) => {
                    self.ended = true;
                    return Err(io::Error::other(error));
                }
            }
        }
        let from = self.payload.get(self.rest.clone()).unwrap_or_default();
        let length = from.len().min(buffer.len());
        buffer.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        self.rest.start += length;
        Ok(length)
    }
}
