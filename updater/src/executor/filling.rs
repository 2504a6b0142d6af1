//! The spare slot while frames go into it.

use super::Spare;
use super::frames::Unpacker;
use super::layout::{Hashing, Layout};
use super::leftovers::Leftovers;
use super::stream::Stream;
use crate::engine::Digests;
use crate::error::Result;
use crate::pace::Pace;
use coracle_format::bundle::Frame;
use coracle_format::verity::Block;
use sha2::{Digest as _, Sha256};

/// The slot under way.
pub(super) struct Filling {
    pub(super) layout: Layout,
    pub(super) leftovers: Leftovers,
    hashing: Hashing,
    unpacker: Unpacker,
    pace: Pace,
    /// Where the next frame stands in the source.
    pub(super) next_at: u64,
    /// Bytes that are in the slot.
    pub(super) done: u64,
    /// Of them, not synced yet.
    pub(super) unsynced: u64,
}

impl Filling {
    /// Nothing is in the slot yet; the first frame stands at `next_at` in the source.
    pub(super) fn new(layout: Layout, leftovers: Leftovers, pace: Pace, next_at: u64) -> Self {
        let (hashing, unpacker) = (Hashing::new(&layout), Unpacker::new());
        Self { layout, leftovers, hashing, unpacker, pace, next_at, done: 0, unsynced: 0 }
    }

    /// Writes what is missing of the tree; the digests of everything that passed by. Not synced.
    pub(super) fn finish(&mut self, spare: &Spare<'_>) -> Result<Digests> {
        let tree_at = self.layout.descriptor.tree.offset;
        let hashing = std::mem::replace(&mut self.hashing, Hashing::new(&self.layout));
        let digests =
            hashing.finish(&mut |offset, block| spare.write(tree_at.saturating_add(offset), block))?;
        spare.write(tree_at, &self.layout.superblock()[..])?;
        Ok(digests)
    }

    /// Whether the frame is in the slot already, by what an attempt before has said and by what is there. Once a frame is
    /// not, nothing behind it is looked for.
    pub(super) fn keep(&mut self, spare: &Spare<'_>, frame: &Frame, at: u64) -> Result<bool> {
        let Some(claimed) = self.leftovers.next() else {
            return Ok(false);
        };
        let buffer = self.unpacker.buffer(frame);
        spare.read(at, buffer)?;
        let kept = Sha256::digest(buffer)[..] == claimed;
        if !kept {
            self.leftovers.doubt();
        }
        Ok(kept)
    }

    /// Takes a frame: from the stream into the slot, or (without a stream) as it was just read from the slot.
    pub(super) fn take(
        &mut self,
        spare: &Spare<'_>,
        (number, frame, at): (u32, &Frame, u64),
        stream: Option<&mut Stream<'_>>,
    ) -> Result<()> {
        let from_source = stream.is_some();
        let plain: &[u8] = match stream {
            Some(stream) => self.unpacker.read(stream, number, frame)?,
            None => self.unpacker.buffer(frame),
        };
        if from_source {
            self.pace.wait(plain.len());
            spare.write(at, plain)?;
        }
        let tree_at = self.layout.descriptor.tree.offset;
        let mut emit = |offset: u64, block: &Block| spare.write(tree_at.saturating_add(offset), block);
        self.hashing.take(frame.part, plain, &mut emit)?;
        self.leftovers.push(Sha256::digest(plain).into());
        let bytes = u64::from(frame.plain);
        self.next_at = self.next_at.saturating_add(u64::from(frame.stored));
        self.done = self.done.saturating_add(bytes);
        self.unsynced = self.unsynced.saturating_add(bytes);
        Ok(())
    }
}
