//! Where everything stands in a slot, and the digests of what passes by on its way there or back.

use super::Spare;
use super::readback::{CHUNK, Device};
use crate::engine::Digests;
use crate::error::{Error, Kind, Result};
use coracle_format::bundle::{Index, Part};
use coracle_format::slot::{BLOCK_BYTES, Descriptor, Range};
use coracle_format::verity::{self, BLOCK, Block, Tree};
use sha2::{Digest as _, Sha256};
use std::thread;

/// The contents of the spare slot once the update is in it.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) descriptor: Descriptor,
    pub(super) descriptor_at: u64,
    blocks: u64,
}

impl Layout {
    /// For an index that fits (the engine has seen to that) into a slot of `partition` bytes.
    pub(super) fn of(index: &Index, partition: u64) -> Result<Self> {
        let blocks = index.root.bytes / BLOCK_BYTES;
        let tree_bytes = verity::tree_bytes(blocks);
        let (tree_at, boot_at, _) = Descriptor::plan(index.root.bytes, tree_bytes, index.boot.bytes);
        let descriptor = Descriptor {
            arch: index.arch,
            name: index.name,
            version: index.version,
            root: Range { offset: 0, bytes: index.root.bytes },
            tree: Range { offset: tree_at, bytes: tree_bytes },
            root_hash: index.root_hash,
            salt: index.salt,
            boot: Range { offset: boot_at, bytes: index.boot.bytes },
            boot_digest: index.boot.sha256,
        };
        let descriptor_at = Descriptor::offset_in(partition).unwrap_or(0);
        // By the rule of those who read it, before anything is written by it.
        Descriptor::parse(&descriptor.encode(), partition).map_err(|why| {
            Error::new(Kind::Internal, "cannot lay out the slot: it does not hold what was planned")
                .because(why)
        })?;
        Ok(Self { descriptor, descriptor_at, blocks })
    }

    /// Where a part begins.
    pub(super) fn start(&self, part: Part) -> u64 {
        match part {
            Part::Root => self.descriptor.root.offset,
            Part::Boot => self.descriptor.boot.offset,
        }
    }

    /// Where some bytes of a part are, if the part has them.
    pub(super) fn place(&self, part: Part, offset: u64, bytes: u64) -> Option<u64> {
        place(&self.descriptor, (part, offset, bytes))
    }

    /// The block in front of the tree.
    pub(super) fn superblock(&self) -> Box<Block> {
        let salt = &self.descriptor.salt;
        verity::superblock(self.blocks, salt, &verity::uuid(salt))
    }

    /// Reads a whole slot back from the device, and compares its tree with the one that follows from the data.
    pub(super) fn read_back(&self, spare: &Spare<'_>) -> Result<Digests> {
        let mut device = Device::open(spare)?;
        let mut trees = Device::open(spare)?;
        let tree_at = self.descriptor.tree.offset;
        let mut same = trees.read(tree_at, BLOCK)? == &self.superblock()[..];
        let mut compare = |offset: u64, block: &Block| -> Result<()> {
            same &= trees.read(tree_at.saturating_add(offset), BLOCK)? == &block[..];
            Ok(())
        };
        let mut hashing = Hashing::new(self);
        for part in Part::ALL {
            let (start, bytes) = match part {
                Part::Root => (self.descriptor.root.offset, self.descriptor.root.bytes),
                Part::Boot => (self.descriptor.boot.offset, self.descriptor.boot.bytes),
            };
            let mut done = 0;
            while done < bytes {
                let length = usize::try_from(bytes - done).unwrap_or(CHUNK).min(CHUNK);
                let chunk = device.read(start.saturating_add(done), length)?;
                hashing.take(part, chunk, &mut compare)?;
                done = done.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
            }
        }
        let digests = hashing.finish(&mut compare)?;
        Ok(Digests { is_tree_right: same, ..digests })
    }
}

/// Where some bytes of a part are in a slot that is described so, if the part has them.
pub(super) fn place(descriptor: &Descriptor, (part, offset, bytes): (Part, u64, u64)) -> Option<u64> {
    let range = match part {
        Part::Root => descriptor.root,
        Part::Boot => descriptor.boot,
    };
    let end = offset.checked_add(bytes)?;
    range.offset.checked_add(offset).filter(|_| end <= range.bytes)
}

/// The tree over the root and the digest of the boot artefact, in one pass.
pub(super) struct Hashing {
    tree: Tree,
    boot: Sha256,
}

impl Hashing {
    /// Of nothing yet.
    pub(super) fn new(layout: &Layout) -> Self {
        Self { tree: Tree::new(layout.blocks, &layout.descriptor.salt), boot: Sha256::new() }
    }

    /// Takes the next bytes of a part; whole blocks, but for the end of the boot artefact. Many blocks are hashed by two
    /// threads.
    pub(super) fn take(
        &mut self,
        part: Part,
        bytes: &[u8],
        emit: &mut impl FnMut(u64, &Block) -> Result<()>,
    ) -> Result<()> {
        match part {
            Part::Root => {
                let (hasher, length) = (self.tree.hasher(), bytes.len());
                let half = (length / 2).next_multiple_of(BLOCK).min(length);
                let (first, second) = bytes.split_at(half);
                let digests = beside(length, || hasher.blocks(first), || hasher.blocks(second)).concat();
                digests.into_iter().try_for_each(|digest| self.tree.push_digest(digest, emit))
            }
            Part::Boot => {
                self.boot.update(bytes);
                Ok(())
            }
        }
    }

    /// The digests of everything that was taken; its tree has gone to `emit`.
    pub(super) fn finish(self, emit: &mut impl FnMut(u64, &Block) -> Result<()>) -> Result<Digests> {
        Ok(Digests {
            root_hash: self.tree.finish(emit)?,
            is_tree_right: true,
            boot: self.boot.finalize().into(),
        })
    }
}

/// Bytes from which on a thread is worth its start.
const BESIDE_BYTES_MIN: usize = 256 << 10;

/// What both works give on so many bytes, at once if that is worth it and another thread can be had.
fn beside<T: Send>(bytes: usize, one: impl Fn() -> T + Sync, other: impl FnOnce() -> T) -> [T; 2] {
    if bytes < BESIDE_BYTES_MIN {
        return [one(), other()];
    }
    let one = &one;
    thread::scope(|scope| {
        let started = thread::Builder::new().spawn_scoped(scope, one).ok();
        let other = other();
        let done = started.and_then(|started| started.join().ok());
        [done.unwrap_or_else(one), other]
    })
}
