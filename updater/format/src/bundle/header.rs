//! The first bytes of a bundle: how long everything else is.

use super::{BUNDLE_VERSION, INDEX_BYTES_MAX, METADATA_BYTES_MAX, NotABundle, Reader};
use crate::checksum::CRC;
use sha2::{Digest as _, Sha256};

const MAGIC: [u8; 8] = *b"CORABNDL";
/// Bytes of the header.
pub const HEADER_BYTES: usize = 64;
const CRC_AT: usize = HEADER_BYTES - 4;

/// How long the parts of a bundle's file are. Metadata follows the header, index the metadata, frames the index, and
/// nothing follows the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of metadata: 1 to [`METADATA_BYTES_MAX`].
    pub metadata: u32,
    /// Bytes of the index: 1 to [`INDEX_BYTES_MAX`].
    pub index: u32,
    /// Bytes of all stored frames.
    pub frames: u64,
    /// SHA-256 of the metadata: finds damage, proves nothing.
    pub metadata_sha256: [u8; 32],
}

impl Header {
    /// The header in front of these pieces; `None` if one is over its limit.
    pub fn of(metadata: &[u8], index: &[u8], frames: u64) -> Option<Self> {
        let this = Self {
            metadata: u32::try_from(metadata.len()).ok()?,
            index: u32::try_from(index.len()).ok()?,
            frames,
            metadata_sha256: Sha256::digest(metadata).into(),
        };
        this.check().ok().map(|()| this)
    }

    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&BUNDLE_VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&self.metadata.to_le_bytes());
        out[16..24].copy_from_slice(&self.frames.to_le_bytes());
        out[24..28].copy_from_slice(&self.index.to_le_bytes());
        out[28..CRC_AT].copy_from_slice(&self.metadata_sha256);
        let sum = CRC.checksum(&out[..CRC_AT]);
        out[CRC_AT..].copy_from_slice(&sum.to_le_bytes());
        out
    }

    /// Parses the first [`HEADER_BYTES`] of a bundle; what follows them is not looked at.
    pub fn parse(bytes: &[u8]) -> Result<Self, NotABundle> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(NotABundle::Length)?;
        let mut reader = Reader(bytes);
        if *reader.take()? != MAGIC {
            return Err(NotABundle::Magic);
        }
        // The version first: another version may have its checksum elsewhere.
        let version = reader.u32()?;
        if version != BUNDLE_VERSION {
            return Err(NotABundle::Version(version));
        }
        let metadata = reader.u32()?;
        let frames = reader.u64()?;
        let index = reader.u32()?;
        let metadata_sha256 = *reader.take()?;
        if reader.u32()? != CRC.checksum(&bytes[..CRC_AT]) {
            return Err(NotABundle::Checksum);
        }
        let this = Self { metadata, index, frames, metadata_sha256 };
        this.check().map(|()| this)
    }

    /// Checks metadata that was read from behind the header.
    pub fn check_metadata(&self, metadata: &[u8]) -> Result<(), NotABundle> {
        if u32::try_from(metadata.len()) != Ok(self.metadata) {
            return Err(NotABundle::Length);
        }
        if Sha256::digest(metadata)[..] != self.metadata_sha256 {
            return Err(NotABundle::MetadataDigest);
        }
        Ok(())
    }

    /// Where the metadata begins.
    pub const fn metadata_offset(&self) -> u64 {
        64
    }

    /// Where the index begins.
    pub fn index_offset(&self) -> u64 {
        self.metadata_offset() + u64::from(self.metadata)
    }

    /// Where the frames begin.
    pub fn frames_offset(&self) -> u64 {
        self.index_offset() + u64::from(self.index)
    }

    /// Bytes of the whole bundle.
    pub fn total(&self) -> u64 {
        // `check` has made sure that this does not overflow.
        self.frames_offset().saturating_add(self.frames)
    }

    fn check(&self) -> Result<(), NotABundle> {
        let within =
            |value: u32, limit: usize| value > 0 && usize::try_from(value).is_ok_and(|value| value <= limit);
        let total = self.frames_offset().checked_add(self.frames);
        if within(self.metadata, METADATA_BYTES_MAX) && within(self.index, INDEX_BYTES_MAX) && total.is_some()
        {
            Ok(())
        } else {
            Err(NotABundle::Limit)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Header {
        Header::of(b"metadata", b"index", 13_000_000).unwrap()
    }

    #[test]
    fn the_bytes_of_a_header_are_these() {
        let bytes = sample().encode();
        assert_eq!(bytes[..28], *b"CORABNDL\x01\0\0\0\x08\0\0\0\x40\x5d\xc6\0\0\0\0\0\x05\0\0\0");
        assert_eq!(bytes[28..60], Sha256::digest(b"metadata")[..]);
        assert_eq!(bytes[60..], [0x2a, 0x07, 0xbf, 0x8e]);
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let bytes = sample().encode();
        for bit in 0..HEADER_BYTES * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::parse(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_cut_header_is_refused_and_bytes_behind_it_are_left_alone() {
        let bytes = sample().encode();
        for end in 0..HEADER_BYTES {
            assert_eq!(Header::parse(&bytes[..end]), Err(NotABundle::Length), "cut at {end}");
        }
        let longer = [&bytes[..], b"metadata"].concat();
        assert_eq!(Header::parse(&longer), Ok(sample()));
    }

    #[test]
    fn lengths_over_their_limits_are_refused() {
        let limit = |change: fn(&mut Header)| {
            let mut header = sample();
            change(&mut header);
            Header::parse(&header.encode())
        };
        assert_eq!(limit(|header| header.metadata = (1 << 20) + 1), Err(NotABundle::Limit));
        assert_eq!(limit(|header| header.index = (4 << 20) + 1), Err(NotABundle::Limit));
        assert_eq!(limit(|header| header.metadata = 0), Err(NotABundle::Limit));
        assert_eq!(limit(|header| header.index = 0), Err(NotABundle::Limit));
        assert_eq!(limit(|header| header.frames = u64::MAX), Err(NotABundle::Limit));
        limit(|header| header.metadata = 1 << 20).unwrap();
    }

    #[test]
    fn other_metadata_than_the_headers_is_noticed() {
        assert_eq!(sample().check_metadata(b"metadata"), Ok(()));
        assert_eq!(sample().check_metadata(b"metadatb"), Err(NotABundle::MetadataDigest));
        assert_eq!(sample().check_metadata(b"metadat"), Err(NotABundle::Length));
    }

    proptest! {
        #[test]
        fn headers_survive_the_round_trip(metadata in 1_u32..=1 << 20, index in 1_u32..=4 << 20, frames in 0..u64::MAX >> 1, metadata_sha256: [u8; 32]) {
            let header = Header { metadata, index, frames, metadata_sha256 };
            prop_assert_eq!(Header::parse(&header.encode()), Ok(header));
        }
    }
}
