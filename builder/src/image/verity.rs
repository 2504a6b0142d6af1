//! dm-verity hash trees, format 1, byte for byte what `veritysetup format` writes: SHA-256, blocks of 4096 bytes, a salt
//! of 32 bytes. See `docs/formats/slot.md`.

use super::{id, sparse::fill};
use crate::{
    digest::Digest,
    error::{Doing, Error, Kind, Result},
};
use coracle_format::{device::VERITY_ARG, slot::BLOCK_BYTES};
use sha2::{Digest as _, Sha256};
use std::{fs::File, num::NonZero, path::Path, thread};

const BLOCK: usize = 4096;
const HASH: usize = 32;
/// Digests in one block of the tree.
const FAN_OUT: usize = BLOCK / HASH;
/// More threads than this gain nothing: the disk is the limit.
const THREADS_MAX: usize = 16;

/// The hash tree of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verity {
    /// What the file is proved against.
    pub root_hash: [u8; 32],
    /// The salt.
    pub salt: [u8; 32],
    /// Blocks of the file.
    pub data_blocks: u64,
    /// Superblock and tree: what follows the file on the disk.
    pub tree: Vec<u8>,
}

impl Verity {
    /// The kernel argument that names this tree, `coracle.verity=<root hash>:<salt>:<data blocks>`.
    pub fn argument(&self) -> String {
        let [root_hash, salt] = [self.root_hash, self.salt].map(Digest);
        format!("{VERITY_ARG}={root_hash}:{salt}:{}", self.data_blocks)
    }
}

/// Hashes a file whose length is a multiple of 4096, with salt and UUID derived from `seed`.
pub fn build(file: &Path, seed: &Digest) -> Result<Verity> {
    build_with(file, id::derive(seed, "verity-salt"), id::uuid(seed, "verity"))
}

/// Hashes a file whose length is a multiple of 4096. The number of threads does not show in the result.
pub fn build_with(path: &Path, salt: [u8; 32], uuid: [u8; 16]) -> Result<Verity> {
    let file = File::open(path).doing("open", path)?;
    let bytes = file.metadata().doing("inspect", path)?.len();
    if bytes == 0 || bytes % BLOCK_BYTES != 0 {
        let message = format!("cannot hash {}: its {bytes} bytes are no whole blocks", path.display());
        return Err(Error::new(Kind::Internal, message));
    }
    let data_blocks = bytes / BLOCK_BYTES;
    let hasher = Sha256::new_with_prefix(salt);
    let mut levels = Vec::new();
    let mut top = if data_blocks == 1 {
        read_block(&file, path)?
    } else {
        hash_file(&file, path, data_blocks, &hasher)?
    };
    while top.len() > BLOCK {
        let above = hash_level(&top, &hasher);
        levels.push(std::mem::replace(&mut top, above));
    }
    let root_hash = hash_block(&top, &hasher);
    if data_blocks > 1 {
        levels.push(top);
    }
    let mut tree = superblock(data_blocks, &salt, &uuid);
    for level in levels.iter().rev() {
        tree.extend_from_slice(level);
    }
    Ok(Verity { root_hash, salt, data_blocks, tree })
}

/// How long the superblock and tree of `data_blocks` blocks are.
pub fn tree_bytes(data_blocks: u64) -> u64 {
    let mut blocks: u64 = 1;
    let mut level = data_blocks;
    while level > 1 {
        level = level.div_ceil(128);
        blocks = blocks.saturating_add(level);
    }
    blocks.saturating_mul(BLOCK_BYTES)
}

/// The lowest level, in parallel: each thread makes a run of whole tree blocks.
fn hash_file(file: &File, path: &Path, data_blocks: u64, hasher: &Sha256) -> Result<Vec<u8>> {
    let blocks = usize::try_from(data_blocks).map_err(|source| {
        Error::new(Kind::TooLarge, format!("cannot hash {}", path.display())).because(source)
    })?;
    let mut level = vec![0; blocks.div_ceil(FAN_OUT) * BLOCK];
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let share = level.len().div_ceil(BLOCK).div_ceil(threads.min(THREADS_MAX));
    thread::scope(|scope| {
        let workers: Vec<_> = level
            .chunks_mut(share * BLOCK)
            .enumerate()
            .map(|(index, out)| {
                let first = index * share * FAN_OUT;
                scope.spawn(move || hash_run(file, path, first..blocks, out, hasher))
            })
            .collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().unwrap_or_else(|_| {
                let message = format!("cannot hash {}: a thread failed", path.display());
                Err(Error::new(Kind::Internal, message))
            })
        })
    })?;
    Ok(level)
}

/// Fills a run of tree blocks with the digests of the file's blocks from `range.start` on.
fn hash_run(
    file: &File,
    path: &Path,
    range: std::ops::Range<usize>,
    out: &mut [u8],
    hasher: &Sha256,
) -> Result<()> {
    let mut buffer = vec![0; FAN_OUT * BLOCK];
    let mut at = range.start;
    for tree_block in out.chunks_mut(BLOCK) {
        let wanted = FAN_OUT.min(range.end.saturating_sub(at)) * BLOCK;
        let offset = u64::try_from(at).unwrap_or(u64::MAX).saturating_mul(BLOCK_BYTES);
        let data = &mut buffer[..wanted];
        let n = fill(file, data, offset).doing("read", path)?;
        if n != wanted {
            let message = format!("cannot hash {}: it became shorter", path.display());
            return Err(Error::new(Kind::Io, message));
        }
        for (block, digest) in data.chunks(BLOCK).zip(tree_block.chunks_mut(HASH)) {
            digest.copy_from_slice(&hash_block(block, hasher));
        }
        at += FAN_OUT;
    }
    Ok(())
}

fn hash_level(below: &[u8], hasher: &Sha256) -> Vec<u8> {
    let mut out: Vec<u8> = below.chunks(BLOCK).flat_map(|block| hash_block(block, hasher)).collect();
    out.resize(out.len().div_ceil(BLOCK) * BLOCK, 0);
    out
}

/// SHA-256 of salt and block; `hasher` has taken the salt.
fn hash_block(block: &[u8], hasher: &Sha256) -> [u8; HASH] {
    hasher.clone().chain_update(block).finalize().into()
}

fn read_block(file: &File, path: &Path) -> Result<Vec<u8>> {
    let mut block = vec![0; BLOCK];
    fill(file, &mut block, 0).doing("read", path)?;
    Ok(block)
}

fn superblock(data_blocks: u64, salt: &[u8; 32], uuid: &[u8; 16]) -> Vec<u8> {
    let mut out = Vec::with_capacity(BLOCK);
    out.extend_from_slice(b"verity\0\0");
    out.extend_from_slice(&1_u32.to_le_bytes());
    out.extend_from_slice(&1_u32.to_le_bytes());
    out.extend_from_slice(uuid);
    out.extend_from_slice(b"sha256");
    out.resize(64, 0);
    out.extend_from_slice(&4096_u32.to_le_bytes());
    out.extend_from_slice(&4096_u32.to_le_bytes());
    out.extend_from_slice(&data_blocks.to_le_bytes());
    out.extend_from_slice(&32_u16.to_le_bytes());
    out.extend_from_slice(&[0; 6]);
    out.extend_from_slice(salt);
    out.resize(BLOCK, 0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    /// Blocks that all differ, made without a random number.
    fn sample(blocks: u32) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        for block in 0..blocks {
            let text = block.to_le_bytes().repeat(BLOCK / 4);
            file.write_all(&text).unwrap();
        }
        file
    }

    fn build_sample(blocks: u32) -> Verity {
        let salt = core::array::from_fn(|index| u8::try_from(index).unwrap());
        let uuid = *b"\x11\x11\x11\x11\x22\x22\x33\x33\x44\x44\x55\x55\x55\x55\x55\x55";
        build_with(sample(blocks).path(), salt, uuid).unwrap()
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
            let verity = build_sample(blocks);
            assert_eq!(Digest(verity.root_hash).to_string(), root_hash, "{blocks}");
            assert_eq!(Digest::of(&verity.tree).to_string(), tree, "{blocks}");
            let length = u64::try_from(verity.tree.len()).unwrap();
            assert_eq!(tree_bytes(blocks.into()), length);
        }
    }

    #[test]
    fn the_kernel_argument_names_root_hash_salt_and_blocks() {
        let verity = build_sample(2);
        let expected = format!(
            "coracle.verity={}:{}:2",
            Digest(verity.root_hash),
            "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
        );
        assert_eq!(verity.argument(), expected);
    }

    #[test]
    fn a_file_of_no_whole_blocks_is_refused() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        build(file.path(), &Digest::of(b"")).unwrap_err();
        file.write_all(b"x").unwrap();
        build(file.path(), &Digest::of(b"")).unwrap_err();
    }
}
