//! A web server on the loopback interface for tests, which can misbehave in every way that matters.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

/// One request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) path: String,
    /// First byte of a range, if one was asked for.
    pub(crate) from: Option<usize>,
}

/// What happens after the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    Close,
    /// The connection stays open and silent until the client gives up.
    Hold,
}

#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    /// The length that is promised; none is if `None`.
    pub(crate) promised: Option<usize>,
    pub(crate) after: After,
}

impl Reply {
    pub(crate) fn ok(body: &[u8]) -> Self {
        Self::status(200, body)
    }

    pub(crate) fn status(status: u16, body: &[u8]) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.to_vec(),
            promised: Some(body.len()),
            after: After::Close,
        }
    }

    /// The rest of `body` from `from`, as a server that knows ranges answers.
    pub(crate) fn range(body: &[u8], from: Option<usize>) -> Self {
        let Some(from) = from else {
            return Self::ok(body);
        };
        let range = format!("bytes {from}-{}/{}", body.len() - 1, body.len());
        Self::status(206, &body[from..]).header("Content-Range", range)
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The same promise, but the connection ends after `count` bytes of it.
    pub(crate) fn cut(mut self, count: usize) -> Self {
        self.body.truncate(count);
        self
    }

    pub(crate) fn hold(mut self) -> Self {
        self.after = After::Hold;
        self
    }
}

type Handler = dyn Fn(&Asked) -> Reply + Send + Sync;

pub(crate) struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let handler: Arc<Handler> = Arc::new(handler);
        let (log, end) = (Arc::clone(&asked), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let (handler, log) = (Arc::clone(&handler), Arc::clone(&log));
                thread::spawn(move || answer(&stream.unwrap(), &handler, &log));
            }
        });
        Self { address, asked, stop, thread: Some(thread) }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        drop(self.thread.take().map(JoinHandle::join));
    }
}

fn answer(mut stream: &TcpStream, handler: &Arc<Handler>, log: &Mutex<Vec<Asked>>) {
    let mut lines = BufReader::new(stream).lines();
    let Some(Ok(first)) = lines.next() else {
        return;
    };
    let mut asked = Asked { path: first.split(' ').nth(1).unwrap().to_owned(), from: None };
    for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
        if let Some(range) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
            asked.from = range.strip_suffix('-').and_then(|text| text.parse().ok());
        }
    }
    log.lock().unwrap().push(asked.clone());
    let reply = handler(&asked);
    let mut head = format!("HTTP/1.1 {} x\r\nConnection: close\r\n", reply.status);
    if let Some(length) = reply.promised {
        head.extend(["Content-Length: ", &length.to_string(), "\r\n"]);
    }
    for (name, value) in &reply.headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head.push_str("\r\n");
    // A client that has heard enough hangs up: no concern of the server's.
    let sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&reply.body));
    if sent.is_ok() && reply.after == After::Hold {
        drop(stream.read(&mut [0; 1]));
    }
}
