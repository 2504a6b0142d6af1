//! One `GET` over plain HTTP, as far as its status line. The server is not trusted.

use super::tcp::{self, Deadline};
use std::io::{Read as _, Write as _};

/// Longest status line that is read. What follows it is of no interest.
const STATUS_LINE_BYTES: usize = 256;

/// Whether the server answers with a status from 200 to 399 in time.
pub(super) fn get(host: &str, port: u16, path: &str, deadline: Deadline) -> Result<(), String> {
    let request = request(host, port, path)?;
    let mut stream = tcp::connect(host, port, deadline)?;
    let failed = |action: &str, error: &std::io::Error| format!("cannot {action}: {}", tcp::reason(error));
    deadline.apply(&stream)?;
    stream.write_all(request.as_bytes()).map_err(|error| failed("send the request", &error))?;
    let mut line = [0; STATUS_LINE_BYTES];
    let mut length = 0;
    while !line[..length].contains(&b'\n') {
        if length == line.len() {
            return Err("the answer does not begin with a status line".to_owned());
        }
        // Set again before each read: a server that sends a byte now and then gets no more time by that.
        deadline.apply(&stream)?;
        match stream.read(&mut line[length..]) {
            Ok(0) => return Err("the connection was closed before the answer".to_owned()),
            Ok(count) => length += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed("read the answer", &error)),
        }
    }
    match status(&line[..length]) {
        Some(200..=399) => Ok(()),
        Some(status) => Err(format!("it answers with status {status}")),
        None => Err("the answer does not begin with a status line".to_owned()),
    }
}

fn request(host: &str, port: u16, path: &str) -> Result<String, String> {
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if !path.starts_with('/') || !is_plain(path) || !is_plain(host) {
        return Err("its host or path cannot stand in a request".to_owned());
    }
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    Ok(format!(
        "GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: coracle-update\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    ))
}

fn status(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.1 ").or_else(|| line.strip_prefix(b"HTTP/1.0 "))?;
    let (digits, rest) = rest.split_at_checked(3)?;
    let ends = matches!(rest.first(), Some(b' ' | b'\r' | b'\n'));
    if !ends || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_status_line_has_a_status() {
        assert_eq!(status(b"HTTP/1.1 204 No Content\r\n"), Some(204));
        assert_eq!(status(b"HTTP/1.0 200\r\n"), Some(200));
        for line in
            [&b"HTTP/2 200\r\n"[..], b"HTTP/1.1 2000 x\r\n", b"HTTP/1.1 +20\n", b"SSH-2.0-x\r\n", b"\n"]
        {
            assert_eq!(status(line), None);
        }
    }

    #[test]
    fn a_request_is_made_of_nothing_that_could_split_it() {
        assert!(request("a", 80, "/x?y=1").unwrap().starts_with("GET /x?y=1 HTTP/1.1\r\nHost: a:80\r\n"));
        assert!(request("::1", 80, "/").unwrap().contains("Host: [::1]:80\r\n"));
        for (host, path) in [("a", "/\r\nX: y"), ("a", "x"), ("a b", "/"), ("a", "/ x")] {
            assert!(request(host, 80, path).is_err(), "{host} {path}");
        }
    }
}
