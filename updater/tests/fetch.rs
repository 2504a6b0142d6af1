//! The network source against servers that fail, stall and lie. Loopback only.
#![expect(clippy::tests_outside_test_module, clippy::unwrap_used, reason = "the whole crate is a test")]

#[cfg(test)]
mod server;

use coracle_tls::Clock;
use coracle_update::fetch::stream::{self, Stream};
use coracle_update::source::{HttpSource, Source as _, SourceError};
use server::{Asked, head, patience, serve};
use std::io::Read as _;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

/// What is copy: bytes whose place can be told.
fn file(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|index| u8::try_from((index * 7 + index / 251) % 251).unwrap()).collect()
}

fn fetch(url: &str, from: u64) -> Result<Vec<u8>, SourceError> {
    let agent = stream::agent(Clock::Unset, &patience()).unwrap();
    let stream = Stream::new(agent, url, 0, patience());
    let mut transfer = stream.from(from);
    let (mut out, mut buffer) = (Vec::new(), vec![0; 10_000]);
    loop {
        match transfer.read(&mut buffer)? {
            0 => return Ok(out),
            read => out.extend_from_slice(&buffer[..read]),
        }
    }
}

fn why(error: &SourceError) -> String {
    format!("{error}: {}", error.source.as_ref().unwrap())
}

#[test]
fn a_connection_that_is_cut_twenty_times_costs_five_percent_at_most() {
    let bytes = file(4 << 20);
    let copy = bytes.clone();
    let piece = bytes.len() / 20;
    let server = serve(move |asked, send| {
        let (head, from) = head(asked, copy.len());
        let end = if asked.nth < 20 { (from + piece).min(copy.len()) } else { copy.len() };
        if send(head.as_bytes()) {
            send(&copy[from..end]);
        }
    });
    assert!(fetch(&server.url, 0).unwrap() == bytes);
    assert!(server.asked.load(Ordering::SeqCst) >= 20);
    let sent = server.sent.load(Ordering::SeqCst);
    assert!(sent * 100 <= u64::try_from(bytes.len()).unwrap() * 105, "{sent} bytes sent");
}

#[test]
fn a_transfer_begins_where_it_is_asked_to() {
    let bytes = file(100_000);
    let copy = bytes.clone();
    let server = serve(move |asked, send| {
        let (head, from) = head(asked, copy.len());
        send(&[head.as_bytes(), &copy[from..]].concat());
    });
    assert!(fetch(&server.url, 70_000).unwrap() == bytes[70_000..]);
}

#[test]
fn a_server_without_ranges_is_read_from_the_start() {
    let bytes = file(200_000);
    let copy = bytes.clone();
    let server = serve(move |asked, send| {
        let (head, _) = head(&Asked { nth: asked.nth, from: None }, copy.len());
        let end = if asked.nth == 0 { 150_000 } else { copy.len() };
        send(&[head.as_bytes(), &copy[..end]].concat());
    });
    assert!(fetch(&server.url, 0).unwrap() == bytes);
}

#[test]
fn a_server_that_stalls_is_given_up() {
    let server = serve(|_, send| {
        send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nsome");
        // The connection stays open, silent, until the test is over.
        thread::park();
    });
    let error = fetch(&server.url, 0).unwrap_err();
    assert!(why(&error).contains("cannot fetch http://127.0.0.1"), "{}", why(&error));
    assert!(error.hint.unwrap().contains("is kept"));
}

#[test]
fn a_document_that_comes_byte_by_byte_is_given_up_when_its_time_is_over() {
    let server = serve(|_, send| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n";
        let mut goes_on = send(head);
        // Never silent for as long as a stall, and never done.
        while goes_on {
            thread::park_timeout(patience().stall / 20);
            goes_on = send(b"x");
        }
    });
    let agent = stream::agent(Clock::Unset, &patience()).unwrap();
    let within = patience().stall * 2;
    let stream = Stream::document(agent, &server.url, 1 << 20, patience()).within(within);
    let (mut transfer, mut buffer, begun) = (stream.from(0), [0; 100], Instant::now());
    let error = loop {
        match transfer.read(&mut buffer) {
            Ok(read) => assert!(read > 0, "the document has ended"),
            Err(error) => break error,
        }
    };
    assert!(why(&error).contains("the server is too slow"), "{}", why(&error));
    assert!(begun.elapsed() >= within);
}

#[test]
fn a_server_that_lies_about_ranges_is_given_up() {
    let bytes = file(300_000);
    let server = serve(move |asked, send| {
        if asked.from.is_none() {
            send(&[b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n", &bytes[..100_000]].concat());
        } else {
            let head = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-299999/300000\r\n\r\n";
            send(&[head.as_bytes(), &bytes].concat());
        }
    });
    let error = fetch(&server.url, 0).unwrap_err();
    assert!(why(&error).contains("the server sends bytes from 0 on, asked for 100000"), "{}", why(&error));
}

#[test]
fn a_file_that_changes_on_the_server_ends_the_transfer() {
    let server = serve(move |asked, send| {
        let total = 200_000 + asked.nth;
        let (head, from) = head(asked, total);
        send(&[head.as_bytes(), &file(total)[from..(from + 100_000).min(total)]].concat());
    });
    let error = fetch(&server.url, 0).unwrap_err();
    assert!(why(&error).contains("has changed on the server"), "{}", why(&error));
}

#[test]
fn endless_headers_junk_and_bad_answers_are_errors() {
    let endless = serve(|_, send| {
        send(b"HTTP/1.1 200 OK\r\n");
        while send(b"X-More: of the same and more of the same\r\n") {}
    });
    let junk = serve(|_, send| {
        send(&[0xff; 4096]);
    });
    let missing = serve(|_, send| {
        send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    });
    let around = serve(|_, send| {
        send(b"HTTP/1.1 302 Found\r\nLocation: /update.bundle\r\nContent-Length: 0\r\n\r\n");
    });
    for server in [&endless, &junk, &missing, &around] {
        fetch(&server.url, 0).unwrap_err();
    }
    assert_eq!(missing.asked.load(Ordering::SeqCst), 1, "a missing file is asked for once");
}

#[test]
fn a_server_that_recovers_is_waited_for() {
    let server = serve(|asked, send| {
        if asked.nth < 3 {
            send(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
        } else {
            send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere");
        }
    });
    assert_eq!(fetch(&server.url, 0).unwrap(), b"here");
}

#[test]
fn the_helper_process_serves_one_stream_after_another() {
    let bytes = file(1 << 20);
    let copy = bytes.clone();
    let server = serve(move |asked, send| {
        let (head, from) = head(asked, copy.len());
        send(&[head.as_bytes(), &copy[from..]].concat());
    });
    let program = Path::new(env!("CARGO_BIN_EXE_coracle-update"));
    let mut source = HttpSource::with_program(program, &server.url, 0).unwrap();
    // A stream that is left half read does not disturb the next one.
    let mut start = vec![0; 100_000];
    source.open(0).unwrap().read_exact(&mut start).unwrap();
    assert!(start == bytes[..100_000]);
    let mut rest = Vec::new();
    source.open(500_000).unwrap().read_to_end(&mut rest).unwrap();
    assert!(rest == bytes[500_000..]);
}

#[test]
fn what_the_helper_finds_wrong_reaches_the_writer() {
    let server = serve(|_, send| {
        send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    });
    let program = Path::new(env!("CARGO_BIN_EXE_coracle-update"));
    let mut source = HttpSource::with_program(program, &server.url, 0).unwrap();
    let error = source.open(0).unwrap().read(&mut [0; 16]).unwrap_err();
    let error = error.into_inner().unwrap().downcast::<SourceError>().unwrap();
    assert!(why(&error).contains("status 404"), "{}", why(&error));
}

#[test]
fn what_is_not_an_address_is_a_usage_error() {
    let program = Path::new(env!("CARGO_BIN_EXE_coracle-update"));
    let error = HttpSource::with_program(program, "http://", 0).unwrap_err();
    assert_eq!(error.kind, coracle_update::error::Kind::Usage);
}
