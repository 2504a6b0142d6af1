//! What the writer and its helper say to each other. The helper faces the network, so what it says is hostile input.
//!
//! Request: id u32, offset u64, limit u64, length u16 of the path, the path below the address. Answer: frames of id u32,
//! kind u32, length u32 and the payload; kind 0 bytes of the file, 1 its end, 2 an error as lines: class, message, hint,
//! cause. All little-endian. A frame with the id of an older request is what was under way when the newer one came.

use crate::error::Kind;
use crate::source::SourceError;
use std::io::{self, Read};

/// Most bytes of a payload.
pub const PAYLOAD_BYTES_MAX: usize = 16 << 10;
/// Says to the helper that the machine's clock is right.
pub const CLOCK_SET: &str = "set";
/// Says to the helper that the machine's clock may be wrong.
pub const CLOCK_UNSET: &str = "unset";
/// Longest path of a request.
pub const PATH_BYTES_MAX: usize = 1 << 10;
const HEADER_BYTES: usize = 12;

/// Asks for a file from an offset on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Counts the requests.
    pub id: u32,
    /// The first byte that is wanted.
    pub offset: u64,
    /// A document that has no more bytes than this, and is not waited for long; 0: a file of any length.
    pub limit: u64,
    /// The path below the address that the helper was started with, percent-encoded; empty: that address itself.
    pub path: String,
}

impl Request {
    /// The bytes; `None` if the path is too long.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let length = u16::try_from(self.path.len()).ok()?;
        if self.path.len() > PATH_BYTES_MAX {
            return None;
        }
        let mut out = self.id.to_le_bytes().to_vec();
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.limit.to_le_bytes());
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(self.path.as_bytes());
        Some(out)
    }

    /// Reads one.
    pub fn read(input: &mut impl Read) -> io::Result<Self> {
        let id = word(input)?;
        let (mut offset, mut limit, mut length) = ([0; 8], [0; 8], [0; 2]);
        input.read_exact(&mut offset)?;
        input.read_exact(&mut limit)?;
        input.read_exact(&mut length)?;
        let length = usize::from(u16::from_le_bytes(length));
        if length > PATH_BYTES_MAX {
            return Err(invalid("a path is longer than allowed"));
        }
        let mut path = vec![0; length];
        input.read_exact(&mut path)?;
        let path = String::from_utf8(path).map_err(io::Error::other)?;
        Ok(Self { id, offset: u64::from_le_bytes(offset), limit: u64::from_le_bytes(limit), path })
    }
}

/// A part of an answer, to send.
#[derive(Clone, Copy, Debug)]
pub enum Frame<'a> {
    /// Bytes of the file, at most [`PAYLOAD_BYTES_MAX`].
    Data(&'a [u8]),
    /// The file ends here.
    End,
    /// There is no more.
    Failed(&'a SourceError),
}

impl Frame<'_> {
    /// The bytes of the frame that answers request `id`.
    pub fn encode(&self, id: u32) -> Vec<u8> {
        let text;
        let (kind, payload) = match self {
            Self::Data(bytes) => (0_u32, *bytes),
            Self::End => (1, &[][..]),
            Self::Failed(error) => {
                text = lines(error);
                (2, text.as_bytes())
            }
        };
        let payload = payload.get(..PAYLOAD_BYTES_MAX).unwrap_or(payload);
        let length = u32::try_from(payload.len()).unwrap_or(0);
        let mut out = Vec::with_capacity(HEADER_BYTES + payload.len());
        for word in [id, kind, length] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(payload);
        out
    }
}

/// A part of an answer, received.
#[derive(Debug)]
pub enum Received {
    /// Bytes of the file; in the caller's buffer.
    Data(usize),
    /// The file ends here.
    End,
    /// There is no more, and why.
    Failed(SourceError),
}

/// Reads a frame; its payload into `buffer`, which has room for [`PAYLOAD_BYTES_MAX`]. Gives the id of the request it
/// answers.
pub fn receive(input: &mut impl Read, buffer: &mut [u8; PAYLOAD_BYTES_MAX]) -> io::Result<(u32, Received)> {
    let id = word(input)?;
    let kind = word(input)?;
    let length = usize::try_from(word(input)?).ok();
    let payload = length.and_then(|length| buffer.get_mut(..length));
    let payload = payload.ok_or_else(|| invalid("a frame is longer than allowed"))?;
    input.read_exact(payload)?;
    let received = match kind {
        0 => Received::Data(payload.len()),
        1 => Received::End,
        2 => Received::Failed(error_of(payload)),
        _ => return Err(invalid("a frame of unknown kind")),
    };
    Ok((id, received))
}

fn word(input: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    input.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn lines(error: &SourceError) -> String {
    let one_line = |text: &str| text.replace(['\n', '\r'], " ");
    let hint = error.hint.as_deref().unwrap_or_default();
    let cause = error.source.as_ref().map(ToString::to_string).unwrap_or_default();
    [error.kind.word(), &one_line(&error.message), &one_line(hint), &one_line(&cause)].join("\n")
}

/// Nothing that the helper says makes an error worse than a failed transfer.
fn error_of(payload: &[u8]) -> SourceError {
    let text: String =
        String::from_utf8_lossy(payload).chars().filter(|c| *c == '\n' || !c.is_control()).collect();
    let mut lines = text.split('\n');
    let kind = match lines.next() {
        Some("not-found") => Kind::NotFound,
        Some("usage") => Kind::Usage,
        Some(_) | None => Kind::Network,
    };
    let mut error = SourceError::new(kind, lines.next().unwrap_or("the transfer failed"));
    if let Some(hint) = lines.next().filter(|hint| !hint.is_empty()) {
        error = error.hint(hint);
    }
    match lines.next().filter(|cause| !cause.is_empty()) {
        Some(cause) => error.because(io::Error::other(cause.to_owned())),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn buffer() -> Box<[u8; PAYLOAD_BYTES_MAX]> {
        Box::new([0; PAYLOAD_BYTES_MAX])
    }

    #[test]
    fn requests_and_frames_survive_the_round_trip() {
        let request = Request { id: 7, offset: 1 << 40, limit: 9, path: "metadata/1.root.json".to_owned() };
        assert_eq!(Request::read(&mut &request.encode().unwrap()[..]).unwrap(), request);
        let long = Request { path: "x".repeat(PATH_BYTES_MAX + 1), ..Request::default() };
        assert_eq!(long.encode(), None);
        let mut buffer = buffer();
        let (id, received) = receive(&mut &Frame::Data(b"bytes").encode(3)[..], &mut buffer).unwrap();
        assert!(id == 3 && matches!(received, Received::Data(5)) && buffer.starts_with(b"bytes"));
        let (_, received) = receive(&mut &Frame::End.encode(3)[..], &mut buffer).unwrap();
        assert!(matches!(received, Received::End));
    }

    #[test]
    fn an_error_arrives_with_its_hint_and_cause_and_without_control_characters() {
        let error = SourceError::new(Kind::NotFound, "cannot fetch x\x1b[2J")
            .hint("look\nagain")
            .because(io::Error::other("gone"));
        let (_, received) = receive(&mut &Frame::Failed(&error).encode(1)[..], &mut buffer()).unwrap();
        let Received::Failed(told) = received else {
            panic!("an error stays an error");
        };
        assert_eq!((told.kind, told.message.as_str()), (Kind::NotFound, "cannot fetch x[2J"));
        assert_eq!(told.hint.as_deref(), Some("look again"));
        assert_eq!(told.source.unwrap().to_string(), "gone");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_frame_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok((_, Received::Data(length))) = receive(&mut bytes.as_slice(), &mut buffer()) {
                prop_assert!(length + HEADER_BYTES <= bytes.len());
            }
        }
    }
}
