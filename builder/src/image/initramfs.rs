//! The initramfs: a cpio archive compressed with zstd, as the kernel's own decompressor takes it.

use super::cpio;
use crate::{
    error::{Error, Kind, Result},
    tree::Tree,
};
use std::io;
use zstd::zstd_safe::CParameter;

/// Base-2 logarithm of the largest window: 8 MiB, which every zstd decoder must support and which the kernel allocates
/// while it unpacks.
const WINDOW_LOG: u32 = 23;
/// The compression levels that are accepted.
pub const LEVELS: std::ops::RangeInclusive<i32> = 1..=22;

/// The compressed archive of a tree, every time `epoch`. One thread and one call, so that the same tree gives the same
/// bytes on every machine.
pub fn build(tree: &Tree, epoch: u64, level: i32) -> Result<Vec<u8>> {
    if !LEVELS.contains(&level) {
        let message = format!("cannot compress the initramfs with level {level}");
        return Err(Error::new(Kind::Usage, message).hint("choose a level from 1 to 22"));
    }
    let mut archive = Vec::new();
    cpio::write(tree, epoch, &mut archive)?;
    compress(&archive, level)
        .map_err(|source| Error::new(Kind::Internal, "cannot compress the initramfs").because(source))
}

fn compress(bytes: &[u8], level: i32) -> io::Result<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::new(level)?;
    compressor.set_parameter(CParameter::WindowLog(WINDOW_LOG))?;
    compressor.set_parameter(CParameter::ChecksumFlag(true))?;
    compressor.compress(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Tree {
        let mut tree = Tree::new();
        let noise: Vec<u8> =
            (0..300_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        for name in ["init", "lib/a", "lib/b"] {
            let content: Vec<u8> = noise.iter().chain(name.as_bytes()).copied().collect();
            tree.file(name, 0o755, content).unwrap();
        }
        tree
    }

    #[test]
    fn it_decompresses_to_the_archive() {
        let mut archive = Vec::new();
        cpio::write(&sample(), 7, &mut archive).unwrap();
        for level in [1, 19] {
            let compressed = build(&sample(), 7, level).unwrap();
            assert!(compressed.len() < archive.len());
            assert_eq!(zstd::decode_all(&compressed[..]).unwrap(), archive);
        }
    }

    #[test]
    fn the_window_stays_within_what_the_kernel_allocates() {
        let mut tree = Tree::new();
        tree.file("large", 0o644, vec![1; 40 << 20]).unwrap();
        let compressed = build(&tree, 0, 22).unwrap();
        let mut decoder = zstd::stream::Decoder::new(&compressed[..]).unwrap();
        decoder.window_log_max(WINDOW_LOG).unwrap();
        let copied = io::copy(&mut decoder, &mut io::sink()).unwrap();
        assert!(copied > 40 << 20);
    }

    #[test]
    fn the_checksum_and_the_size_are_in_the_frame_header() {
        let compressed = build(&sample(), 0, 1).unwrap();
        assert_eq!(compressed[..4], [0x28, 0xb5, 0x2f, 0xfd]);
        assert_eq!(compressed[4] & 0b100, 0b100);
    }
}
