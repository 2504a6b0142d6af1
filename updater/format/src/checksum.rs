//! The checksum that finds damage in what nobody signs.

use crc::{CRC_32_ISO_HDLC, Crc, NoTable};

/// CRC-32 (IEEE), without a lookup table: the selector has to stay small, and what is summed is short
/// (`docs/decisions/crc-without-table.md`).
pub(crate) const CRC: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC);
