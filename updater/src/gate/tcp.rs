//! Connections with one deadline for everything.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

/// Addresses of a name that are tried.
const ADDRESSES: usize = 8;

/// When an attempt must be over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(Instant);

impl Deadline {
    /// So much later than now.
    pub(super) fn after(milliseconds: u32) -> Self {
        Self(Instant::now() + Duration::from_millis(milliseconds.into()))
    }

    /// What is left; an error when that is nothing.
    pub(super) fn left(self) -> Result<Duration, String> {
        let left = self.0.saturating_duration_since(Instant::now());
        if left.is_zero() { Err("it takes too long".to_owned()) } else { Ok(left) }
    }

    /// The next read or write of the stream takes no longer than what is left.
    pub(super) fn apply(self, stream: &TcpStream) -> Result<(), String> {
        let left = Some(self.left()?);
        stream
            .set_read_timeout(left)
            .and_then(|()| stream.set_write_timeout(left))
            .map_err(|error| format!("cannot set a time limit: {error}"))
    }
}

/// Connects to the first address of a name that accepts.
pub(super) fn connect(host: &str, port: u16, deadline: Deadline) -> Result<TcpStream, String> {
    let found = (host, port).to_socket_addrs().map_err(|error| format!("cannot find {host}: {error}"))?;
    let addresses: Vec<SocketAddr> = found.take(ADDRESSES).collect();
    let mut last = format!("{host} has no address");
    for (index, address) in addresses.iter().enumerate() {
        // One address that does not answer must not take the time of the others.
        let share = u32::try_from(addresses.len() - index).unwrap_or(1);
        let limit = (deadline.left()? / share).max(Duration::from_millis(1));
        match TcpStream::connect_timeout(address, limit) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = format!("cannot connect to {address}: {}", reason(&error)),
        }
    }
    Err(last)
}

/// The short form of the errors that one sees.
pub(super) fn reason(error: &io::Error) -> String {
    let words = [
        (io::ErrorKind::ConnectionRefused, "connection refused"),
        (io::ErrorKind::ConnectionReset, "connection reset"),
        (io::ErrorKind::TimedOut, "no answer in time"),
        (io::ErrorKind::WouldBlock, "no answer in time"),
    ];
    let found = words.into_iter().find(|(kind, _)| *kind == error.kind());
    found.map_or_else(|| error.to_string(), |(_, words)| words.to_owned())
}
