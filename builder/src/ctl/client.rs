//! An operator's sessions with one machine.

use super::{
    Address, OperatorKey,
    payload::{Payload, Sending},
    stream::Stream,
};
use crate::{
    context,
    error::{Error, Kind, Result},
};
use coracle_format::control::{
    Challenge, Frame, Hello, IDLE_SECONDS, NONCE_BYTES, Output, Refusal, Request, Signed,
};
use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// How long [`Client::connect`] waits for a machine to answer.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(20);
/// How often the hello is repeated: a machine that has just started may have missed it.
const HELLO_AGAIN: Duration = Duration::from_secs(1);
/// A machine at work says so more often than this.
const SILENCE: Duration = Duration::from_secs(30);
/// How often Ctrl-C is looked for.
const GLANCE: Duration = Duration::from_millis(200);
/// How long a client that ends waits until its last words are on their way.
const PARTING: Duration = Duration::from_secs(2);
/// Most output that [`Client::request`] keeps.
const REPLY_BYTES_MAX: usize = 64 << 20;

/// What a machine tells while it works.
#[derive(Debug)]
pub enum Heard<'a> {
    /// Output.
    Output(Output, &'a [u8]),
    /// So many bytes of the payload have been passed on.
    Passed(u64),
}

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The exit code: 0 done, 1 failed, 2 not possible here, 3 refused.
    pub code: u8,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// A connection to a machine.
#[derive(Debug)]
pub struct Client {
    address: Address,
    key: OperatorKey,
    stream: Stream,
    challenge: Challenge,
    sequence: u64,
    /// When the machine was heard last.
    heard: Instant,
    cancel: Option<Arc<AtomicBool>>,
}

impl Client {
    /// Connects and begins a session, within [`CONNECT_WITHIN`].
    pub fn connect(address: &Address, key: &OperatorKey) -> Result<Self> {
        Self::connect_within(address, key, CONNECT_WITHIN, None)
    }

    /// Connects and begins a session; a machine that still starts is waited for. `cancel` ends this and every request.
    pub fn connect_within(
        address: &Address,
        key: &OperatorKey,
        within: Duration,
        cancel: Option<Arc<AtomicBool>>,
    ) -> Result<Self> {
        let fd = address.open()?;
        let mut stream = Stream::new(fd).map_err(|source| lost(address, source))?;
        let challenge = shake(&mut stream, address, within, cancel.as_deref())?;
        Ok(Self {
            address: address.clone(),
            key: key.clone(),
            stream,
            challenge,
            sequence: 0,
            heard: Instant::now(),
            cancel,
        })
    }

    /// Who the machine says it is.
    pub const fn machine(&self) -> &Challenge {
        &self.challenge
    }

    /// Makes a request without a payload and collects the whole answer, within `within`.
    pub fn request(&mut self, request: &Request, within: Duration) -> Result<Reply> {
        self.request_with(request, None, within)
    }

    /// Makes a request with its payload and collects the whole answer, within `within`.
    pub fn request_with(
        &mut self,
        request: &Request,
        payload: Payload<'_>,
        within: Duration,
    ) -> Result<Reply> {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = self.run(request, payload, Some(within), &mut |heard| {
            if let Heard::Output(output, bytes) = heard {
                let end = if output == Output::Standard { &mut out } else { &mut err };
                if end.len() + bytes.len() > REPLY_BYTES_MAX {
                    return Err(Error::new(Kind::TooLarge, "the machine's answer has no end"));
                }
                end.extend_from_slice(bytes);
            }
            Ok(())
        })?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Reply { code, out: text(out), err: text(err) })
    }

    /// Makes a request, hands on what the machine tells as it comes, and gives the exit code. Without `within` it may
    /// last for ever, but not in silence.
    pub fn run(
        &mut self,
        request: &Request,
        payload: Payload<'_>,
        within: Option<Duration>,
        tell: &mut dyn FnMut(Heard<'_>) -> Result<()>,
    ) -> Result<u8> {
        let deadline = within.map(|within| Instant::now() + within);
        self.begin(request)?;
        let mut fresh = true;
        let mut sending = Sending::new(payload, request.stream_bytes().unwrap_or(0));
        loop {
            if self.stream.is_flushed()
                && let Some(piece) = sending.next()?
            {
                self.stream.send(&Frame::Data(piece));
            }
            self.check(deadline)?;
            let frame = self.stream.turn(GLANCE).map_err(|source| lost(&self.address, source))?;
            if frame.is_some() {
                self.heard = Instant::now();
            }
            match frame {
                Some(Frame::Done(code)) => return Ok(code),
                Some(Frame::Output(output, bytes)) => {
                    sending.settle();
                    tell(Heard::Output(output, &bytes))?;
                }
                Some(Frame::Alive(passed)) => {
                    sending.settle();
                    tell(Heard::Passed(passed))?;
                }
                // The machine forgot the session, or has been restarted since, and has passed over what followed.
                Some(Frame::Refused(Refusal::Session, _)) if fresh && sending.rewind() => {
                    fresh = false;
                    self.renew()?;
                    self.begin(request)?;
                }
                Some(Frame::Refused(refusal, text)) => return Err(self.refused(refusal, &text)),
                Some(
                    Frame::Challenge(_) | Frame::Hello(_) | Frame::Signed(_) | Frame::Data(_) | Frame::Bye,
                )
                | None => {}
            }
        }
    }

    /// Signs and sends the request, in a new session if the last one may be over.
    fn begin(&mut self, request: &Request) -> Result<()> {
        if self.heard.elapsed() >= Duration::from_secs(IDLE_SECONDS / 2) {
            // It may have been restarted, or have ended the session.
            self.renew()?;
        }
        self.sequence += 1;
        let key = &self.key;
        let signed =
            Signed::new(&self.challenge, self.sequence, request, key.public(), |bytes| key.sign(bytes));
        self.stream.send(&Frame::Signed(signed));
        self.heard = Instant::now();
        Ok(())
    }

    fn renew(&mut self) -> Result<()> {
        self.challenge = shake(&mut self.stream, &self.address, CONNECT_WITHIN, self.cancel.as_deref())?;
        self.sequence = 0;
        Ok(())
    }

    fn check(&self, deadline: Option<Instant>) -> Result<()> {
        check_cancel(self.cancel.as_deref())?;
        if self.heard.elapsed() >= SILENCE {
            return Err(silent(&self.address, SILENCE));
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            let message = format!("the machine at {} took too long", self.address);
            return Err(Error::new(Kind::Machine, message));
        }
        Ok(())
    }

    fn refused(&self, refusal: Refusal, text: &str) -> Error {
        let message = format!("the machine at {} refused: {}", self.address, plain(text));
        let error = Error::new(Kind::Signature, message);
        match refusal {
            Refusal::Key => error.hint(format!(
                "its manifest must list this key: [control] keys = [\"{}\"]",
                super::public_line(&self.key.public())
            )),
            Refusal::Request => error.hint("is the machine's image older than this coracle?"),
            Refusal::Signature | Refusal::Sequence | Refusal::Session => error,
        }
    }
}

impl Drop for Client {
    /// Ends the session. A machine that does not hear it ends it by itself.
    fn drop(&mut self) {
        // A frame that was begun is ended, so that the next client does not have to wait until it is given up.
        self.stream.send(&Frame::Bye);
        let until = Instant::now() + PARTING;
        while !self.stream.is_flushed() && Instant::now() < until {
            if self.stream.turn(GLANCE).is_err() {
                return;
            }
        }
    }
}

/// Says hello until the machine answers.
fn shake(
    stream: &mut Stream,
    address: &Address,
    within: Duration,
    cancel: Option<&AtomicBool>,
) -> Result<Challenge> {
    let mut nonce = [0; NONCE_BYTES];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut nonce)).map_err(|source| {
        Error::new(Kind::Io, format!("cannot read {}", Path::new("/dev/urandom").display())).because(source)
    })?;
    let begun = Instant::now();
    let mut said: Option<Instant> = None;
    while begun.elapsed() < within {
        check_cancel(cancel)?;
        // A hello that waits to be sent is enough.
        if stream.is_flushed() && said.is_none_or(|said| said.elapsed() >= HELLO_AGAIN) {
            stream.send(&Frame::Hello(Hello { nonce }));
            said = Some(Instant::now());
        }
        match stream.turn(GLANCE).map_err(|source| lost(address, source))? {
            Some(Frame::Challenge(challenge)) if challenge.nonce == nonce => return Ok(challenge),
            // What an earlier client was told.
            Some(_) | None => {}
        }
    }
    Err(silent(address, within))
}

fn check_cancel(cancel: Option<&AtomicBool>) -> Result<()> {
    match cancel {
        Some(cancel) if cancel.load(Ordering::Relaxed) => Err(context::interrupted()),
        Some(_) | None => Ok(()),
    }
}

fn silent(address: &Address, time: Duration) -> Error {
    let message = format!("the machine at {address} does not answer within {} s", time.as_secs());
    Error::new(Kind::Machine, message)
        .hint("is it up, does its manifest have [control], and is nobody else connected?")
}

fn lost(address: &Address, source: io::Error) -> Error {
    Error::new(Kind::Machine, format!("the connection to {address} was lost")).because(source)
}

/// A machine's words on one line.
fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}
