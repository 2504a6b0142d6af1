//! What a delta may demand of its reader.

use crate::{content::HITS_BYTES, lines::LINE_BYTES, scale::Scale};

/// Bytes of one file, old or new, at most.
pub const FILE_BYTES_MAX: u64 = (1 << 32) - 1;
/// Copies in one file at most; a small stream has a quarter of that.
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

/// Pieces of a new file that are not made.
pub const HOLES_MAX: usize = 1 << 10;
/// Pieces of code in a new file whose operands are told by where they go.
pub const CODE_MAX: usize = 64;
/// A stream of no more bytes has to do with small tables.
pub const SMALL_STREAM_BYTES_MAX: usize = 1 << 19;

/// Bytes of memory that making the files of a stream takes at most, whatever the stream and the old files are, beside the
/// stream itself; and of one of at most [`SMALL_STREAM_BYTES_MAX`].
pub const APPLY_BYTES: usize = apply_bytes(Scale::Large);
/// The same of a small one.
pub const APPLY_SMALL_BYTES: usize = apply_bytes(Scale::Small);

const fn apply_bytes(scale: Scale) -> usize {
    let lines = scale.contexts() * (LINE_BYTES << scale.line_bits());
    let repeats = (1 << scale.repeat_bits()) + (4 << scale.place_bits());
    lines
        + repeats
        + HITS_BYTES
        + 2 * scale.copies_max() * COPY_BYTES
        + LEARNT_BYTES
        + 3 * SHIFTS_MAX * SHIFT_BYTES
        + 4 * ORDERED_MAX
        + (16 << 20) / 16
        + SMALL_BYTES
}

/// In the order of the new file, and of the old one.
const COPY_BYTES: usize = 12;
/// Targets that the copies did not tell.
const LEARNT_BYTES: usize = 16 << 17;
/// With what a tree needs around it when its nodes are half full.
const SHIFT_BYTES: usize = 20;
/// Weights, tables of logits, what became of probabilities, headers, buffers.
const SMALL_BYTES: usize = 5 << 19;
