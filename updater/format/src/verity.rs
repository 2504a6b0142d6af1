//! dm-verity hash trees, format 1, byte for byte what `veritysetup format` writes: SHA-256, blocks of 4096 bytes, a salt
//! of 32 bytes. See `docs/formats/slot.md`.
//!
//! The builder and the device make the tree with this code. It is made in one pass over the data, in memory that does
//! not grow with it: one block per level.

use crate::slot::BLOCK_BYTES;
use alloc::{boxed::Box, vec::Vec};
use sha2::{Digest, Sha256};

/// Bytes of a block of data or of the tree.
pub const BLOCK: usize = 4096;
/// Bytes of a digest.
pub const HASH: usize = 32;
/// Digests in one block of the tree.
pub const FAN_OUT: usize = BLOCK / HASH;

/// A block of the tree.
pub type Block = [u8; BLOCK];

/// Digests of blocks under one salt.
#[derive(Clone, Debug)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Hashes blocks under this salt.
    pub fn new(salt: &[u8; 32]) -> Self {
        Self(Sha256::new_with_prefix(salt))
    }

    /// SHA-256 of salt and block.
    pub fn block(&self, block: &[u8]) -> [u8; HASH] {
        self.0.clone().chain_update(block).finalize().into()
    }

    /// The same of every block of some bytes.
    pub fn blocks(&self, bytes: &[u8]) -> Vec<[u8; HASH]> {
        bytes.chunks(BLOCK).map(|block| self.block(block)).collect()
    }
}

/// How long the superblock and tree of `data_blocks` blocks are.
pub fn tree_bytes(data_blocks: u64) -> u64 {
    let levels = level_blocks(data_blocks).fold(1_u64, u64::saturating_add);
    levels.saturating_mul(BLOCK_BYTES)
}

/// Blocks of each level, the lowest one first.
fn level_blocks(data_blocks: u64) -> impl Iterator<Item = u64> {
    let fan_out = BLOCK_BYTES / 32;
    core::iter::successors(Some(data_blocks), move |below| (*below > 1).then(|| below.div_ceil(fan_out)))
        .skip(1)
}

/// The UUID in the superblock: derived from the salt, so that the device writes the builder's bytes.
pub fn uuid(salt: &[u8; 32]) -> [u8; 16] {
    let digest = Sha256::new_with_prefix(b"coracle verity uuid").chain_update(salt).finalize();
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&digest[..16]);
    uuid[6] = (uuid[6] & 0x0f) | 0x40;
    uuid[8] = (uuid[8] & 0x3f) | 0x80;
    uuid
}

/// The block in front of the tree.
pub fn superblock(data_blocks: u64, salt: &[u8; 32], uuid: &[u8; 16]) -> Box<Block> {
    let mut out = Box::new([0; BLOCK]);
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"verity\0\0");
    put(8, &1_u32.to_le_bytes());
    put(12, &1_u32.to_le_bytes());
    put(16, uuid);
    put(32, b"sha256");
    put(64, &4096_u32.to_le_bytes());
    put(68, &4096_u32.to_le_bytes());
    put(72, &data_blocks.to_le_bytes());
    put(80, &32_u16.to_le_bytes());
    put(88, salt);
    out
}

/// A tree in the making. Its blocks come out as soon as they are full, each with its offset behind the start of the
/// superblock: lower levels before the ones above them, which stand in front of them.
#[derive(Clone, Debug)]
pub struct Tree {
    hasher: Hasher,
    levels: Vec<Level>,
    missing: u64,
    root_hash: [u8; HASH],
}

#[derive(Clone, Debug)]
struct Level {
    block: Box<Block>,
    filled: usize,
    next_offset: u64,
}

impl Tree {
    /// The tree of `data_blocks` blocks under a salt.
    pub fn new(data_blocks: u64, salt: &[u8; 32]) -> Self {
        let blocks: Vec<u64> = level_blocks(data_blocks).collect();
        let mut offset = BLOCK_BYTES;
        let mut levels = Vec::with_capacity(blocks.len());
        for blocks in blocks.iter().rev() {
            levels.push(Level { block: Box::new([0; BLOCK]), filled: 0, next_offset: offset });
            offset = offset.saturating_add(blocks.saturating_mul(BLOCK_BYTES));
        }
        levels.reverse();
        Self { hasher: Hasher::new(salt), levels, missing: data_blocks, root_hash: [0; HASH] }
    }

    /// Blocks of data still to come.
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// Hashes blocks as this tree does: for [`push_digest`](Self::push_digest).
    pub fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    /// Takes the next block of data. Blocks beyond the stated number are ignored.
    pub fn push<E>(
        &mut self,
        block: &[u8],
        emit: &mut impl FnMut(u64, &Block) -> Result<(), E>,
    ) -> Result<(), E> {
        let digest = self.hasher.block(block);
        self.push_digest(digest, emit)
    }

    /// Takes the digest of the next block of data, made with a [`Hasher`] under the same salt.
    pub fn push_digest<E>(
        &mut self,
        digest: [u8; HASH],
        emit: &mut impl FnMut(u64, &Block) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(missing) = self.missing.checked_sub(1) else {
            return Ok(());
        };
        self.missing = missing;
        let mut digest = digest;
        for level in &mut self.levels {
            level.put(digest);
            if level.filled < BLOCK {
                return Ok(());
            }
            digest = level.take(&self.hasher, emit)?;
        }
        self.root_hash = digest;
        Ok(())
    }

    /// Lets the last blocks out, padded with zeros. The root hash is that of the data if none of it was missing.
    pub fn finish<E>(mut self, emit: &mut impl FnMut(u64, &Block) -> Result<(), E>) -> Result<[u8; HASH], E> {
        let mut below = None;
        for level in &mut self.levels {
            if let Some(digest) = below.take() {
                level.put(digest);
            }
            if level.filled > 0 {
                below = Some(level.take(&self.hasher, emit)?);
            }
        }
        Ok(below.unwrap_or(self.root_hash))
    }
}

impl Level {
    fn put(&mut self, digest: [u8; HASH]) {
        let end = self.filled + HASH;
        self.block[self.filled..end].copy_from_slice(&digest);
        self.filled = end;
    }

    fn take<E>(
        &mut self,
        hasher: &Hasher,
        emit: &mut impl FnMut(u64, &Block) -> Result<(), E>,
    ) -> Result<[u8; HASH], E> {
        self.block[self.filled..].fill(0);
        emit(self.next_offset, &self.block)?;
        self.next_offset = self.next_offset.saturating_add(BLOCK_BYTES);
        self.filled = 0;
        Ok(hasher.block(&self.block[..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{string::String, vec};
    use core::convert::Infallible;
    use core::fmt::Write as _;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
    }

    /// Root hash, and digest of superblock and tree, of blocks that all differ.
    fn sample(blocks: u32) -> (String, String) {
        let salt = core::array::from_fn(|index| u8::try_from(index).unwrap());
        let uuid = *b"\x11\x11\x11\x11\x22\x22\x33\x33\x44\x44\x55\x55\x55\x55\x55\x55";
        let mut out = vec![0xee; usize::try_from(tree_bytes(blocks.into())).unwrap()];
        out[..BLOCK].copy_from_slice(&superblock(blocks.into(), &salt, &uuid)[..]);
        let mut emit = |offset: u64, block: &Block| -> Result<(), Infallible> {
            let at = usize::try_from(offset).unwrap();
            out[at..at + BLOCK].copy_from_slice(block);
            Ok(())
        };
        let mut tree = Tree::new(blocks.into(), &salt);
        for block in 0..blocks {
            tree.push(&block.to_le_bytes().repeat(BLOCK / 4), &mut emit).unwrap();
        }
        assert_eq!(tree.missing(), 0);
        tree.push(&[0; BLOCK], &mut emit).unwrap();
        let root_hash = tree.finish(&mut emit).unwrap();
        (hex(&root_hash), hex(&Sha256::digest(&out)))
    }

    #[test]
    fn root_hash_and_tree_are_those_of_veritysetup() {
        // veritysetup format --salt=000102…1f --uuid=11111111-2222-3333-4444-555555555555, cryptsetup 2.7.5.
        let vectors: [(u32, &str, &str); 6] = [
            (
                1,
                "4ce3ecf32c133bf6321901b6092219474b6ac91a19d0304621d629e6bb9987dc",
                "d5eb5a8fbce38bc21d41bba90e6eec573cac208638121a6dd38c713560321ab8",
            ),
            (
                2,
                "2a324e94048f1b195c1a95c1a8a2aadeaca051dbf22f8d70524f34a54312dd1e",
                "6bdf7e2a730d8da54012a86a2b0983e4a847243ba605ef65e1f0b51501ee7b0b",
            ),
            (
                128,
                "7304e50acd750ce7a62d37b9fd95234dbf7c4223c580c2ec355f5b12ad69424e",
                "bd017aab2cf4e12b3d0e3561e00581f08e1152bb90a0385aac8bc59e34bec297",
            ),
            (
                129,
                "a631d09d288077d69a662e74788789b2494093c15687d050203f71c6b6757f6d",
                "ea7ade85a9428a90e24e9a86469aeb59b322bdaa68fee8c91e512031d7f1d9d7",
            ),
            (
                300,
                "f3a7d6ffb8e249236cc9927481fec19dedb6db70585463d6576630b064f59d60",
                "d930c3a77a972337c9b181642efe026b13ed64592d3f0a8076117157bbc0143d",
            ),
            (
                16_385,
                "b439e96c0c64d937c58d3703498b6ab3c5eb12e418d7d895fbca032e243c0ed4",
                "db014214600a978277dfffad67ee37b632a86ec3b4d82d598db8501eaf08a626",
            ),
        ];
        for (blocks, root_hash, tree) in vectors {
            assert_eq!(sample(blocks), (root_hash.into(), tree.into()), "{blocks}");
        }
    }

    #[test]
    fn a_failed_write_of_the_tree_is_not_swallowed() {
        let mut emit = |_: u64, _: &Block| Err("full");
        let mut tree = Tree::new(2, &[0; 32]);
        tree.push(&[0; BLOCK], &mut emit).unwrap();
        assert_eq!(tree.finish(&mut emit), Err("full"));
    }
}
