//! Right checksums on wrong bytes.

use sha2::{Digest as _, Sha256};

const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// Writes the SHA-256 of `bytes[from..to]` to `at`; a range outside is left alone.
pub(super) fn sha256(bytes: &mut [u8], from: usize, to: usize, at: usize) {
    let Some(digest) = bytes.get(from..to).map(Sha256::digest) else {
        return;
    };
    if let Some(place) = bytes.get_mut(at..at + 32) {
        place.copy_from_slice(&digest);
    }
}

/// Writes the CRC-32 of `bytes[from..to]` to `at`, after clearing it there.
pub(super) fn crc32(bytes: &mut [u8], from: usize, to: usize, at: usize) {
    put32(bytes, at, 0);
    if let Some(sum) = bytes.get(from..to).map(|range| CRC.checksum(range)) {
        put32(bytes, at, sum);
    }
}

/// Writes a little-endian number to `at`.
pub(super) fn put32(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(place) = bytes.get_mut(at..at + 4) {
        place.copy_from_slice(&value.to_le_bytes());
    }
}
