//! The spare slot while frames go into it.

use super::Spare;
use super::frames::Unpacker;
use super::layout::{Hashing, Layout};
use super::leftovers::Leftovers;
use super::running::Running;
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
    /// Holds the frame that is under way.
    pub(super) unpacker: Unpacker,
    pub(super) pace: Pace,
    hashing: Hashing,
    /// Bytes that are in the slot.
    pub(super) done: u64,
    /// Of them, not synced yet.
    pub(super) unsynced: u64,
}

impl Filling {
    /// Nothing is in the slot yet.
    pub(super) fn new(layout: Layout, leftovers: Leftovers, pace: Pace) -> Self {
        let (hashing, unpacker) = (Hashing::new(&layout), Unpacker::new());
        Self { layout, leftovers, unpacker, pace, hashing, done: 0, unsynced: 0 }
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

    /// Where a frame belongs in the slot.
    pub(super) fn place(&self, frame: &Frame) -> u64 {
        self.layout.start(frame.part).saturating_add(frame.offset)
    }

    /// Whether an attempt before has left the frame in the slot. Once it has not, nothing behind it is looked for.
    pub(super) fn keep(&mut self, spare: &Spare<'_>, frame: &Frame) -> Result<bool> {
        if !self.leftovers.claims_next() {
            return Ok(false);
        }
        let at = self.place(frame);
        let buffer = self.unpacker.buffer(frame);
        spare.read(at, buffer)?;
        let is_kept = Sha256::digest(buffer)[..] == frame.plain_sha256;
        if !is_kept {
            self.leftovers.doubt();
        }
        Ok(is_kept)
    }

    /// Whether the slot that runs has the frame's bytes at the same place. One that cannot be read has not.
    pub(super) fn find(&mut self, running: &Running<'_>, frame: &Frame) -> bool {
        let buffer = self.unpacker.buffer(frame);
        running.read(frame.part, frame.offset, buffer) && Sha256::digest(buffer)[..] == frame.plain_sha256
    }

    /// Writes the frame that the unpacker holds to its place.
    pub(super) fn write(&mut self, spare: &Spare<'_>, frame: &Frame) -> Result<()> {
        self.pace.wait(self.unpacker.plain().len());
        spare.write(self.place(frame), self.unpacker.plain())
    }

    /// Takes in the frame that the unpacker holds and that is at its place.
    pub(super) fn take(&mut self, spare: &Spare<'_>, frame: &Frame) -> Result<()> {
        let tree_at = self.layout.descriptor.tree.offset;
        let mut emit = |offset: u64, block: &Block| spare.write(tree_at.saturating_add(offset), block);
        self.hashing.take(frame.part, self.unpacker.plain(), &mut emit)?;
        self.leftovers.push();
        let bytes = u64::from(frame.plain);
        self.done = self.done.saturating_add(bytes);
        self.unsynced = self.unsynced.saturating_add(bytes);
        Ok(())
    }
}
