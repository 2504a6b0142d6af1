//! Why a partition table cannot be had or written.

use super::ENTRIES;
use crate::layout::Role;
use core::fmt;

/// Why bytes are not a partition table, or a table cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotATable {
    /// The disk is too small, or its blocks are neither 512 nor 4096 bytes.
    Geometry,
    /// The header block or the entry array is shorter than it must be.
    Truncated,
    /// No signature: not a partition table.
    Signature,
    /// The header does not match its checksum.
    HeaderChecksum,
    /// A header field has a value that is not supported; its name.
    Header(&'static str),
    /// The entries do not match their checksum.
    EntriesChecksum,
    /// The header states another number of entries than [`ENTRIES`].
    EntryCount(u32),
    /// A partition lies outside the usable blocks, or ends before it starts; its number.
    Bounds(u32),
    /// Two partitions share blocks; their numbers.
    Overlap(u32, u32),
    /// A partition number is out of range or not above the one before it.
    Number(u32),
    /// Two partitions have the same role.
    Twice(Role),
}

impl fmt::Display for NotATable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Geometry => f.write_str(
                "the disk is too small for a partition table, or its block size is neither 512 nor 4096",
            ),
            Self::Truncated => f.write_str("partition table is truncated"),
            Self::Signature => f.write_str("there is no GUID partition table"),
            Self::HeaderChecksum => f.write_str("partition table header does not match its checksum"),
            Self::Header(field) => write!(f, "partition table header has an unsupported value: {field}"),
            Self::EntriesChecksum => f.write_str("partition entries do not match their checksum"),
            Self::EntryCount(count) => {
                write!(f, "partition table states {count} entries, {ENTRIES} are expected")
            }
            Self::Bounds(number) => write!(f, "partition {number} lies outside the disk"),
            Self::Overlap(a, b) => write!(f, "partitions {a} and {b} overlap"),
            Self::Number(number) => write!(f, "partition number {number} is out of order or above {ENTRIES}"),
            Self::Twice(role) => write!(f, "two partitions are of the type {}", role.label()),
        }
    }
}

impl core::error::Error for NotATable {}

/// Why a table could not be had from a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError<E> {
    /// The disk could not be read.
    Disk(E),
    /// It was read, and holds no valid table.
    Table(NotATable),
}

impl<E: fmt::Display> fmt::Display for ReadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(error) => write!(f, "cannot read the partition table: {error}"),
            Self::Table(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for ReadError<E> {}
