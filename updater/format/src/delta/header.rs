//! The first bytes of a delta: what it starts from, and how long everything else is.

use super::{DELTA_VERSION, NotADelta, TABLE_STORED_BYTES_MAX, varint::Reader};
use crate::{
    bundle::{INDEX_BYTES_MAX, METADATA_BYTES_MAX},
    checksum::CRC,
};
use sha2::{Digest as _, Sha256};

const MAGIC: [u8; 8] = *b"CORADLTA";
/// Bytes of the header.
pub const HEADER_BYTES: usize = 132;
const CRC_AT: usize = HEADER_BYTES - 4;

/// What a delta starts from, and how long its parts are. Metadata follows the header, index the metadata, table the index,
/// streams the table, and nothing follows the streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of metadata, at most [`METADATA_BYTES_MAX`]; 0: nobody has signed the release that it leads to.
    pub metadata: u32,
    /// Bytes of the index: 1 to [`INDEX_BYTES_MAX`].
    pub index: u32,
    /// Bytes of the table as it is stored: 1 to [`TABLE_STORED_BYTES_MAX`].
    pub table: u32,
    /// Bytes of all that operations carry.
    pub streams: u64,
    /// The release that it starts from: SHA-256 of its boot artefact.
    pub base: [u8; 32],
    /// SHA-256 of the metadata: finds damage, proves nothing.
    pub metadata_sha256: [u8; 32],
    /// SHA-256 of the table as it is stored.
    pub table_sha256: [u8; 32],
}

/// The pieces that stand between header and streams.
#[derive(Clone, Copy, Debug)]
pub struct Pieces<'a> {
    /// Signed metadata.
    pub metadata: &'a [u8],
    /// The index.
    pub index: &'a [u8],
    /// The table as it is stored.
    pub table: &'a [u8],
}

impl Header {
    /// The header in front of these pieces; `None` if one is over its limit.
    pub fn of(base: [u8; 32], pieces: &Pieces<'_>, streams: u64) -> Option<Self> {
        let this = Self {
            metadata: u32::try_from(pieces.metadata.len()).ok()?,
            index: u32::try_from(pieces.index.len()).ok()?,
            table: u32::try_from(pieces.table.len()).ok()?,
            streams,
            base,
            metadata_sha256: Sha256::digest(pieces.metadata).into(),
            table_sha256: Sha256::digest(pieces.table).into(),
        };
        this.check().ok().map(|()| this)
    }

    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&DELTA_VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&self.metadata.to_le_bytes());
        out[16..24].copy_from_slice(&self.streams.to_le_bytes());
        out[24..28].copy_from_slice(&self.index.to_le_bytes());
        out[28..32].copy_from_slice(&self.table.to_le_bytes());
        out[32..64].copy_from_slice(&self.base);
        out[64..96].copy_from_slice(&self.metadata_sha256);
        out[96..CRC_AT].copy_from_slice(&self.table_sha256);
        let sum = CRC.checksum(&out[..CRC_AT]);
        out[CRC_AT..].copy_from_slice(&sum.to_le_bytes());
        out
    }

    /// Whether bytes begin as a delta does.
    pub fn is_delta(bytes: &[u8]) -> bool {
        bytes.starts_with(&MAGIC)
    }

    /// Parses the first [`HEADER_BYTES`] of a delta; what follows them is not looked at.
    pub fn parse(bytes: &[u8]) -> Result<Self, NotADelta> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(NotADelta::Length)?;
        let mut reader = Reader(bytes);
        if *reader.take()? != MAGIC {
            return Err(NotADelta::Magic);
        }
        // The version first: another version may have its checksum elsewhere.
        let version = u32::from_le_bytes(*reader.take()?);
        if version != DELTA_VERSION {
            return Err(NotADelta::Version(version));
        }
        let this = Self {
            metadata: u32::from_le_bytes(*reader.take()?),
            streams: u64::from_le_bytes(*reader.take()?),
            index: u32::from_le_bytes(*reader.take()?),
            table: u32::from_le_bytes(*reader.take()?),
            base: *reader.take()?,
            metadata_sha256: *reader.take()?,
            table_sha256: *reader.take()?,
        };
        if u32::from_le_bytes(*reader.take()?) != CRC.checksum(&bytes[..CRC_AT]) {
            return Err(NotADelta::Checksum);
        }
        this.check().map(|()| this)
    }

    /// Checks metadata that was read from behind the header.
    pub fn check_metadata(&self, metadata: &[u8]) -> Result<(), NotADelta> {
        check(metadata, self.metadata, &self.metadata_sha256, NotADelta::MetadataDigest)
    }

    /// Checks a table that was read from behind the index.
    pub fn check_table(&self, table: &[u8]) -> Result<(), NotADelta> {
        check(table, self.table, &self.table_sha256, NotADelta::TableDigest)
    }

    /// Where the metadata begins.
    pub const fn metadata_offset(&self) -> u64 {
        132
    }

    /// Where the index begins.
    pub fn index_offset(&self) -> u64 {
        self.metadata_offset() + u64::from(self.metadata)
    }

    /// Where the table begins.
    pub fn table_offset(&self) -> u64 {
        self.index_offset() + u64::from(self.index)
    }

    /// Where the streams begin.
    pub fn streams_offset(&self) -> u64 {
        self.table_offset() + u64::from(self.table)
    }

    /// Bytes of the whole delta.
    pub fn total(&self) -> u64 {
        // `check` has made sure that this does not overflow.
        self.streams_offset().saturating_add(self.streams)
    }

    fn check(&self) -> Result<(), NotADelta> {
        let within = |value: u32, limit: usize| usize::try_from(value).is_ok_and(|value| value <= limit);
        let is_within = within(self.metadata, METADATA_BYTES_MAX)
            && (self.index > 0 && within(self.index, INDEX_BYTES_MAX))
            && (self.table > 0 && within(self.table, TABLE_STORED_BYTES_MAX))
            && self.streams_offset().checked_add(self.streams).is_some();
        if is_within { Ok(()) } else { Err(NotADelta::Limit) }
    }
}

fn check(bytes: &[u8], length: u32, digest: &[u8; 32], wrong: NotADelta) -> Result<(), NotADelta> {
    if u32::try_from(bytes.len()) != Ok(length) {
        return Err(NotADelta::Length);
    }
    if Sha256::digest(bytes)[..] == digest[..] { Ok(()) } else { Err(wrong) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Header {
        let pieces = Pieces { metadata: b"metadata", index: b"index", table: b"tbl" };
        Header::of([9; 32], &pieces, 13_000_000).unwrap()
    }

    #[test]
    fn the_bytes_of_a_header_are_these() {
        let bytes = sample().encode();
        assert_eq!(bytes[..32], *b"CORADLTA\x01\0\0\0\x08\0\0\0\x40\x5d\xc6\0\0\0\0\0\x05\0\0\0\x03\0\0\0");
        assert_eq!(bytes[32..64], [9; 32]);
        assert_eq!(bytes[64..96], Sha256::digest(b"metadata")[..]);
        assert_eq!(bytes[96..128], Sha256::digest(b"tbl")[..]);
        assert_eq!(Header::parse(&bytes), Ok(sample()));
        assert_eq!(sample().total(), 132 + 8 + 5 + 3 + 13_000_000);
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
    fn lengths_over_their_limits_and_cuts_are_refused() {
        let limit = |change: fn(&mut Header)| {
            let mut header = sample();
            change(&mut header);
            Header::parse(&header.encode()).map(drop)
        };
        assert_eq!(limit(|header| header.metadata = 0), Ok(()));
        assert_eq!(limit(|header| header.metadata = (1 << 20) + 1), Err(NotADelta::Limit));
        assert_eq!(limit(|header| header.index = 0), Err(NotADelta::Limit));
        assert_eq!(limit(|header| header.index = (4 << 20) + 1), Err(NotADelta::Limit));
        assert_eq!(limit(|header| header.table = 0), Err(NotADelta::Limit));
        assert_eq!(limit(|header| header.table = (4 << 20) + 1), Err(NotADelta::Limit));
        assert_eq!(limit(|header| header.streams = u64::MAX), Err(NotADelta::Limit));
        let bytes = sample().encode();
        for end in 0..HEADER_BYTES {
            assert_eq!(Header::parse(&bytes[..end]), Err(NotADelta::Length), "cut at {end}");
        }
    }

    #[test]
    fn other_pieces_than_the_headers_are_noticed() {
        assert_eq!(sample().check_metadata(b"metadata"), Ok(()));
        assert_eq!(sample().check_metadata(b"metadatb"), Err(NotADelta::MetadataDigest));
        assert_eq!(sample().check_table(b"tbl"), Ok(()));
        assert_eq!(sample().check_table(b"tbm"), Err(NotADelta::TableDigest));
        assert_eq!(sample().check_table(b"tb"), Err(NotADelta::Length));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_header_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(header) = Header::parse(&bytes) {
                prop_assert_eq!(&header.encode()[..], &bytes[..HEADER_BYTES]);
            }
        }
    }
}
