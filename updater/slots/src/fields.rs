//! Fields at fixed places of a block that ends with its checksum, and the codes that several formats share.

use crate::bytes::NotARecord;
use crate::record::{Slot, Verdict};
use crc::{CRC_32_ISO_HDLC, Crc, NoTable};

/// Without a lookup table: the selector has to stay small, and a few hundred bytes are soon summed.
const CRC: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC);
/// The version of everything in `meta`.
const VERSION: u32 = 0;

/// Puts magic number, version and checksum into a block that has everything else.
pub(crate) fn seal<const N: usize>(block: &mut [u8; N], magic: [u8; 8]) {
    block[..8].copy_from_slice(&magic);
    block[8..12].copy_from_slice(&VERSION.to_le_bytes());
    let checksum = CRC.checksum(&block[..N - 4]);
    block[N - 4..].copy_from_slice(&checksum.to_le_bytes());
}

/// The block at the start of `bytes`, if it is whole and of this kind.
pub(crate) fn open<const N: usize>(bytes: &[u8], magic: [u8; 8]) -> Result<&[u8; N], NotARecord> {
    let block: &[u8; N] = bytes.first_chunk().ok_or(NotARecord::Truncated)?;
    if block[..8] != magic {
        return Err(NotARecord::Magic);
    }
    if CRC.checksum(&block[..N - 4]).to_le_bytes() != block[N - 4..] {
        return Err(NotARecord::Checksum);
    }
    match u32::from_le_bytes(array(block, 8)) {
        VERSION => Ok(block),
        version => Err(NotARecord::Version(version)),
    }
}

pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

pub(crate) fn get64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

pub(crate) fn get32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

pub(crate) fn put(block: &mut [u8], at: usize, bytes: &[u8]) {
    block[at..at + bytes.len()].copy_from_slice(bytes);
}

pub(crate) const fn encode_slot(slot: Slot) -> u8 {
    match slot {
        Slot::A => 1,
        Slot::B => 2,
    }
}

pub(crate) const fn parse_slot(byte: u8) -> Option<Slot> {
    match byte {
        1 => Some(Slot::A),
        2 => Some(Slot::B),
        _ => None,
    }
}

pub(crate) const fn encode_verdict(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Panic => 1,
        Verdict::Deadline => 2,
        Verdict::Unhealthy => 3,
        Verdict::NoVerdict => 4,
        Verdict::Refused => 5,
        Verdict::Gate => 6,
        Verdict::ByHand => 7,
    }
}

pub(crate) const fn parse_verdict(byte: u8) -> Option<Verdict> {
    Some(match byte {
        1 => Verdict::Panic,
        2 => Verdict::Deadline,
        3 => Verdict::Unhealthy,
        4 => Verdict::NoVerdict,
        5 => Verdict::Refused,
        6 => Verdict::Gate,
        7 => Verdict::ByHand,
        _ => return None,
    })
}
