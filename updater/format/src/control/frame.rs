//! Frames on a stream: magic, length, checksum, so that a reader finds the next one whatever stands before it.

use super::message::Frame;
use crate::checksum::CRC;
use alloc::vec::Vec;

/// What a frame begins with. Not text, and not UTF-8: no log line holds it.
const MAGIC: [u8; 4] = [0xC0, b'r', b'c', 0xFE];
/// Bytes before the payload: magic, kind, zero, length, checksum.
pub const HEADER_BYTES: usize = 4 + 1 + 1 + 2 + 4;
/// Most bytes of a payload.
pub const PAYLOAD_BYTES_MAX: usize = 16 << 10;
/// Most bytes of a frame.
pub const FRAME_BYTES_MAX: usize = HEADER_BYTES + PAYLOAD_BYTES_MAX;
/// Bytes a reader holds: a frame, and what came behind it in one go.
const BUFFER_BYTES_MAX: usize = 2 * FRAME_BYTES_MAX;

/// The bytes of a frame. What is longer than a payload may be is cut: senders split before.
pub fn encode(frame: &Frame) -> Vec<u8> {
    let (kind, mut payload) = frame.to_payload();
    payload.truncate(PAYLOAD_BYTES_MAX);
    let length = u16::try_from(payload.len()).unwrap_or(0);
    let mut out = Vec::with_capacity(HEADER_BYTES + payload.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[kind, 0]);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&checksum(kind, length, &payload).to_le_bytes());
    out.extend_from_slice(&payload);
    out
}

fn checksum(kind: u8, length: u16, payload: &[u8]) -> u32 {
    let mut digest = CRC.digest();
    digest.update(&[kind, 0]);
    digest.update(&length.to_le_bytes());
    digest.update(payload);
    digest.finalize()
}

/// Takes bytes as they come and gives frames. Never holds more than two frames' worth.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: Vec<u8>,
    /// Bytes of the buffer that have been dealt with.
    start: usize,
}

impl Reader {
    /// A reader that has seen nothing.
    pub const fn new() -> Self {
        Self { buffer: Vec::new(), start: 0 }
    }

    /// How many bytes [`Reader::push`] takes now. It is never 0 after [`Reader::take`] gave `None`.
    pub fn room(&self) -> usize {
        BUFFER_BYTES_MAX - (self.buffer.len() - self.start)
    }

    /// Takes bytes from the stream, and tells how many: the rest must be offered again after [`Reader::take`].
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        self.buffer.drain(..self.start);
        self.start = 0;
        let taken = bytes.len().min(BUFFER_BYTES_MAX - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        taken
    }

    /// The next whole frame. What is not part of one is passed over.
    pub fn take(&mut self) -> Option<Frame> {
        loop {
            self.seek();
            match split(&self.buffer[self.start..]) {
                Split::Incomplete => return None,
                Split::No => self.start += 1,
                Split::Frame(kind, payload) => {
                    let frame = Frame::from_payload(kind, payload);
                    // A frame of a kind or form we do not know is passed over as a whole: its sum is right.
                    self.start += HEADER_BYTES + payload.len();
                    if frame.is_some() {
                        return frame;
                    }
                }
            }
        }
    }

    /// Whether the beginning of a frame waits for its rest.
    pub fn is_waiting(&self) -> bool {
        self.start < self.buffer.len()
    }

    /// The beginning that waits is given up, and whatever else waits behind it and is not a whole frame: call this when
    /// the rest has not come for [`STALE_SECONDS`](super::STALE_SECONDS).
    pub fn give_up(&mut self) {
        while self.is_waiting() {
            self.start += 1;
            self.seek();
            if matches!(split(&self.buffer[self.start..]), Split::Frame(..)) {
                return;
            }
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.start = 0;
    }

    /// Moves to the first byte at which a frame can begin.
    fn seek(&mut self) {
        let rest = &self.buffer[self.start..];
        let possible = (0..rest.len()).find(|at| {
            let candidate = &rest[*at..];
            let length = candidate.len().min(MAGIC.len());
            candidate[..length] == MAGIC[..length]
        });
        self.start += possible.unwrap_or(rest.len());
    }
}

enum Split<'a> {
    /// More bytes are needed to tell.
    Incomplete,
    /// No frame begins here.
    No,
    Frame(u8, &'a [u8]),
}

fn split(bytes: &[u8]) -> Split<'_> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Split::Incomplete;
    };
    let [m0, m1, m2, m3, kind, zero, l0, l1, c0, c1, c2, c3] = *header;
    let length = u16::from_le_bytes([l0, l1]);
    if [m0, m1, m2, m3] != MAGIC || zero != 0 || usize::from(length) > PAYLOAD_BYTES_MAX {
        return Split::No;
    }
    let Some(payload) = rest.get(..usize::from(length)) else {
        return Split::Incomplete;
    };
    if checksum(kind, length, payload) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Split::No;
    }
    Split::Frame(kind, payload)
}
