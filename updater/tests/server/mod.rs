//! A server on the loopback address that answers as a test wants it to, and a client with little patience.

use coracle_update::fetch::stream::Patience;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Little.
pub(crate) const fn patience() -> Patience {
    Patience {
        connect: Duration::from_secs(5),
        stall: Duration::from_millis(300),
        failures: 4,
        pause: Duration::from_millis(5),
    }
}

/// One request: its place among the requests, and the first byte it asks for.
pub(crate) struct Asked {
    pub(crate) nth: usize,
    pub(crate) from: Option<usize>,
}

/// Where it is, and what it has done.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) sent: Arc<AtomicU64>,
    pub(crate) asked: Arc<AtomicUsize>,
}

/// A server whose every answer `answer` writes.
pub(crate) fn serve(
    answer: impl Fn(&Asked, &mut dyn FnMut(&[u8]) -> bool) + Send + Sync + 'static,
) -> Server {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://127.0.0.1:{}/update.bundle", listener.local_addr().unwrap().port());
    let (sent, asked) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicUsize::new(0)));
    let server = Server { url, sent: Arc::clone(&sent), asked: Arc::clone(&asked) };
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for connection in listener.incoming() {
            let (answer, sent, asked) = (Arc::clone(&answer), Arc::clone(&sent), Arc::clone(&asked));
            thread::spawn(move || {
                let mut connection: TcpStream = connection.unwrap();
                let from = read_request(&connection);
                let request = Asked { nth: asked.fetch_add(1, Ordering::SeqCst), from };
                answer(&request, &mut |bytes| {
                    sent.fetch_add(u64::try_from(bytes.len()).unwrap(), Ordering::SeqCst);
                    connection.write_all(bytes).is_ok()
                });
            });
        }
    });
    server
}

fn read_request(connection: &TcpStream) -> Option<usize> {
    let mut from = None;
    for line in BufReader::new(connection).lines() {
        let line = line.unwrap().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(range) = line.strip_prefix("range: bytes=") {
            from = Some(range.trim_end_matches('-').parse().unwrap());
        }
    }
    from
}

/// The head of an honest answer, and where its body begins.
pub(crate) fn head(asked: &Asked, total: usize) -> (String, usize) {
    match asked.from {
        None => (format!("HTTP/1.1 200 OK\r\nContent-Length: {total}\r\n\r\n"), 0),
        Some(from) => {
            let (last, length) = (total - 1, total - from);
            let range = format!("Content-Range: bytes {from}-{last}/{total}");
            (format!("HTTP/1.1 206 Partial Content\r\n{range}\r\nContent-Length: {length}\r\n\r\n"), from)
        }
    }
}
