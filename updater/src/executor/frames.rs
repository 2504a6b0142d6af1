//! Frames unpacked: each checked before anything looks into it.

use super::stream::Stream;
use crate::error::{Error, Kind, Result};
use coracle_format::bundle::{Encoding, FRAME_BYTES_MAX, Frame};
use ruzstd::decoding::FrameDecoder;
use sha2::{Digest as _, Sha256};

/// Unpacks one frame after the other in the same memory.
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

    /// Reads the frame that the stream stands at; its bytes unpacked.
    pub(super) fn read(&mut self, stream: &mut Stream<'_>, number: u32, frame: &Frame) -> Result<&[u8]> {
        self.stored.resize(length(frame.stored), 0);
        stream.fill(&mut self.stored)?;
        if frame.encoding != Encoding::Zeros && Sha256::digest(&self.stored)[..] != frame.sha256 {
            return Err(spoiled(number, "does not match its signed digest"));
        }
        self.plain.clear();
        self.plain.resize(length(frame.plain), 0);
        match frame.encoding {
            Encoding::Zeros => {}
            Encoding::Raw => self.plain.copy_from_slice(&self.stored),
            Encoding::Zstd => self.decode(number)?,
        }
        if Sha256::digest(&self.plain)[..] != frame.plain_sha256 {
            return Err(spoiled(number, "does not match its signed digest when unpacked"));
        }
        Ok(&self.plain)
    }

    /// Memory for a frame that is read from elsewhere.
    pub(super) fn buffer(&mut self, frame: &Frame) -> &mut [u8] {
        self.plain.resize(length(frame.plain), 0);
        &mut self.plain
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
