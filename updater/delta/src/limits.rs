//! What a delta may demand of its reader.

/// Bytes of one file, old or new, at most.
pub const FILE_BYTES_MAX: u64 = (1 << 32) - 1;
/// Copies in one file at most.
pub const COPIES_MAX: usize = 1 << 18;
/// Segments of an address space at most.
pub const SEGMENTS_MAX: usize = 64;
/// Bytes of the old file that are read at once.
pub const PIECE_BYTES: usize = 64 << 10;
/// Bytes of the new file that are held before they are written.
pub const OUTPUT_BYTES: usize = 64 << 10;
/// Sections of an old file that are looked at; a file with more has none.
pub const SECTIONS_MAX: usize = 256;
/// Bytes of the names of sections that are looked at.
pub const SECTION_NAMES_BYTES_MAX: usize = 64 << 10;
/// Symbols among which those of sections are.
pub const SECTION_SYMBOLS_MAX: usize = 512;
/// Bytes of descriptions of types that are looked at.
pub const TYPES_BYTES_MAX: u64 = 16 << 20;
/// Numbers of one kind whose shifts are kept.
pub const SHIFTS_MAX: usize = 1 << 16;
/// Records of ascending tables that are kept in order.
pub const ORDERED_MAX: usize = 1 << 20;
/// Tables of one file that are told.
pub const TABLES_MAX: usize = 16;
