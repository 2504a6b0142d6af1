//! dm-verity hash trees, format 1, byte for byte what `veritysetup format` writes: SHA-256, blocks of 4096 bytes, a salt
//! of 32 bytes. See `docs/formats/slot.md`. The tree itself is made by the code that makes it on the device; here its
//! digests are computed in parallel.

use super::{id, sparse::fill};
use crate::{
    digest::Digest,
    error::{Doing, Error, Kind, Result},
};
use coracle_format::{
    device::VERITY_ARG,
    slot::BLOCK_BYTES,
    verity::{self, BLOCK, Block, FAN_OUT, HASH, Hasher, Tree, superblock},
};
use std::{convert::Infallible, fs::File, num::NonZero, path::Path, thread};

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

/// Hashes a file whose length is a multiple of 4096, with a salt derived from `seed`.
pub fn build(file: &Path, seed: &Digest) -> Result<Verity> {
    let salt = id::derive(seed, "verity-salt");
    build_with(file, salt, verity::uuid(&salt))
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
    let digests = hash_file(&file, path, data_blocks, &Hasher::new(&salt))?;
    let size = usize::try_from(verity::tree_bytes(data_blocks)).map_err(|source| too_large(path, source))?;
    let mut out = vec![0; size];
    out[..BLOCK].copy_from_slice(&superblock(data_blocks, &salt, &uuid)[..]);
    let mut emit = |offset: u64, block: &Block| -> Result<(), Infallible> {
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        out[at..at + BLOCK].copy_from_slice(block);
        Ok(())
    };
    let mut tree = Tree::new(data_blocks, &salt);
    let Ok(()) = digests.iter().try_for_each(|digest| tree.push_digest(*digest, &mut emit));
    let Ok(root_hash) = tree.finish(&mut emit);
    Ok(Verity { root_hash, salt, data_blocks, tree: out })
}

fn too_large(path: &Path, source: std::num::TryFromIntError) -> Error {
    Error::new(Kind::TooLarge, format!("cannot hash {}", path.display())).because(source)
}

/// The digests of all blocks, in parallel: each thread makes a run of them.
fn hash_file(file: &File, path: &Path, data_blocks: u64, hasher: &Hasher) -> Result<Vec<[u8; HASH]>> {
    let blocks = usize::try_from(data_blocks).map_err(|source| too_large(path, source))?;
    let mut digests = vec![[0; HASH]; blocks];
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let share = blocks.div_ceil(threads.min(THREADS_MAX));
    thread::scope(|scope| {
        let workers: Vec<_> = digests
            .chunks_mut(share)
            .enumerate()
            .map(|(index, out)| scope.spawn(move || hash_run(file, path, index * share, out, hasher)))
            .collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().unwrap_or_else(|_| {
                let message = format!("cannot hash {}: a thread failed", path.display());
                Err(Error::new(Kind::Internal, message))
            })
        })
    })?;
    Ok(digests)
}

/// Fills a run with the digests of the file's blocks from block `first` on.
fn hash_run(file: &File, path: &Path, first: usize, out: &mut [[u8; HASH]], hasher: &Hasher) -> Result<()> {
    let mut buffer = vec![0; FAN_OUT * BLOCK];
    let mut at = u64::try_from(first).unwrap_or(u64::MAX).saturating_mul(BLOCK_BYTES);
    for digests in out.chunks_mut(FAN_OUT) {
        let data = &mut buffer[..digests.len() * BLOCK];
        let n = fill(file, data, at).doing("read", path)?;
        if n != data.len() {
            let message = format!("cannot hash {}: it became shorter", path.display());
            return Err(Error::new(Kind::Io, message));
        }
        for (block, digest) in data.chunks(BLOCK).zip(digests.iter_mut()) {
            *digest = hasher.block(block);
        }
        at += u64::try_from(n).unwrap_or(0);
    }
    Ok(())
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
            assert_eq!(verity::tree_bytes(blocks.into()), length);
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
