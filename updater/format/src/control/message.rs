//! What the frames carry.

use super::request::{Cursor, Request};
use super::{KEY_BYTES, SIGNATURE_BYTES};
use alloc::{borrow::ToOwned as _, string::String, vec::Vec};

/// Bytes of the client's nonce.
pub const NONCE_BYTES: usize = 16;
/// Bytes of a challenge's random part.
const RANDOM_BYTES: usize = 32;
/// Bytes of a machine id.
const MACHINE_BYTES: usize = 16;
/// Most bytes of a request.
pub const REQUEST_BYTES_MAX: usize = 4096;
/// Version of the protocol. Another one is not answered.
const VERSION: u16 = 0;
/// What is signed begins with this: a signature made for anything else is none of ours.
const LABEL: &[u8; 32] = b"coracle control request, v0\0\0\0\0\0";

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Client: a session begins; whatever was before is over.
    Hello(Hello),
    /// Service: what requests of this session must be signed over.
    Challenge(Challenge),
    /// Client: a request.
    Signed(Signed),
    /// Client: the next bytes of the stream that the request announced.
    Data(Vec<u8>),
    /// Client: the session is over.
    Bye,
    /// Service: output of the request.
    Output(Output, Vec<u8>),
    /// Service: still at work; also says how many bytes of the stream have been passed on.
    Alive(u64),
    /// Service: the request has ended with this exit code.
    Done(u8),
    /// Service: the request was not begun. The session is over.
    Refused(Refusal, String),
}

/// Which output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Data.
    Standard,
    /// Everything else.
    Error,
}

/// Why a request was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The key is none of the operators'.
    Key,
    /// The signature does not match.
    Signature,
    /// The number is not the next one.
    Sequence,
    /// Not a request of this version.
    Request,
    /// There is no session: it was idle for too long, or never began.
    Session,
}

/// The first frame of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Random; the challenge repeats it, so that the client tells it from one meant for somebody before.
    pub nonce: [u8; NONCE_BYTES],
}

/// The answer to a hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The client's nonce.
    pub nonce: [u8; NONCE_BYTES],
    /// Random, new in every session.
    pub random: [u8; RANDOM_BYTES],
    /// The machine id; zeros if it has none yet.
    pub machine: [u8; MACHINE_BYTES],
    /// `[image] name` of the running image.
    pub image: String,
    /// `[image] version` of the running image.
    pub version: String,
}

/// A signed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The operator's public key.
    pub key: [u8; KEY_BYTES],
    /// 1 for the first request of a session, then one more each time.
    pub sequence: u64,
    /// Over [`signed_bytes`].
    pub signature: [u8; SIGNATURE_BYTES],
    /// The request ([`Request::encode`]); to be parsed only after the signature was checked.
    pub request: Vec<u8>,
}

/// What a request's signature is over: label, challenge as a whole, number, request.
pub fn signed_bytes(challenge: &Challenge, sequence: u64, request: &[u8]) -> Vec<u8> {
    let challenge = challenge.to_payload();
    let length = u32::try_from(challenge.len()).unwrap_or(u32::MAX);
    [LABEL, &length.to_le_bytes()[..], &challenge, &sequence.to_le_bytes(), request].concat()
}

impl Hello {
    fn to_payload(self) -> Vec<u8> {
        [&VERSION.to_le_bytes()[..], &self.nonce].concat()
    }

    fn from_payload(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor(bytes);
        let known = u16::from_le_bytes(cursor.array()?) == VERSION;
        let hello = Self { nonce: cursor.array()? };
        (known && cursor.is_at_end()).then_some(hello)
    }
}

impl Challenge {
    fn to_payload(&self) -> Vec<u8> {
        let mut out = [&VERSION.to_le_bytes()[..], &self.nonce, &self.random, &self.machine].concat();
        super::request::put_text(&mut out, &self.image);
        super::request::put_text(&mut out, &self.version);
        out
    }

    fn from_payload(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor(bytes);
        let known = u16::from_le_bytes(cursor.array()?) == VERSION;
        let challenge = Self {
            nonce: cursor.array()?,
            random: cursor.array()?,
            machine: cursor.array()?,
            image: cursor.text(super::TEXT_BYTES_MAX)?,
            version: cursor.text(super::TEXT_BYTES_MAX)?,
        };
        (known && cursor.is_at_end()).then_some(challenge)
    }
}

impl Signed {
    /// The request put under a signature, which `sign` makes.
    pub fn new(
        challenge: &Challenge,
        sequence: u64,
        request: &Request,
        key: [u8; KEY_BYTES],
        sign: impl FnOnce(&[u8]) -> [u8; SIGNATURE_BYTES],
    ) -> Self {
        let request = request.encode();
        let signature = sign(&signed_bytes(challenge, sequence, &request));
        Self { key, sequence, signature, request }
    }

    fn to_payload(&self) -> Vec<u8> {
        [&self.key[..], &self.sequence.to_le_bytes(), &self.signature, &self.request].concat()
    }

    fn from_payload(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor(bytes);
        let key = cursor.array()?;
        let sequence = u64::from_le_bytes(cursor.array()?);
        let signature = cursor.array()?;
        let request = cursor.0;
        let fits = !request.is_empty() && request.len() <= REQUEST_BYTES_MAX;
        fits.then(|| Self { key, sequence, signature, request: request.to_owned() })
    }
}

impl Refusal {
    const ALL: [(Self, u8); 5] =
        [(Self::Key, 1), (Self::Signature, 2), (Self::Sequence, 3), (Self::Request, 4), (Self::Session, 5)];
}

impl Frame {
    /// Kind and payload.
    pub(super) fn to_payload(&self) -> (u8, Vec<u8>) {
        match self {
            Self::Hello(hello) => (1, hello.to_payload()),
            Self::Challenge(challenge) => (2, challenge.to_payload()),
            Self::Signed(signed) => (3, signed.to_payload()),
            Self::Data(bytes) => (4, bytes.clone()),
            Self::Bye => (5, Vec::new()),
            Self::Output(Output::Standard, bytes) => (16, bytes.clone()),
            Self::Output(Output::Error, bytes) => (17, bytes.clone()),
            Self::Alive(passed) => (18, passed.to_le_bytes().into()),
            Self::Done(code) => (19, [*code].into()),
            Self::Refused(refusal, text) => {
                let number =
                    Refusal::ALL.iter().find(|(known, _)| known == refusal).map_or(0, |known| known.1);
                (20, [&[number], text.as_bytes()].concat())
            }
        }
    }

    /// The frame with this payload; `None` if there is no such kind, or the payload is not one of it.
    pub(super) fn from_payload(kind: u8, bytes: &[u8]) -> Option<Self> {
        match kind {
            1 => Hello::from_payload(bytes).map(Self::Hello),
            2 => Challenge::from_payload(bytes).map(Self::Challenge),
            3 => Signed::from_payload(bytes).map(Self::Signed),
            4 => Some(Self::Data(bytes.to_owned())),
            5 => bytes.is_empty().then_some(Self::Bye),
            16 => Some(Self::Output(Output::Standard, bytes.to_owned())),
            17 => Some(Self::Output(Output::Error, bytes.to_owned())),
            18 => Some(Self::Alive(u64::from_le_bytes(bytes.try_into().ok()?))),
            19 => <[u8; 1]>::try_from(bytes).ok().map(|[code]| Self::Done(code)),
            20 => {
                let (number, text) = bytes.split_first()?;
                let (refusal, _) = Refusal::ALL.into_iter().find(|known| known.1 == *number)?;
                Some(Self::Refused(refusal, core::str::from_utf8(text).ok()?.to_owned()))
            }
            _ => None,
        }
    }
}
