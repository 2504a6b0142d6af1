//! Frames unpacked: each checked before anything looks into it.

use super::stream::Stream;
use crate::error::{Error, Kind, Result};
use coracle_format::bundle::{Encoding, FRAME_BYTES_MAX, Frame};
use ruzstd::decoding::FrameDecoder;
use sha2::{Digest as _, Sha256};

/// Unpacks one frame after the other in the same memory, and holds the one that it has unpacked last.
pub(super) struct Unpacker {
    stored: Vec<u8>,
    plain: Vec<u8>,
    decoder: FrameDecoder,
}

impl Unpacker {
    pub(super) fn new() -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(u64::from(FRAME_BYTES_MAX));
        Self { stored: Vec::new(), plain: Vec::new(), decoder }
    }

    /// The bytes of the last frame.
    pub(super) fn plain(&self) -> &[u8] {
        &self.plain
    }

    /// Reads the frame that the stream stands at, and unpacks it.
    pub(super) fn read(&mut self, stream: &mut Stream<'_>, number: u32, frame: &Frame) -> Result<()> {
        self.stored.resize(length(frame.stored), 0);
        stream.fill(&mut self.stored)?;
        if Sha256::digest(&self.stored)[..] != frame.sha256 {
            return Err(spoiled(number, "does not match its signed digest"));
        }
        self.plain.clear();
        self.plain.resize(length(frame.plain), 0);
        match frame.encoding {
            // Stored as nothing: whoever asks for one has what it is already.
            Encoding::Zeros => {}
            // Its digest is the same.
            Encoding::Raw => {
                self.plain.copy_from_slice(&self.stored);
                return Ok(());
            }
            Encoding::Zstd => self.decode(number)?,
        }
        self.check(number, frame)
    }

    /// Makes a frame of zeros.
    pub(super) fn zeros(&mut self, number: u32, frame: &Frame) -> Result<()> {
        self.plain.clear();
        self.plain.resize(length(frame.plain), 0);
        self.check(number, frame)
    }

    /// Memory for a frame that is read from elsewhere.
    pub(super) fn buffer(&mut self, frame: &Frame) -> &mut [u8] {
        self.plain.resize(length(frame.plain), 0);
        &mut self.plain
    }

    fn check(&self, number: u32, frame: &Frame) -> Result<()> {
        if Sha256::digest(&self.plain)[..] == frame.plain_sha256 {
            Ok(())
        } else {
            Err(spoiled(number, "does not match its signed digest when unpacked"))
        }
    }

    fn decode(&mut self, number: u32) -> Result<()> {
        match self.decoder.decode_all(&self.stored, &mut self.plain) {
            Ok(length) if length == self.plain.len() => Ok(()),
            Ok(_) => Err(spoiled(number, "is shorter than its index says")),
            Err(error) => {
                Err(spoiled(number, "cannot be unpacked").because(std::io::Error::other(error.to_string())))
            }
        }
    }
}

fn length(bytes: u32) -> usize {
    usize::try_from(bytes.min(FRAME_BYTES_MAX)).unwrap_or(0)
}

fn spoiled(number: u32, why: &str) -> Error {
    Error::new(Kind::Digest, format!("cannot apply the update: frame {number} {why}"))
        .hint("it was damaged on its way: copy or download it again; nothing of it will be started")
}
