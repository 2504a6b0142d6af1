//! An update as one stream of bytes: header, signed metadata, index, frames. See `docs/formats/bundle.md`.
//!
//! The index is what the metadata vouches for; the index vouches for each frame and for both parts as wholes. Nothing
//! here judges signatures: that is `coracle-trust`.

mod header;
mod index;
mod metadata;

pub use header::{HEADER_BYTES, Header};
pub use index::{FRAME_ENTRY_BYTES, INDEX_HEAD_BYTES, Index};
pub use metadata::{Metadata, ROOTS_MAX};

use core::fmt;

/// Version of the format.
pub const BUNDLE_VERSION: u32 = 1;
/// Bytes of the signed metadata at most.
pub const METADATA_BYTES_MAX: usize = 1 << 20;
/// Bytes of the index at most.
pub const INDEX_BYTES_MAX: usize = 4 << 20;
/// Bytes of a frame at most, unpacked; stored frames are never longer than that.
pub const FRAME_BYTES_MAX: u32 = 4 << 20;
/// Frames begin at multiples of this in their part.
pub const FRAME_ALIGNMENT: u64 = crate::slot::BLOCK_BYTES;

/// One of the things an update consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The root file system's image, without its hash tree.
    Root,
    /// The boot artefact.
    Boot,
}

impl Part {
    /// Both, in the order in which their frames stand.
    pub const ALL: [Self; 2] = [Self::Root, Self::Boot];

    /// The part's name in messages and events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Boot => "boot",
        }
    }
}

/// A part as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole {
    /// Its length in bytes.
    pub bytes: u64,
    /// SHA-256 of its bytes.
    pub sha256: [u8; 32],
}

/// How a frame is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Nothing is stored: the frame is zeros.
    Zeros,
    /// As it is.
    Raw,
    /// One zstd frame (RFC 8878) without a dictionary, whose window is at most [`FRAME_BYTES_MAX`].
    Zstd,
}

impl Encoding {
    /// The encoding's name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zeros => "zeros",
            Self::Raw => "raw",
            Self::Zstd => "zstd",
        }
    }
}

/// A piece of a part that is stored, checked and unpacked by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The part it belongs to.
    pub part: Part,
    /// Where its bytes belong in the part: a multiple of [`FRAME_ALIGNMENT`].
    pub offset: u64,
    /// Its bytes unpacked: 1 to [`FRAME_BYTES_MAX`].
    pub plain: u32,
    /// Its bytes as stored: 0 for zeros, `plain` for raw, fewer than `plain` for zstd.
    pub stored: u32,
    /// How it is stored.
    pub encoding: Encoding,
    /// SHA-256 of the stored bytes; zeros where none are stored.
    pub sha256: [u8; 32],
    /// SHA-256 of the bytes unpacked: whoever has them already need not fetch them.
    pub plain_sha256: [u8; 32],
}

/// Why bytes are not a bundle, or not a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotABundle {
    /// Shorter or longer than it says.
    Length,
    /// Another magic number.
    Magic,
    /// A version this program does not know.
    Version(u32),
    /// The header does not match its checksum.
    Checksum,
    /// The metadata does not match the header's digest.
    MetadataDigest,
    /// A length is over its limit.
    Limit,
    /// The metadata is not a list of documents.
    Metadata,
    /// An architecture this program does not know.
    Arch(u32),
    /// Name or version is not what it must be.
    Text,
    /// A reserved byte is not zero.
    Reserved,
    /// A part is empty, or the root is not whole blocks.
    Part,
    /// The frame with this number is not what it must be.
    Frame(u32),
    /// Frames overlap, leave a gap, or are out of order at the one with this number.
    Coverage(u32),
}

impl fmt::Display for NotABundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => f.write_str("bundle is shorter or longer than it says"),
            Self::Magic => f.write_str("not an update bundle"),
            Self::Version(version) => write!(f, "bundle has unknown version {version}"),
            Self::Checksum => f.write_str("bundle header does not match its checksum"),
            Self::MetadataDigest => f.write_str("bundle metadata does not match the header's digest"),
            Self::Limit => f.write_str("bundle states a length over its limit"),
            Self::Metadata => f.write_str("bundle metadata is not a list of documents"),
            Self::Arch(arch) => write!(f, "bundle has unknown architecture {arch}"),
            Self::Text => f.write_str("bundle has an unusable name or version"),
            Self::Reserved => f.write_str("bundle uses reserved bytes"),
            Self::Part => f.write_str("bundle has a part of an impossible length"),
            Self::Frame(number) => write!(f, "frame {number} of the bundle is malformed"),
            Self::Coverage(number) => {
                write!(f, "frame {number} of the bundle overlaps, leaves a gap or is out of order")
            }
        }
    }
}

impl core::error::Error for NotABundle {}

/// Takes fixed-size fields from the front of a slice.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Result<&'a [u8; N], NotABundle> {
        let (field, rest) = self.0.split_first_chunk().ok_or(NotABundle::Length)?;
        self.0 = rest;
        Ok(field)
    }

    fn u32(&mut self) -> Result<u32, NotABundle> {
        self.take().map(|field| u32::from_le_bytes(*field))
    }

    fn u64(&mut self) -> Result<u64, NotABundle> {
        self.take().map(|field| u64::from_le_bytes(*field))
    }
}
