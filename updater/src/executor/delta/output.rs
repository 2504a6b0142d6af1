//! What an operation makes: each frame is compared with its signed digest, and only one that is right is written.

use crate::error::Error;
use crate::executor::Spare;
use crate::pace::Pace;
use coracle_format::bundle::{FRAME_BYTES_MAX, Frame};
use sha2::{Digest as _, Sha256};
use std::io;

/// Takes the bytes of a run of frames in order.
pub(super) struct Output<'a> {
    spare: &'a Spare<'a>,
    pace: &'a mut Pace,
    frames: &'a [Frame],
    /// Where their part begins in the slot.
    start: u64,
    /// Frames before this one are in the slot already, and are left as they are.
    from: usize,
    /// The frame under way.
    buffer: Vec<u8>,
    /// Which frames are right.
    right: Vec<bool>,
    /// Why the slot could not be written: the end of the update, not of the operation.
    fatal: Option<Error>,
}

impl<'a> Output<'a> {
    /// Nothing is made yet.
    pub(super) fn new(
        (spare, pace): (&'a Spare<'a>, &'a mut Pace),
        frames: &'a [Frame],
        start: u64,
        from: usize,
    ) -> Self {
        Self { spare, pace, frames, start, from, buffer: Vec::new(), right: Vec::new(), fatal: None }
    }

    /// Takes the next bytes.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let Some(frame) = self.frames.get(self.right.len()).copied() else {
                return Err(io::Error::other("it makes more bytes than its frames have"));
            };
            let whole = usize::try_from(frame.plain.min(FRAME_BYTES_MAX)).unwrap_or(0);
            let (now, later) = bytes.split_at(bytes.len().min(whole.saturating_sub(self.buffer.len())));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == whole {
                self.finish_frame(&frame)?;
            }
        }
        Ok(())
    }

    fn finish_frame(&mut self, frame: &Frame) -> io::Result<()> {
        let is_right = Sha256::digest(&self.buffer)[..] == frame.plain_sha256;
        if is_right && self.right.len() >= self.from {
            self.pace.wait(self.buffer.len());
            let at = self.start.saturating_add(frame.offset);
            if let Err(error) = self.spare.write(at, &self.buffer) {
                self.fatal = Some(error);
                return Err(io::Error::other("the slot cannot be written"));
            }
        }
        self.right.push(is_right);
        self.buffer.clear();
        Ok(())
    }

    /// Which frames are right, in their order; those behind its end are not. `Err`: the slot could not be written.
    pub(super) fn finish(self) -> Result<Vec<bool>, Error> {
        match self.fatal {
            Some(error) => Err(error),
            None => Ok(self.right),
        }
    }
}
