//! One HTTP request, in a thread of its own.

use super::{Fault, Patience, shown, web_page};
use crate::error::{Error, Kind, Result};
use std::{
    io::Read,
    sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    thread,
    time::Duration,
};

/// Pieces that may wait for the reader: the transfer pauses when it falls behind.
const PIECES_WAITING: usize = 16;
const PIECE_BYTES: usize = 1 << 16;
const REDIRECTS_MAX: u32 = 5;

pub(super) fn agent(patience: &Patience) -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(REDIRECTS_MAX)
        .user_agent(concat!("coracle/", env!("CARGO_PKG_VERSION")))
        .timeout_resolve(Some(patience.connect))
        .timeout_connect(Some(patience.connect))
        .timeout_recv_response(Some(patience.stall))
        .timeout_per_read(Some(patience.stall))
        .timeout_per_write(Some(patience.stall))
        .timeout_global(Some(patience.total))
        .build()
        .new_agent()
}

/// What a transfer hands over: a head, then bytes, then an end; or a failure at any time.
pub(super) enum Piece {
    Head(Head),
    Bytes(Vec<u8>),
    End,
    Failed(Fault),
}

/// The part of an answer's head that matters.
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) content_type: String,
    pub(super) length: Option<u64>,
    range: String,
}

impl Head {
    /// An error unless this is a successful answer that is not a web page.
    pub(super) fn refuse_failure(&self, url: &str) -> Result<(), Fault> {
        let error = |kind| {
            let text = format!("cannot fetch {}: the server answers with status {}", shown(url), self.status);
            Error::new(kind, text)
        };
        match self.status {
            200 | 206 if self.content_type.starts_with("text/html") => Err(Fault::Final(web_page(url))),
            200 | 206 => Ok(()),
            404 | 410 => Err(Fault::Final(error(Kind::NotFound))),
            408 | 429 | 500..=599 => Err(Fault::Passing(error(Kind::Network))),
            _ => Err(Fault::Final(error(Kind::Network))),
        }
    }

    /// Whether the answer is the part of a file of `total` bytes that begins at `from`.
    pub(super) fn is_range(&self, from: u64, total: u64) -> bool {
        let Some(last) = total.checked_sub(1) else {
            return false;
        };
        self.range == format!("bytes {from}-{last}/{total}")
    }
}

/// A request under way. Its thread ends by itself once this is dropped.
pub(super) struct Transfer {
    pieces: Receiver<Piece>,
    url: String,
}

impl Transfer {
    /// Asks for `url` from byte `from` on.
    pub(super) fn begin(agent: &ureq::Agent, url: &str, from: u64) -> Result<Self> {
        let (sender, pieces) = mpsc::sync_channel(PIECES_WAITING);
        let (agent, url) = (agent.clone(), url.to_owned());
        let thread_url = url.clone();
        thread::Builder::new()
            .name("download".to_owned())
            .spawn(move || {
                let last = match run(&agent, &thread_url, from, &sender) {
                    Ok(()) => Piece::End,
                    Err(fault) => Piece::Failed(fault),
                };
                // A send fails only when nobody wants the file any longer.
                drop(sender.send(last));
            })
            .map_err(|source| Error::new(Kind::Io, "cannot start a download thread").because(source))?;
        Ok(Self { pieces, url })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn receive(&self, timeout: Duration) -> Result<Piece, RecvTimeoutError> {
        self.pieces.recv_timeout(timeout)
    }
}

fn run(agent: &ureq::Agent, url: &str, from: u64, out: &SyncSender<Piece>) -> Result<(), Fault> {
    let mut request = agent.get(url);
    if from > 0 {
        request = request.header("Range", format!("bytes={from}-"));
    }
    let mut response = request.call().map_err(|source| failed(url, source))?;
    let header = |name: &str| {
        let value = response.headers().get(name)?;
        value.to_str().ok().map(str::to_ascii_lowercase)
    };
    let head = Head {
        status: response.status().as_u16(),
        content_type: header("content-type").unwrap_or_else(|| "unknown type".to_owned()),
        length: header("content-length").and_then(|text| text.trim().parse().ok()),
        range: header("content-range").unwrap_or_default(),
    };
    if out.send(Piece::Head(head)).is_err() {
        return Ok(());
    }
    let mut body = response.body_mut().as_reader();
    loop {
        let mut piece = vec![0; PIECE_BYTES];
        match body.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                piece.truncate(count);
                if out.send(Piece::Bytes(piece)).is_err() {
                    return Ok(());
                }
            }
            Err(source) if source.kind() == std::io::ErrorKind::Interrupted => {}
            Err(source) => return Err(failed(url, ureq::Error::from(source))),
        }
    }
}

/// Network trouble may pass; a bad address does not.
fn failed(url: &str, source: ureq::Error) -> Fault {
    let passing = matches!(
        source,
        ureq::Error::Io(_)
            | ureq::Error::Timeout(_)
            | ureq::Error::ConnectionFailed
            | ureq::Error::Protocol(_)
    );
    let error = Error::new(Kind::Network, format!("cannot fetch {}", shown(url)))
        .hint("check the network, or choose another mirror with CORACLE_MIRROR")
        .because(source);
    if passing { Fault::Passing(error) } else { Fault::Final(error) }
}
