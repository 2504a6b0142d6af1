//! HTTP downloads into the cache: bounded, resumable, and verified against a digest known beforehand.
//!
//! Each attempt's transfer runs in a thread of its own and hands over what arrives, so that an interrupt, a stall or the
//! end of the time allowed is noticed at once, whatever the connection is doing.

mod meter;
mod partial;
#[cfg(test)]
pub(crate) mod server;
#[cfg(test)]
mod tests;
mod transfer;

use crate::{
    context::{Context, Network},
    digest::Digest,
    error::{Error, Kind, Result},
    report::Step,
};
pub use meter::Meter;
use partial::Partial;
use std::{
    path::PathBuf,
    sync::{
        OnceLock,
        mpsc::{self, RecvTimeoutError},
    },
    time::{Duration, Instant},
};
use transfer::{Head, Piece, Transfer};

/// How often waiting looks for an interrupt.
const TICK: Duration = Duration::from_millis(100);

/// How long to wait for a server, and how often to ask it again.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a connection, name resolution included.
    pub connect: Duration,
    /// Without a single byte.
    pub stall: Duration,
    /// For one file, all attempts together.
    pub total: Duration,
    /// How many times a file is tried.
    pub attempts: u32,
    /// Pause before the second attempt; doubles with each.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            stall: Duration::from_secs(30),
            total: Duration::from_mins(30),
            attempts: 4,
            pause: Duration::from_secs(1),
        }
    }
}

/// A file that is wanted, of known size and digest.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// `http://` or `https://`.
    pub url: &'a str,
    /// Its exact size.
    pub bytes: u64,
    /// Its digest.
    pub sha256: Digest,
}

/// Downloads over one set of connections.
#[derive(Clone, Debug)]
pub struct Fetcher {
    agent: ureq::Agent,
    patience: Patience,
}

/// Why an attempt failed, and whether another may do better.
enum Fault {
    Final(Error),
    Passing(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

impl Fetcher {
    /// A fetcher of its own.
    pub fn new(patience: Patience) -> Self {
        Self { agent: transfer::agent(&patience), patience }
    }

    /// The process' usual one.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Fetcher> = OnceLock::new();
        SHARED.get_or_init(|| Self::new(Patience::default()))
    }

    /// The file as a cache object: there already, or fetched now. What arrived of an interrupted download is kept and
    /// continued by the next one; bytes with a wrong digest are deleted.
    pub fn object(&self, ctx: &Context, wanted: &Wanted<'_>, meter: &Meter<'_>) -> Result<PathBuf> {
        if let Some(path) = ctx.cache.object(&wanted.sha256) {
            meter.add(wanted.bytes);
            return Ok(path);
        }
        refuse_offline(ctx, wanted.url)?;
        let _lock = ctx.cache.lock(&format!("fetch-{}", wanted.sha256))?;
        if let Some(path) = ctx.cache.object(&wanted.sha256) {
            meter.add(wanted.bytes);
            return Ok(path);
        }
        let mut partial = Partial::open(&ctx.cache, wanted)?;
        meter.add(partial.bytes());
        self.retry(ctx, meter, |deadline| {
            let resumed = partial.bytes() > 0;
            if partial.bytes() < wanted.bytes {
                self.attempt(ctx, wanted, &mut partial, (meter, deadline))?;
            }
            let found = partial.digest();
            if found == wanted.sha256 {
                return Ok(());
            }
            meter.take_back(partial.bytes());
            partial.restart()?;
            let error = wrong_digest(wanted, &found);
            Err(if resumed { Fault::Passing(error) } else { Fault::Final(error) })
        })
        .inspect_err(|error| {
            if matches!(error.kind(), Kind::Digest | Kind::NotFound) {
                partial.discard();
            }
        })?;
        partial.keep(&ctx.cache, &wanted.sha256)
    }

    /// A document of unknown size and digest, at most `limit` bytes: one that carries a signature of its own.
    pub fn document(&self, ctx: &Context, url: &str, limit: u64, step: &Step) -> Result<Vec<u8>> {
        refuse_offline(ctx, url)?;
        let meter = Meter::new(step, 0);
        let mut out = Vec::new();
        self.retry(ctx, &meter, |deadline| {
            out.clear();
            let transfer = Transfer::begin(&self.agent, url, 0)?;
            let mut expected = None;
            loop {
                match self.next(ctx, &meter, &transfer, deadline)? {
                    Piece::Head(head) => {
                        head.refuse_failure(url)?;
                        expected = head.length;
                    }
                    Piece::Bytes(bytes) => {
                        if out.is_empty() {
                            refuse_web_page(url, &bytes)?;
                        }
                        out.extend_from_slice(&bytes);
                        if u64::try_from(out.len()).unwrap_or(u64::MAX) > limit {
                            return Err(too_long(url, limit).into());
                        }
                        meter.add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
                    }
                    Piece::End => break,
                    Piece::Failed(error) => return Err(error),
                }
            }
            let got = u64::try_from(out.len()).unwrap_or(u64::MAX);
            match expected {
                Some(length) if length != got => Err(Fault::Passing(cut_short(url, got, length))),
                Some(_) | None => Ok(()),
            }
        })?;
        Ok(out)
    }

    /// Runs `attempt` until it succeeds, fails for good, or the attempts are used up.
    fn retry(
        &self,
        ctx: &Context,
        meter: &Meter<'_>,
        mut attempt: impl FnMut(Instant) -> Result<(), Fault>,
    ) -> Result<()> {
        let deadline = Instant::now() + self.patience.total;
        let mut pause = self.patience.pause;
        for left in (0..self.patience.attempts.max(1)).rev() {
            match attempt(deadline) {
                Ok(()) => return Ok(()),
                Err(Fault::Final(error)) => return Err(error),
                Err(Fault::Passing(error)) if left == 0 || Instant::now() >= deadline => {
                    return Err(error);
                }
                Err(Fault::Passing(error)) => {
                    ctx.report.detail(format!("{error}; trying again"));
                    wait(ctx, meter, pause)?;
                    pause *= 2;
                }
            }
        }
        Err(Error::new(Kind::Internal, "a download was never tried"))
    }

    /// Appends to `partial` what one request yields.
    fn attempt(
        &self,
        ctx: &Context,
        wanted: &Wanted<'_>,
        partial: &mut Partial,
        (meter, deadline): (&Meter<'_>, Instant),
    ) -> Result<(), Fault> {
        let url = wanted.url;
        let transfer = Transfer::begin(&self.agent, url, partial.bytes())?;
        loop {
            match self.next(ctx, meter, &transfer, deadline)? {
                Piece::Head(head) => accept_head(wanted, &head, partial, meter)?,
                Piece::Bytes(bytes) => {
                    if partial.bytes() == 0 {
                        refuse_web_page(url, &bytes)?;
                    }
                    let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                    if partial.bytes().saturating_add(count) > wanted.bytes {
                        return Err(too_long(url, wanted.bytes).into());
                    }
                    partial.append(&bytes)?;
                    meter.add(count);
                }
                Piece::End if partial.bytes() == wanted.bytes => return Ok(()),
                Piece::End => {
                    let error = cut_short(url, partial.bytes(), wanted.bytes);
                    return Err(Fault::Passing(error));
                }
                Piece::Failed(fault) => return Err(fault),
            }
        }
    }

    fn next(
        &self,
        ctx: &Context,
        meter: &Meter<'_>,
        transfer: &Transfer,
        deadline: Instant,
    ) -> Result<Piece, Fault> {
        let begun = Instant::now();
        loop {
            meter.check(ctx)?;
            match transfer.receive(TICK) {
                Ok(piece) => return Ok(piece),
                Err(RecvTimeoutError::Disconnected) => {
                    let error = Error::new(Kind::Internal, "a download ended without a word");
                    return Err(Fault::Final(error));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            let silent = |why: &str| {
                Error::new(Kind::Network, format!("cannot fetch {}: {why}", shown(transfer.url())))
                    .hint("check the network, or choose another mirror with CORACLE_MIRROR")
            };
            if Instant::now() >= deadline {
                let seconds = self.patience.total.as_secs();
                let error = silent(&format!("not done after {seconds} s"));
                return Err(Fault::Final(error));
            }
            if begun.elapsed() >= self.patience.stall + self.patience.connect {
                return Err(Fault::Passing(silent("the server has gone silent")));
            }
        }
    }
}

/// Checks the answer's head against what was asked for, and goes back to the first byte if the server does.
fn accept_head(
    wanted: &Wanted<'_>,
    head: &Head,
    partial: &mut Partial,
    meter: &Meter<'_>,
) -> Result<(), Fault> {
    let from = partial.bytes();
    let restart = |partial: &mut Partial| -> Result<()> {
        meter.take_back(partial.bytes());
        partial.restart()
    };
    if head.status == 416 && from > 0 {
        restart(partial)?;
        let text = format!("cannot continue the download of {}", shown(wanted.url));
        return Err(Fault::Passing(Error::new(Kind::Network, text)));
    }
    head.refuse_failure(wanted.url)?;
    if head.status == 206 {
        if from > 0 && head.is_range(from, wanted.bytes) {
            return Ok(());
        }
        restart(partial)?;
        let text =
            format!("cannot continue the download of {}: the server offers another range", shown(wanted.url));
        return Err(Fault::Passing(Error::new(Kind::Network, text)));
    }
    if from > 0 {
        restart(partial)?;
    }
    match head.length {
        Some(length) if length != wanted.bytes => Err(Fault::Final(
            Error::new(
                Kind::Network,
                format!(
                    "cannot fetch {}: {} bytes are expected, the server offers {length} bytes of {}",
                    shown(wanted.url),
                    wanted.bytes,
                    head.content_type
                ),
            )
            .hint("something else answers in its place: try another mirror with CORACLE_MIRROR"),
        )),
        Some(_) | None => Ok(()),
    }
}

/// Waits, unless interrupted.
fn wait(ctx: &Context, meter: &Meter<'_>, pause: Duration) -> Result<()> {
    let (_open, nothing) = mpsc::channel::<()>();
    let end = Instant::now() + pause;
    loop {
        meter.check(ctx)?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        // The sender is held and never used: this only ever times out.
        if nothing.recv_timeout(left.min(TICK)).is_ok() {
            return Ok(());
        }
    }
}

fn refuse_offline(ctx: &Context, url: &str) -> Result<()> {
    match ctx.network {
        Network::Online => Ok(()),
        Network::Offline => {
            Err(Error::new(Kind::NotFound, format!("cannot fetch {} while offline", shown(url))).hint(
                "run once without --offline, or point the mirror at a directory made by `coracle vendor`",
            ))
        }
    }
}

/// A captive portal answers everything with its own page.
fn refuse_web_page(url: &str, first: &[u8]) -> Result<()> {
    let start: Vec<u8> = first
        .iter()
        .skip_while(|byte| byte.is_ascii_whitespace())
        .take(14)
        .map(u8::to_ascii_lowercase)
        .collect();
    if start.starts_with(b"<!doctype html") || start.starts_with(b"<html") {
        return Err(web_page(url));
    }
    Ok(())
}

fn web_page(url: &str) -> Error {
    Error::new(Kind::Network, format!("cannot fetch {}: a web page (HTML) came instead", shown(url)))
        .hint("a login page of the network or a proxy may be answering; open the address in a browser")
}

fn too_long(url: &str, limit: u64) -> Error {
    let text = format!("cannot fetch {}: more than {limit} bytes came", shown(url));
    Error::new(Kind::Network, text)
}

fn cut_short(url: &str, got: u64, expected: u64) -> Error {
    Error::new(
        Kind::Network,
        format!("cannot fetch {}: the connection ended after {got} of {expected} bytes", shown(url)),
    )
    .hint("run it again: the download continues where it ended")
}

fn wrong_digest(wanted: &Wanted<'_>, found: &Digest) -> Error {
    Error::new(
        Kind::Digest,
        format!("{} has digest {found}, but {} is expected", shown(wanted.url), wanted.sha256),
    )
    .hint("the mirror, or something on the way to it, serves other bytes: try another mirror")
}

/// The address without a user name or password in it.
pub(crate) fn shown(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = host.rsplit('@').next().unwrap_or(host);
            format!("{scheme}://{host}{path}")
        }
        None => url.to_owned(),
    }
}
