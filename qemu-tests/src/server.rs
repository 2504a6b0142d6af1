//! A web server with updates, on the loopback address; machines reach it at 10.0.2.2.

use anyhow::{Context as _, Result};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Component, Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// Longest request that is read.
const REQUEST_BYTES_MAX: u64 = 16 << 10;
/// How long a client may say nothing.
const IDLE: Duration = Duration::from_mins(1);

/// How the server misbehaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Connections that are cut, before the server behaves.
    pub cuts: u64,
    /// Bytes of the body after which those are cut.
    pub cut_after: u64,
    /// Answers with the whole file, whatever range was asked for.
    pub no_ranges: bool,
    /// Says that it sends the range that was asked for, and sends the beginning of the file.
    pub wrong_ranges: bool,
    /// Stops after the headers, and keeps the connection open.
    pub stalls: bool,
}

/// What is served.
#[derive(Debug)]
enum Files {
    /// Files under these names.
    Named(BTreeMap<String, PathBuf>),
    /// Whatever is below a directory when it is asked for.
    Below(PathBuf),
}

impl Files {
    fn find(&self, name: &str) -> Option<PathBuf> {
        match self {
            Self::Named(files) => files.get(name).cloned(),
            Self::Below(dir) => {
                let is_below = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
                Some(dir.join(name)).filter(|path| is_below && path.is_file())
            }
        }
    }
}

/// A file that was asked for and is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its name.
    pub name: String,
    /// The first byte that was asked for.
    pub from: u64,
}

/// What the server has in common with its connections.
#[derive(Debug)]
struct Shared {
    files: Files,
    asked: Mutex<Vec<Asked>>,
    faults: Faults,
    cuts: AtomicU64,
    sent: AtomicU64,
    over: AtomicBool,
}

/// A running server; it ends when dropped.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    port: u16,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves files under these names.
    pub fn start(files: BTreeMap<String, PathBuf>) -> Result<Self> {
        Self::with_faults(files, Faults::default())
    }

    /// Serves files, and misbehaves.
    pub fn with_faults(files: BTreeMap<String, PathBuf>, faults: Faults) -> Result<Self> {
        Self::listen(0, Files::Named(files), faults)
    }

    /// Serves what is below a directory, on a port that is in the images of those that ask.
    pub fn of_directory(dir: PathBuf, port: u16) -> Result<Self> {
        Self::listen(port, Files::Below(dir), Faults::default())
    }

    fn listen(port: u16, files: Files, faults: Faults) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .with_context(|| format!("cannot listen on port {port} of loopback"))?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            files,
            asked: Mutex::default(),
            faults,
            cuts: AtomicU64::new(faults.cuts),
            sent: AtomicU64::new(0),
            over: AtomicBool::new(false),
        });
        let own = Arc::clone(&shared);
        let accept = move || {
            for stream in listener.incoming() {
                if own.over.load(Ordering::Relaxed) {
                    break;
                }
                let (Ok(stream), shared) = (stream, Arc::clone(&own)) else { continue };
                // A client that goes away, or asks for nonsense, is not the server's business.
                thread::spawn(move || drop(shared.serve(stream)));
            }
        };
        Ok(Self { shared, port, thread: Some(thread::spawn(accept)) })
    }

    /// The address of a file, as machines see it.
    pub fn url(&self, name: &str) -> String {
        format!("http://10.0.2.2:{}/{name}", self.port)
    }

    /// Everything that was asked for and is there, in the order of the answers.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many bytes of files have been sent.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        // The accepting thread looks up at the next connection.
        if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok()
            && let Some(thread) = self.thread.take()
        {
            drop(thread.join());
        }
    }
}

fn parse(head: &str) -> Option<Asked> {
    let mut lines = head.lines();
    let name = lines.next()?.strip_prefix("GET /")?.split(' ').next()?.to_owned();
    let range =
        lines.filter_map(|line| line.split_once(':')).find(|(key, _)| key.eq_ignore_ascii_case("range"));
    let from =
        range.and_then(|(_, value)| value.trim().strip_prefix("bytes=")?.split('-').next()?.parse().ok());
    Some(Asked { name, from: from.unwrap_or(0) })
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(IDLE))?;
        let mut head = String::new();
        let mut reader = BufReader::new((&stream).take(REQUEST_BYTES_MAX));
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let found = parse(&head).and_then(|asked| Some((self.files.find(&asked.name)?, asked)));
        let Some((path, asked)) = found else {
            return stream
                .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        };
        let from = asked.from;
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let from = if self.faults.no_ranges { 0 } else { from.min(length) };
        let left = length - from;
        let status = if from > 0 {
            format!(
                "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{}/{length}\r\n",
                length.saturating_sub(1)
            )
        } else {
            "HTTP/1.1 200 OK\r\n".to_owned()
        };
        let more = format!("Accept-Ranges: bytes\r\nContent-Length: {left}\r\nConnection: close\r\n\r\n");
        stream.write_all((status + &more).as_bytes())?;
        if self.faults.stalls {
            // Until the client gives up, or the server ends.
            return stream.read(&mut [0]).map(drop);
        }
        file.seek(SeekFrom::Start(if self.faults.wrong_ranges { 0 } else { from }))?;
        self.send(file.take(self.allowed(left)), &mut stream)
    }

    /// How much of an answer is sent before the connection is cut.
    fn allowed(&self, left: u64) -> u64 {
        let one_less = |cuts: u64| cuts.checked_sub(1);
        match self.cuts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less) {
            Ok(_) => left.min(self.faults.cut_after),
            Err(_) => left,
        }
    }

    fn send(&self, mut body: impl io::Read, stream: &mut TcpStream) -> io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let n = body.read(&mut buffer)?;
            if n == 0 {
                return Ok(());
            }
            stream.write_all(&buffer[..n])?;
            self.sent.fetch_add(u64::try_from(n).unwrap_or(0), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_a_file_and_where_to_begin() {
        let head = "GET /update.bundle HTTP/1.1\r\nHost: h\r\nRange: bytes=512-\r\n\r\n";
        assert_eq!(parse(head), Some(Asked { name: "update.bundle".to_owned(), from: 512 }));
        assert_eq!(parse("POST /x HTTP/1.1\r\n\r\n"), None);
    }

    #[test]
    fn a_directory_is_served_as_it_is_and_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("repo");
        std::fs::create_dir_all(below.join("metadata")).unwrap();
        for name in ["secret", "repo/metadata/timestamp.json"] {
            coracle::files::replace(&dir.path().join(name), b"text").unwrap();
        }
        let files = Files::Below(below);
        assert!(files.find("metadata/timestamp.json").is_some());
        for name in ["metadata", "missing", "../secret", "/etc/passwd", ""] {
            assert_eq!(files.find(name), None, "{name:?}");
        }
    }

    #[test]
    fn a_cut_connection_is_resumed_where_it_broke() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        coracle::files::replace(&path, b"0123456789").unwrap();
        let faults = Faults { cuts: 1, cut_after: 4, ..Faults::default() };
        let server = Server::with_faults([("f".to_owned(), path)].into(), faults).unwrap();
        let get = |from: u64| {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).unwrap();
            write!(stream, "GET /f HTTP/1.1\r\nRange: bytes={from}-\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer.split_once("\r\n\r\n").unwrap().1.to_owned()
        };
        assert_eq!([get(0), get(4)], ["0123", "456789"]);
        assert_eq!(server.sent(), 10);
    }
}
