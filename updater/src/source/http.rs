//! A file behind an HTTP(S) address, fetched by a helper process that has no rights of its own.

use super::{Length, Source, SourceError};
use crate::error::Kind;
use crate::fetch::wire::{self, PAYLOAD_BYTES_MAX, Received, Request};
use crate::own;
use std::cell::RefCell;
use std::io::{self, Read, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::rc::Rc;

/// What the clock service publishes.
const CLOCK_STATUS: &str = "/run/coracle/status/clock";
/// Longest status file that is read.
const STATUS_BYTES_MAX: usize = 16 << 10;

/// A helper process, and the address that it may fetch from. Everything below the address is asked for one after the
/// other; it runs from the moment this is made until the last copy of this is gone.
#[derive(Clone, Debug)]
pub struct Fetcher {
    address: String,
    helper: Rc<RefCell<Helper>>,
}

#[derive(Debug)]
struct Helper {
    child: Child,
    requests: ChildStdin,
    answers: ChildStdout,
    /// The request that was made last.
    id: u32,
}

impl Drop for Helper {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone afterwards.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Fetcher {
    /// Fetches from `address`, at `rate` bytes per second at most; 0: no limit.
    pub fn new(address: &str, rate: u64) -> Result<Self, SourceError> {
        Self::with_program(Path::new(own::PROGRAM), address, rate)
    }

    /// With `coracle-update` at another place.
    pub fn with_program(program: &Path, address: &str, rate: u64) -> Result<Self, SourceError> {
        if let Err(error) = address.parse::<ureq::http::Uri>() {
            let message = format!("{} is not an address", super::shown(address));
            return Err(SourceError::new(Kind::Usage, message).because(io::Error::other(error)));
        }
        let clock = if clock_is_set() { wire::CLOCK_SET } else { wire::CLOCK_UNSET };
        let failed =
            |error| SourceError::new(Kind::Internal, "cannot start the process that fetches").because(error);
        let arguments = ["fetch", address, &rate.to_string(), clock];
        let mut child = own::start(program, &arguments, Stdio::piped()).map_err(failed)?;
        let pipes = (child.stdin.take(), child.stdout.take());
        let (Some(requests), Some(answers)) = pipes else {
            return Err(failed(io::Error::other("it has no pipes")));
        };
        let helper = Helper { child, requests, answers, id: 0 };
        Ok(Self { address: address.to_owned(), helper: Rc::new(RefCell::new(helper)) })
    }

    /// The whole of a document of at most `limit` bytes; `None` if there is none. `path` is what stands behind the address,
    /// [`encoded`].
    pub fn document(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, SourceError> {
        let mut bytes = Vec::new();
        let answer = self.ask(path, 0, limit.max(1))?;
        match answer.take(limit.saturating_add(1)).read_to_end(&mut bytes) {
            Ok(_) if u64::try_from(bytes.len()).is_ok_and(|length| length <= limit) => Ok(Some(bytes)),
            Ok(_) => Err(self.failed(path, io::Error::other(format!("it has more than {limit} bytes")))),
            Err(error) => match error.downcast::<SourceError>() {
                Ok(error) if error.kind == Kind::NotFound => Ok(None),
                Ok(error) => Err(error),
                Err(error) => Err(self.failed(path, error)),
            },
        }
    }

    /// A file as a source; `path` is what stands behind the address, [`encoded`].
    pub fn file(&self, path: &str, length: Length) -> HttpSource {
        HttpSource { fetcher: self.clone(), path: path.to_owned(), length }
    }

    fn ask(&self, path: &str, offset: u64, limit: u64) -> Result<Answer, SourceError> {
        let mut helper = self.helper.borrow_mut();
        helper.id = helper.id.wrapping_add(1);
        let request = Request { id: helper.id, offset, limit, path: path.to_owned() };
        let request = request.encode().ok_or_else(|| io::Error::other("its path is too long"));
        let sent = request.and_then(|request| {
            helper
                .requests
                .write_all(&request)
                .map_err(|error| io::Error::other(format!("the process that fetches is gone: {error}")))
        });
        sent.map_err(|error| self.failed(path, error))?;
        let payload = Box::new([0; PAYLOAD_BYTES_MAX]);
        Ok(Answer { helper: Rc::clone(&self.helper), id: helper.id, payload, rest: 0..0, ended: false })
    }

    fn failed(&self, path: &str, error: io::Error) -> SourceError {
        let message = format!("cannot fetch {}", place(&self.address, path));
        SourceError::new(Kind::Network, message).because(error)
    }
}

/// The address of a file, for messages.
fn place(address: &str, path: &str) -> String {
    let base = super::shown(address);
    if path.is_empty() { base } else { format!("{}/{path}", base.trim_end_matches('/')) }
}

/// A path as it stands in an address: everything but its slashes and what RFC 3986 reserves for nothing is escaped.
pub fn encoded(path: &str) -> String {
    let mut out = String::new();
    for byte in path.bytes() {
        let plain = char::from(byte);
        if plain.is_ascii_alphanumeric() || "-._~/".contains(plain) {
            out.push(plain);
        } else {
            out.push('%');
            out.push_str(&crate::report::hex(&[byte]).to_uppercase());
        }
    }
    out
}

/// Whether the clock service has heard from a time server. No status, no clock.
fn clock_is_set() -> bool {
    let status = coracle_block::read_limited(Path::new(CLOCK_STATUS), STATUS_BYTES_MAX);
    let status = status.unwrap_or_default();
    String::from_utf8_lossy(&status).lines().any(|line| line == "synced=yes")
}

/// A file at an address.
#[derive(Debug)]
pub struct HttpSource {
    fetcher: Fetcher,
    path: String,
    length: Length,
}

impl HttpSource {
    /// The file at `url`, taken at `rate` bytes per second at most; 0: no limit.
    pub fn new(url: &str, rate: u64) -> Result<Self, SourceError> {
        Ok(Fetcher::new(url, rate)?.file("", Length::Unknown))
    }

    /// With `coracle-update` at another place.
    pub fn with_program(program: &Path, url: &str, rate: u64) -> Result<Self, SourceError> {
        Ok(Fetcher::with_program(program, url, rate)?.file("", Length::Unknown))
    }
}

impl Source for HttpSource {
    fn describe(&self) -> String {
        place(&self.fetcher.address, &self.path)
    }

    fn length(&mut self) -> Result<Length, SourceError> {
        Ok(self.length)
    }

    fn open(&mut self, offset: u64) -> Result<Box<dyn Read + '_>, SourceError> {
        Ok(Box::new(self.fetcher.ask(&self.path, offset, 0)?))
    }
}

/// The answer to one request.
struct Answer {
    helper: Rc<RefCell<Helper>>,
    id: u32,
    payload: Box<[u8; PAYLOAD_BYTES_MAX]>,
    rest: std::ops::Range<usize>,
    ended: bool,
}

impl Read for Answer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() && !self.ended {
            let mut helper = self.helper.borrow_mut();
            if helper.id != self.id {
                return Err(io::Error::other("something else was asked for meanwhile"));
            }
            match wire::receive(&mut helper.answers, &mut self.payload)? {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_means_nothing_but_itself_in_an_address() {
        assert_eq!(encoded("targets/stable/3.root.json"), "targets/stable/3.root.json");
        assert_eq!(encoded("a b?c#d%/\u{e9}"), "a%20b%3Fc%23d%25/%C3%A9");
        assert_eq!(place("http://h.example/repo/", "x"), "http://h.example/repo/x");
    }
}
