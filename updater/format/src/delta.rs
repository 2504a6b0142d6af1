//! An update as a difference: how a machine that runs one release gets the frames of another. See
//! `docs/formats/delta.md`.
//!
//! A delta carries the metadata and the index of the release that it leads to, as the release's bundle does. What it says
//! beside is advice: whatever an operation makes is compared with the digests of the frames in the index. So nothing
//! vouches for an operation, and one that goes wrong costs a transfer of its frames and nothing else.

mod header;
mod table;
mod varint;

pub use header::{HEADER_BYTES, Header, Pieces};
pub use table::Table;

use crate::bundle::{Frame, Index, Part};
use alloc::vec::Vec;
use core::fmt;

/// Version of the format, and of the streams in it. A machine that does not know it takes the bundle.
pub const DELTA_VERSION: u32 = 1;
/// The largest piece of work that `zstd` is given at once: its own choice would have it ask for buffers of 2 GiB, which a
/// kernel refuses to a machine that has less. Contents of fewer bytes are packed to the same bytes either way.
pub const ZSTD_JOB_BYTES: u32 = 128 << 20;
/// Bytes of the table at most, as it is stored.
pub const TABLE_STORED_BYTES_MAX: usize = 4 << 20;
/// Bytes of the table at most, unpacked.
pub const TABLE_BYTES_MAX: usize = 16 << 20;
/// Operations at most.
pub const OPERATIONS_MAX: usize = 1 << 14;
/// Files of one operation at most.
pub const FILES_MAX: usize = 1 << 13;
/// Extents of one file, or of one copy, at most.
pub const EXTENTS_MAX: usize = 1 << 12;
/// Extents of all files of one operation at most.
pub const OPERATION_EXTENTS_MAX: usize = 1 << 15;
/// Files of all operations together at most: a machine holds the table in memory.
pub const TABLE_FILES_MAX: usize = 1 << 15;
/// Extents of all operations together at most.
pub const TABLE_EXTENTS_MAX: usize = 1 << 17;
/// Bytes of an old file at most: all its extents.
pub const OLD_BYTES_MAX: u64 = (1 << 32) - 1;
/// Bytes of one stream of differences at most: a machine holds it in memory.
pub const STREAM_BYTES_MAX: u32 = 6 << 20;
/// Bytes that one operation makes at most.
pub const OPERATION_BYTES_MAX: u64 = 256 << 20;
/// Bytes that one packed file has at most when it is unpacked.
pub const UNPACKED_BYTES_MAX: u64 = 512 << 20;

/// One of the two releases of a delta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that it starts from.
    Old,
    /// The one that it leads to.
    New,
}

/// Some bytes of a release that are there when they are used: of the old one any, of the new one those that operations
/// before have made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The release that they are of.
    pub side: Side,
    /// The part that they are in.
    pub part: Part,
    /// Where they begin in it.
    pub offset: u64,
    /// How many there are: at least 1.
    pub bytes: u64,
}

impl Extent {
    /// Whether its bytes are there when everything before this frame of the new release is.
    pub fn is_there(&self, index: &Index, frame: &Frame) -> bool {
        let made = index.bytes_before(frame, self.part);
        self.side == Side::Old || self.offset.checked_add(self.bytes).is_some_and(|end| end <= made)
    }
}

/// What makes a compressed file again from its contents, bit for bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoder {
    /// The program `zstd` 1.5.7 with `--ultra -LEVEL -T1` and jobs of [`ZSTD_JOB_BYTES`], which reads a pipe and so does not
    /// know how much will come.
    Zstd157 {
        /// 1 to 22.
        level: u8,
    },
}

/// A file of the new release that is compressed, and whose difference is that of its contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packed {
    /// What compresses it.
    pub encoder: Encoder,
    /// Bytes of its contents.
    pub plain: u64,
    /// Bytes of the contents of the old file, which is one zstd frame; 0: the old file is taken as it is.
    pub old_plain: u64,
    /// Mebibytes of memory that compressing it takes at the most, measured by who made the delta.
    pub memory_mib: u32,
}

/// One file of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its bytes in the new release.
    pub bytes: u64,
    /// The old file: these bytes one behind the other, of either release. None: there is no old file.
    pub old: Vec<Extent>,
    /// What becomes of the old file.
    pub how: How,
}

/// How a file is made of the old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// By the stream.
    Differs,
    /// It is the old file; the stream knows nothing of it.
    Same,
    /// The stream makes its contents, which are compressed then.
    Contents(Packed),
}

impl File {
    /// How it is compressed, if its contents are what differs.
    pub const fn packed(&self) -> Option<Packed> {
        match self.how {
            How::Contents(packed) => Some(packed),
            How::Differs | How::Same => None,
        }
    }

    /// Bytes that the stream makes; `None` if it knows nothing of the file.
    pub const fn streamed(&self) -> Option<u64> {
        match self.how {
            How::Contents(packed) => Some(packed.plain),
            How::Differs => Some(self.bytes),
            How::Same => None,
        }
    }
}

/// How an operation makes its frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// They are carried as the bundle stores them, one behind the other.
    Frames,
    /// They are these bytes, one behind the other.
    Copy(Vec<Extent>),
    /// They are these files, one behind the other, made by one stream of differences.
    Files(Vec<File>),
}

/// What makes a run of frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Its first frame in the index.
    pub first: u32,
    /// How many frames: at least 1, all of one part.
    pub frames: u32,
    /// How.
    pub method: Method,
    /// SHA-256 of all bytes of the old release that it uses, in the order of files and extents; zeros for frames. Bytes of
    /// the new release have digests in the index.
    pub source_sha256: [u8; 32],
    /// Bytes that it carries: 0 for copies, at most [`STREAM_BYTES_MAX`] for files.
    pub stream: u64,
    /// SHA-256 of the bytes that it carries; zeros where none are, and for frames, which have digests of their own.
    pub stream_sha256: [u8; 32],
}

impl Operation {
    /// The files that it makes by differences.
    pub fn files(&self) -> &[File] {
        match &self.method {
            Method::Files(files) => files,
            Method::Frames | Method::Copy(_) => &[],
        }
    }

    /// Every extent that it uses, in order: of the old release, and of what operations before have made of the new one.
    pub fn sources(&self) -> impl Iterator<Item = &Extent> {
        let copied: &[Extent] = match &self.method {
            Method::Copy(extents) => extents,
            Method::Frames | Method::Files(_) => &[],
        };
        copied.iter().chain(self.files().iter().flat_map(|file| &file.old))
    }

    /// Mebibytes that its encoders take at the most; 0 if it has none.
    pub fn encoder_mib(&self) -> u32 {
        let packed = self.files().iter().filter_map(File::packed);
        packed.map(|packed| packed.memory_mib).max().unwrap_or(0)
    }
}

/// Why bytes are not a delta, or not a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotADelta {
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
    /// The table does not match the header's digest.
    TableDigest,
    /// A length or a number is over its limit.
    Limit,
    /// The operation with this number is not what it must be.
    Operation(u32),
    /// The operations do not make every frame of the index once.
    Coverage,
}

impl fmt::Display for NotADelta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => f.write_str("delta is shorter or longer than it says"),
            Self::Magic => f.write_str("not a delta"),
            Self::Version(version) => write!(f, "delta has unknown version {version}"),
            Self::Checksum => f.write_str("delta header does not match its checksum"),
            Self::MetadataDigest => f.write_str("delta metadata does not match the header's digest"),
            Self::TableDigest => f.write_str("delta table does not match the header's digest"),
            Self::Limit => f.write_str("delta states a length or a number over its limit"),
            Self::Operation(number) => write!(f, "operation {number} of the delta is malformed"),
            Self::Coverage => f.write_str("operations of the delta do not make every frame once"),
        }
    }
}

impl core::error::Error for NotADelta {}
