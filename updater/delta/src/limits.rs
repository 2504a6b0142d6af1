//! What a delta may demand of its reader.

/// Bytes of one file, old or new, at most.
pub const FILE_BYTES_MAX: u64 = 1 << 32;
/// Copies in one file at most.
pub const COPIES_MAX: usize = 1 << 18;
/// Segments of an address space at most.
pub const SEGMENTS_MAX: usize = 64;
/// Bytes of the old file that are read at once.
pub const PIECE_BYTES: usize = 64 << 10;
/// Bytes of the new file that are held before they are written.
pub const OUTPUT_BYTES: usize = 64 << 10;
