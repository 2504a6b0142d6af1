//! One HTTP request, as a browser's first would be.

use anyhow::{Context as _, Result, bail};
use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// The largest answer that is read.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// The whole answer of `GET path`, headers included. A server that does not listen yet is asked again until `within`
/// has passed.
pub fn get(port: u16, path: &str, within: Duration) -> Result<String> {
    let deadline = Instant::now() + within;
    loop {
        match try_get(port, path) {
            // The forwarder accepts before the machine does: an empty answer means that nobody listens there yet.
            Ok(answer) if !answer.is_empty() => return Ok(answer),
            Ok(_) | Err(_) if Instant::now() < deadline => {}
            Ok(_) => bail!("nothing answered on port {port}"),
            Err(error) => return Err(error.context(format!("GET {path} on port {port}"))),
        }
        std::thread::park_timeout(Duration::from_millis(200));
    }
}

fn try_get(port: u16, path: &str) -> Result<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).context("cannot read the answer")?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
