//! One file over HTTP(S), as one stream: what breaks is resumed where it broke.

use super::answer::{self, File, Head, Verdict};
use super::pace::{Pace, Speed};
use super::tls::Tls;
use crate::error::{Error, Kind, Result};
use crate::source::SourceError;
use rustls::RootCertStore;
use std::io::{self, Read as _};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Connector as _, TcpConnector};
use ureq::{Agent, BodyReader, Timeout};

const REDIRECTS_MAX: u32 = 5;
const HEADERS_BYTES_MAX: usize = 32 << 10;
const BUFFER_BYTES: usize = 32 << 10;
/// Failures in a row that a document is worth.
const DOCUMENT_FAILURES: u32 = 2;
/// The most that a document may take.
const DOCUMENT_TIME: Duration = Duration::from_mins(3);
/// What must come between two failures for the second to count as the first of a new row.
const USEFUL_BYTES: u64 = 64 << 10;

/// How much a server is put up with.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Resolving a name, making a connection.
    pub connect: Duration,
    /// Without any byte.
    pub stall: Duration,
    /// Failures in a row, without a useful amount of bytes between them.
    pub failures: u32,
    /// The pause after the first failure; it doubles with each, up to a minute.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            stall: Duration::from_secs(30),
            failures: 8,
            pause: Duration::from_secs(1),
        }
    }
}

const PAUSE_MAX: Duration = Duration::from_mins(1);

/// An HTTP client that trusts the public certificate authorities.
pub fn agent(clock: coracle_tls::Clock, patience: &Patience) -> Result<Agent> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    agent_trusting(roots, clock, patience)
}

/// An HTTP client that trusts `roots`.
pub fn agent_trusting(roots: RootCertStore, clock: coracle_tls::Clock, patience: &Patience) -> Result<Agent> {
    let tls = coracle_tls::client(roots, clock)
        .map_err(|source| Error::new(Kind::Internal, "cannot set up TLS").because(source))?;
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(REDIRECTS_MAX)
        .max_response_header_size(HEADERS_BYTES_MAX)
        .input_buffer_size(BUFFER_BYTES)
        .output_buffer_size(4 << 10)
        // One, for the documents of a channel that are asked for one after the other.
        .max_idle_connections(1)
        .max_idle_connections_per_host(1)
        .proxy(None)
        .user_agent(concat!("coracle-update/", env!("CARGO_PKG_VERSION")))
        .timeout_resolve(Some(patience.connect))
        .timeout_connect(Some(patience.connect))
        .timeout_recv_response(Some(patience.stall))
        .timeout_per_read(Some(patience.stall))
        .timeout_per_write(Some(patience.stall))
        .build();
    let connector = ().chain(TcpConnector::default()).chain(Tls(Arc::new(tls)));
    Ok(Agent::with_parts(config, connector, DefaultResolver::default()))
}

/// A file at an address.
#[derive(Clone, Debug)]
pub struct Stream {
    agent: Agent,
    url: String,
    rate: u64,
    patience: Patience,
    /// Most bytes, and the most that it may take.
    limit: u64,
    within: Duration,
}

impl Stream {
    /// The file at `url`, taken at `rate` bytes per second at most; 0: no limit.
    pub fn new(agent: Agent, url: &str, rate: u64, patience: Patience) -> Self {
        Self { agent, url: url.to_owned(), rate, patience, limit: u64::MAX, within: Duration::MAX }
    }

    /// The document at `url`, which must not have more than `limit` bytes. Whoever wants one asks again later, so it is
    /// not waited for long.
    pub fn document(agent: Agent, url: &str, limit: u64, patience: Patience) -> Self {
        let patience = Patience { failures: patience.failures.min(DOCUMENT_FAILURES), ..patience };
        Self { limit, within: DOCUMENT_TIME, ..Self::new(agent, url, 0, patience) }
    }

    /// The same, given up when it has not come within this time.
    #[must_use]
    pub fn within(self, within: Duration) -> Self {
        Self { within, ..self }
    }

    /// Its bytes from `offset` on.
    pub fn from(&self, offset: u64) -> Transfer<'_> {
        let begun = Instant::now();
        let (known, body) = (File::default(), None);
        Transfer { stream: self, begun, offset, known, body, failures: 0, since_failure: 0 }
    }
}

/// A file under way.
pub struct Transfer<'a> {
    stream: &'a Stream,
    begun: Instant,
    offset: u64,
    known: File,
    body: Option<(BodyReader<'static>, Pace)>,
    failures: u32,
    since_failure: u64,
}

impl std::fmt::Debug for Transfer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Transfer({} from {})", self.stream.url, self.offset)
    }
}

/// What happened to one attempt.
enum Step {
    Read(usize),
    End,
    Passing(String),
}

impl Transfer<'_> {
    /// The next bytes; 0 at the end of the file. Resumes and waits as often as the patience allows.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, SourceError> {
        loop {
            if self.begun.elapsed() > self.stream.within {
                return Err(self.error(Kind::Network, "the server is too slow"));
            }
            match self.step(buffer)? {
                Step::Read(0) | Step::End => return Ok(0),
                Step::Read(read) => return Ok(read),
                Step::Passing(why) => self.fail(&why)?,
            }
        }
    }

    fn step(&mut self, buffer: &mut [u8]) -> Result<Step, SourceError> {
        if self.body.is_none() {
            match self.connect()? {
                Step::Read(_) => {}
                other @ (Step::End | Step::Passing(_)) => return Ok(other),
            }
        }
        let Some((body, pace)) = &mut self.body else {
            return Ok(Step::Passing("there is no connection".to_owned()));
        };
        let read = match body.read(buffer) {
            Ok(0) if self.known.total.is_some_and(|total| self.offset < total) => {
                return Ok(Step::Passing("the connection ended early".to_owned()));
            }
            Ok(0) => return Ok(Step::End),
            Ok(read) => read,
            Err(error) => return Ok(Step::Passing(broken(&error))),
        };
        let (speed, wait) = pace.count(read, Instant::now());
        rest(wait);
        let bytes = u64::try_from(read).unwrap_or(u64::MAX);
        self.offset = self.offset.saturating_add(bytes);
        self.since_failure = self.since_failure.saturating_add(bytes);
        if self.offset > self.stream.limit {
            return Err(self.too_long());
        }
        match speed {
            Speed::Enough | Speed::Unknown => {}
            // What has come is kept; the next connection may be better.
            Speed::TooSlow => self.fail("the server is too slow")?,
        }
        Ok(Step::Read(read))
    }

    /// Asks for what is missing.
    fn connect(&mut self) -> Result<Step, SourceError> {
        let mut request = self.stream.agent.get(&self.stream.url);
        if self.offset > 0 {
            request = request.header("Range", format!("bytes={}-", self.offset));
        }
        let response = match request.call() {
            Ok(response) => response,
            Err(error) => return self.failed_request(&error),
        };
        let header = |name: &str| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned)
        };
        let head = Head {
            status: response.status().as_u16(),
            length: header("content-length").and_then(|text| text.parse().ok()),
            range: header("content-range"),
            tag: header("etag").or_else(|| header("last-modified")),
        };
        let (skip, file) = match answer::judge(&head, self.offset, &self.known) {
            Verdict::Body { skip, file } => (skip, file),
            Verdict::End => return Ok(Step::End),
            Verdict::Passing(why) => return Ok(Step::Passing(why)),
            Verdict::Final(kind, why) => {
                let hint = answer::hint(&head, &why).map(ToOwned::to_owned);
                return Err(SourceError { hint, ..self.error(kind, &why) });
            }
        };
        if file.total.is_some_and(|total| total > self.stream.limit) {
            return Err(self.too_long());
        }
        let mut body = response.into_body().into_with_config().limit(u64::MAX).reader();
        match io::copy(&mut (&mut body).take(skip), &mut io::sink()) {
            Ok(skipped) if skipped == skip => {}
            Ok(_) => return Ok(Step::Passing("the connection ended early".to_owned())),
            Err(error) => return Ok(Step::Passing(broken(&error))),
        }
        self.known = file;
        self.body = Some((body, Pace::new(self.stream.rate, Instant::now())));
        Ok(Step::Read(0))
    }

    fn failed_request(&self, error: &ureq::Error) -> Result<Step, SourceError> {
        use ureq::Error as E;
        match error {
            E::BadUri(_) | E::TooManyRedirects | E::RequireHttpsOnly(_) | E::LargeResponseHeader(..) => {
                Err(self.error(Kind::Network, &error.to_string()))
            }
            E::Io(cause) if is_certificate(cause) => Err(self
                .error(Kind::Network, &error.to_string())
                .hint("the server's certificate is not one of a public authority for this name; http:// works as well, for what is fetched is verified by its signatures")),
            E::Timeout(at) => Ok(Step::Passing(late(*at))),
            E::StatusCode(_)
            | E::Http(_)
            | E::Protocol(_)
            | E::Io(_)
            | E::HostNotFound
            | E::RedirectFailed
            | E::InvalidProxyUrl
            | E::ConnectionFailed
            | E::BodyExceedsLimit(_)
            | E::Tls(_)
            | E::ConnectProxyFailed(_)
            | E::TlsRequired
            | E::Other(_)
            | _ => Ok(Step::Passing(error.to_string())),
        }
    }

    /// Counts a failure, waits; an error once there were too many.
    fn fail(&mut self, why: &str) -> Result<(), SourceError> {
        self.body = None;
        if self.since_failure >= USEFUL_BYTES {
            self.failures = 0;
        }
        self.since_failure = 0;
        self.failures += 1;
        if self.failures > self.stream.patience.failures {
            return Err(self
                .error(Kind::Network, why)
                .hint("what has come so far is kept: the next attempt goes on from there"));
        }
        let doubled = 1_u32.checked_shl(self.failures - 1).unwrap_or(u32::MAX);
        rest(self.stream.patience.pause.saturating_mul(doubled).min(PAUSE_MAX));
        Ok(())
    }

    fn too_long(&self) -> SourceError {
        self.error(Kind::Network, &format!("it has more than {} bytes", self.stream.limit))
    }

    fn error(&self, kind: Kind, why: &str) -> SourceError {
        let message = format!("cannot fetch {}", crate::source::shown(&self.stream.url));
        let at = if self.offset > 0 { format!("{why} (after byte {})", self.offset) } else { why.to_owned() };
        SourceError::new(kind, message).because(io::Error::other(at))
    }
}

/// A limit on speed, and a pause between attempts.
#[expect(clippy::disallowed_methods, reason = "nothing is waited for but time")]
fn rest(duration: Duration) {
    thread::sleep(duration);
}

/// What broke the connection, to a person.
fn broken(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(ureq::Error::Timeout(at)) => late(*at),
        Some(_) | None => error.to_string(),
    }
}

fn late(at: Timeout) -> String {
    if matches!(at, Timeout::Resolve | Timeout::Connect) {
        return format!("no connection was made in time ({at})");
    }
    "the server has sent nothing for too long".to_owned()
}

fn is_certificate(error: &io::Error) -> bool {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(tls, Some(rustls::Error::InvalidCertificate(_)))
}
