//! What a slot holds: the descriptor in the last block of the slot's partition. See `docs/formats/slot.md`.
//!
//! A slot is root file system, dm-verity tree and boot artefact, each a raw range of blocks. The root begins at the
//! first byte of the partition, because dm-verity maps its data device from there; so the descriptor stands at the end.

use crate::layout::ALIGNMENT;
use crate::version::Version;
use sha2::{Digest, Sha256};

/// Bytes of a block: of the root file system, of dm-verity, and of the descriptor itself.
pub const BLOCK_BYTES: u64 = 4096;
/// Bytes of the encoded descriptor.
pub const DESCRIPTOR_BYTES: usize = 4096;
const MAGIC: [u8; 8] = *b"CORASLOT";
const VERSION: u32 = 0;
const DIGEST_AT: usize = DESCRIPTOR_BYTES - 32;
/// Bytes of the fixed-size text fields.
pub const TEXT_BYTES: usize = 64;

/// The processor architecture a slot is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 64-bit ARM.
    Aarch64,
}

impl Arch {
    /// The architecture's name in manifests, messages and file names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }
}

/// A contiguous range of bytes in the slot's partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Range {
    /// Byte offset from the start of the partition; a multiple of [`BLOCK_BYTES`].
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
}

impl Range {
    /// The first byte after the range, `None` if it does not fit in 64 bits.
    pub const fn end(self) -> Option<u64> {
        self.offset.checked_add(self.bytes)
    }
}

/// A short text field: image name or version.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text([u8; TEXT_BYTES]);

impl Text {
    /// The text, or `None` if it is longer than [`TEXT_BYTES`] or holds a NUL.
    pub fn new(text: &str) -> Option<Self> {
        let mut bytes = [0; TEXT_BYTES];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        (!text.contains('\0')).then_some(Self(bytes))
    }

    /// The text without its padding; empty if it is not UTF-8.
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(TEXT_BYTES);
        core::str::from_utf8(&self.0[..end]).unwrap_or_default()
    }
}

impl core::fmt::Debug for Text {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Debug::fmt(self.as_str(), f)
    }
}

/// What a slot holds. It is a table of contents, not a proof: the boot artefact is judged by the firmware, the root by
/// the root hash inside the boot artefact's command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Architecture of the boot artefact.
    pub arch: Arch,
    /// `[image] name`.
    pub name: Text,
    /// `[image] version`.
    pub version: Text,
    /// The root file system; starts at offset 0.
    pub root: Range,
    /// The dm-verity superblock (first block) and hash tree.
    pub tree: Range,
    /// dm-verity root hash (SHA-256).
    pub root_hash: [u8; 32],
    /// dm-verity salt.
    pub salt: [u8; 32],
    /// The boot artefact: a unified kernel image on UEFI.
    pub boot: Range,
    /// SHA-256 of the boot artefact.
    pub boot_digest: [u8; 32],
}

/// Why bytes are not a slot descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotASlot {
    /// Shorter than [`DESCRIPTOR_BYTES`].
    Truncated,
    /// No magic number: an empty slot.
    Magic,
    /// The digest over the descriptor does not match: torn or damaged.
    Digest,
    /// A version this program does not know.
    Version(u32),
    /// An architecture this program does not know.
    Arch(u32),
    /// A range is unaligned, out of order or larger than the partition.
    Range,
}

impl core::fmt::Display for NotASlot {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Truncated => f.write_str("slot descriptor is truncated"),
            Self::Magic => f.write_str("slot is empty (no descriptor)"),
            Self::Digest => f.write_str("slot descriptor does not match its digest"),
            Self::Version(version) => write!(f, "slot descriptor has unknown version {version}"),
            Self::Arch(arch) => write!(f, "slot descriptor has unknown architecture {arch}"),
            Self::Range => f.write_str("slot descriptor names a range outside the slot"),
        }
    }
}

impl core::error::Error for NotASlot {}

impl Descriptor {
    /// Where the descriptor stands in a partition of `partition` bytes: its last block. `None` if it is too small.
    pub const fn offset_in(partition: u64) -> Option<u64> {
        match partition.checked_sub(BLOCK_BYTES) {
            Some(offset) => Some(offset / BLOCK_BYTES * BLOCK_BYTES),
            None => None,
        }
    }

    /// The version as the slot record keeps it: 0 if it cannot be compared.
    pub fn version_number(&self) -> u64 {
        Version::parse(self.version.as_str()).map_or(0, Version::to_u64)
    }

    /// Lays out a payload: root at 0, tree behind it, boot artefact on the next multiple of [`ALIGNMENT`].
    /// Returns (tree offset, boot offset, bytes needed with the descriptor).
    pub const fn plan(root: u64, tree: u64, boot: u64) -> (u64, u64, u64) {
        let tree_at = root.div_ceil(BLOCK_BYTES) * BLOCK_BYTES;
        let boot_at = (tree_at + tree).div_ceil(ALIGNMENT) * ALIGNMENT;
        let end = (boot_at + boot).div_ceil(BLOCK_BYTES) * BLOCK_BYTES;
        (tree_at, boot_at, end + BLOCK_BYTES)
    }

    /// The descriptor as one block.
    pub fn encode(&self) -> [u8; DESCRIPTOR_BYTES] {
        let mut out = [0; DESCRIPTOR_BYTES];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&MAGIC);
        put(&VERSION.to_le_bytes());
        put(&match self.arch {
            Arch::X86_64 => 1_u32,
            Arch::Aarch64 => 2,
        }
        .to_le_bytes());
        put(&self.name.0);
        put(&self.version.0);
        for range in [self.root, self.tree, self.boot] {
            put(&range.offset.to_le_bytes());
            put(&range.bytes.to_le_bytes());
        }
        put(&self.root_hash);
        put(&self.salt);
        put(&self.boot_digest);
        let digest = Sha256::digest(&out[..DIGEST_AT]);
        out[DIGEST_AT..].copy_from_slice(&digest);
        out
    }

    /// Parses the last block of a partition of `partition` bytes. Every range of the result lies inside the partition,
    /// before the descriptor, and the ranges do not overlap.
    pub fn parse(block: &[u8], partition: u64) -> Result<Self, NotASlot> {
        let block: &[u8; DESCRIPTOR_BYTES] = block.first_chunk().ok_or(NotASlot::Truncated)?;
        if block[..8] != MAGIC {
            return Err(NotASlot::Magic);
        }
        if Sha256::digest(&block[..DIGEST_AT])[..] != block[DIGEST_AT..] {
            return Err(NotASlot::Digest);
        }
        let mut reader = Reader { block, at: 8 };
        let version = u32::from_le_bytes(reader.take());
        if version != VERSION {
            return Err(NotASlot::Version(version));
        }
        let arch = match u32::from_le_bytes(reader.take()) {
            1 => Arch::X86_64,
            2 => Arch::Aarch64,
            other => return Err(NotASlot::Arch(other)),
        };
        let name = Text(reader.take());
        let version = Text(reader.take());
        let [root, tree, boot] = core::array::from_fn(|_| Range {
            offset: u64::from_le_bytes(reader.take()),
            bytes: u64::from_le_bytes(reader.take()),
        });
        let this = Self {
            arch,
            name,
            version,
            root,
            tree,
            boot,
            root_hash: reader.take(),
            salt: reader.take(),
            boot_digest: reader.take(),
        };
        this.check_ranges(partition).then_some(this).ok_or(NotASlot::Range)
    }

    fn check_ranges(&self, partition: u64) -> bool {
        let limit = Self::offset_in(partition);
        let (Some(root), Some(tree), Some(boot), Some(limit)) =
            (self.root.end(), self.tree.end(), self.boot.end(), limit)
        else {
            return false;
        };
        let aligned = [self.tree.offset, self.boot.offset, self.root.bytes, self.tree.bytes]
            .iter()
            .all(|value| value % BLOCK_BYTES == 0);
        self.root.offset == 0
            && aligned
            && root <= self.tree.offset
            && tree <= self.boot.offset
            && boot <= limit
    }
}

struct Reader<'a> {
    block: &'a [u8; DESCRIPTOR_BYTES],
    at: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        out.copy_from_slice(&self.block[self.at..self.at + N]);
        self.at += N;
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Descriptor {
        let (tree, boot, _) = Descriptor::plan(8 << 20, 68 * 4096, 13 << 20);
        Descriptor {
            arch: Arch::X86_64,
            name: Text::new("hello").unwrap(),
            version: Text::new("1.2.3").unwrap(),
            root: Range { offset: 0, bytes: 8 << 20 },
            tree: Range { offset: tree, bytes: 68 * 4096 },
            root_hash: [1; 32],
            salt: [2; 32],
            boot: Range { offset: boot, bytes: 13 << 20 },
            boot_digest: [3; 32],
        }
    }

    #[test]
    fn a_descriptor_survives_the_round_trip() {
        let descriptor = sample();
        assert_eq!(Descriptor::parse(&descriptor.encode(), 256 << 20), Ok(descriptor));
    }

    #[test]
    fn every_flipped_byte_is_noticed() {
        let bytes = sample().encode();
        for index in 0..DESCRIPTOR_BYTES {
            let mut damaged = bytes;
            damaged[index] ^= 0x40;
            assert!(Descriptor::parse(&damaged, 256 << 20).is_err(), "byte {index}");
        }
    }

    #[test]
    fn a_range_outside_the_slot_is_refused() {
        assert_eq!(Descriptor::parse(&sample().encode(), 16 << 20), Err(NotASlot::Range));
    }

    #[test]
    fn an_empty_slot_is_told_from_a_damaged_one() {
        assert_eq!(Descriptor::parse(&[0; 4096], 1 << 30), Err(NotASlot::Magic));
        assert_eq!(Descriptor::parse(&[0; 100], 1 << 30), Err(NotASlot::Truncated));
    }
}
