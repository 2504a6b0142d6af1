//! The record as bytes: `docs/formats/meta.md`.

use crate::record::{Record, Slot, SlotState, Verdict};
use core::fmt;
use crc::{CRC_32_ISO_HDLC, Crc, NoTable};

/// Bytes of one encoded copy. It fits in one sector of every disk, so a device that writes sectors whole never tears it.
pub const COPY_BYTES: usize = 512;
/// Where the two copies stand in the `meta` partition: far apart, so that one bad region does not take both.
pub const COPY_OFFSETS: [u64; 2] = [0, 512 << 10];

/// Without a lookup table: the selector has to stay small, and 512 bytes are soon summed.
const CRC: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC);
const MAGIC: [u8; 8] = *b"CORAMETA";
const VERSION: u32 = 0;
const CHECKSUM_AT: usize = COPY_BYTES - 4;
const SLOTS_AT: usize = 32;
const SLOT_BYTES: usize = 64;

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotARecord {
    /// Shorter than [`COPY_BYTES`].
    Truncated,
    /// Another magic number.
    Magic,
    /// The checksum does not match: torn or damaged.
    Checksum,
    /// A version this program does not know.
    Version(u32),
    /// A field holds a value that is not defined.
    Field,
}

impl fmt::Display for NotARecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("slot record is truncated"),
            Self::Magic => f.write_str("no slot record"),
            Self::Checksum => f.write_str("slot record does not match its checksum"),
            Self::Version(version) => write!(f, "slot record has unknown version {version}"),
            Self::Field => f.write_str("slot record holds an undefined value"),
        }
    }
}

impl core::error::Error for NotARecord {}

/// The newest readable copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The record.
    pub record: Record,
    /// Which copy it was: an index into [`COPY_OFFSETS`].
    pub copy: usize,
}

impl Found {
    /// Where the next record must be written: over the older copy.
    pub const fn next_offset(&self) -> u64 {
        COPY_OFFSETS[1 - self.copy % 2]
    }
}

/// The newer of the two copies that is whole, or why neither is.
pub fn parse_copies(first: &[u8], second: &[u8]) -> Result<Found, [NotARecord; 2]> {
    match (parse(first), parse(second)) {
        (Ok(a), Ok(b)) if b.sequence > a.sequence => Ok(Found { record: b, copy: 1 }),
        (Ok(record), Ok(_) | Err(_)) => Ok(Found { record, copy: 0 }),
        (Err(_), Ok(record)) => Ok(Found { record, copy: 1 }),
        (Err(a), Err(b)) => Err([a, b]),
    }
}

/// The record in one copy.
pub fn parse(bytes: &[u8]) -> Result<Record, NotARecord> {
    let bytes: &[u8; COPY_BYTES] = bytes.first_chunk().ok_or(NotARecord::Truncated)?;
    if bytes[..8] != MAGIC {
        return Err(NotARecord::Magic);
    }
    if CRC.checksum(&bytes[..CHECKSUM_AT]).to_le_bytes() != bytes[CHECKSUM_AT..] {
        return Err(NotARecord::Checksum);
    }
    let version = u32::from_le_bytes(array(bytes, 8));
    if version != VERSION {
        return Err(NotARecord::Version(version));
    }
    let slot = |index: usize| -> Result<(SlotState, [u8; 32]), NotARecord> {
        let at = SLOTS_AT + index * SLOT_BYTES;
        let state = parse_state(bytes[at], bytes[at + 1]).ok_or(NotARecord::Field)?;
        Ok((state, array(bytes, at + 8)))
    };
    let (a, b) = (slot(0)?, slot(1)?);
    Ok(Record {
        sequence: u64::from_le_bytes(array(bytes, 16)),
        states: [a.0, b.0],
        releases: [a.1, b.1],
        last_good: parse_slot(bytes[24]).ok_or(NotARecord::Field)?,
        booting: parse_slot(bytes[25]).ok_or(NotARecord::Field)?,
    })
}

impl Record {
    /// One copy of the record.
    pub fn encode(&self) -> [u8; COPY_BYTES] {
        let mut out = [0; COPY_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        out[24] = encode_slot(self.last_good);
        out[25] = encode_slot(self.booting);
        for (index, slot) in Slot::ALL.into_iter().enumerate() {
            let at = SLOTS_AT + index * SLOT_BYTES;
            (out[at], out[at + 1]) = encode_state(self.state(slot));
            out[at + 8..at + 40].copy_from_slice(&self.release(slot));
        }
        let checksum = CRC.checksum(&out[..CHECKSUM_AT]);
        out[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
        out
    }
}

fn array<const N: usize>(bytes: &[u8; COPY_BYTES], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

const fn encode_slot(slot: Slot) -> u8 {
    match slot {
        Slot::A => 1,
        Slot::B => 2,
    }
}

const fn parse_slot(byte: u8) -> Option<Slot> {
    match byte {
        1 => Some(Slot::A),
        2 => Some(Slot::B),
        _ => None,
    }
}

const fn encode_state(state: SlotState) -> (u8, u8) {
    match state {
        SlotState::Empty => (0, 0),
        SlotState::Written => (1, 0),
        SlotState::Trial { starts } => (2, starts),
        SlotState::Good => (3, 0),
        SlotState::Failed(verdict) => (
            4,
            match verdict {
                Verdict::Panic => 1,
                Verdict::Deadline => 2,
                Verdict::Unhealthy => 3,
                Verdict::NoVerdict => 4,
                Verdict::Refused => 5,
            },
        ),
        SlotState::Damaged => (5, 0),
    }
}

const fn parse_state(code: u8, detail: u8) -> Option<SlotState> {
    Some(match (code, detail) {
        (0, 0) => SlotState::Empty,
        (1, 0) => SlotState::Written,
        (2, starts) => SlotState::Trial { starts },
        (3, 0) => SlotState::Good,
        (4, 1) => SlotState::Failed(Verdict::Panic),
        (4, 2) => SlotState::Failed(Verdict::Deadline),
        (4, 3) => SlotState::Failed(Verdict::Unhealthy),
        (4, 4) => SlotState::Failed(Verdict::NoVerdict),
        (4, 5) => SlotState::Failed(Verdict::Refused),
        (5, 0) => SlotState::Damaged,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_state() -> impl Strategy<Value = SlotState> {
        prop_oneof![
            Just(SlotState::Empty),
            Just(SlotState::Written),
            any::<u8>().prop_map(|starts| SlotState::Trial { starts }),
            Just(SlotState::Good),
            Just(SlotState::Failed(Verdict::Deadline)),
            Just(SlotState::Damaged),
        ]
    }

    prop_compose! {
        fn any_record()(sequence: u64, a in any_state(), b in any_state(), releases: [[u8; 32]; 2], flags: [bool; 2])
            -> Record
        {
            let slot = |flag| if flag { Slot::A } else { Slot::B };
            Record { sequence, states: [a, b], releases, last_good: slot(flags[0]), booting: slot(flags[1]) }
        }
    }

    proptest! {
        #[test]
        fn a_record_survives_the_round_trip(record in any_record()) {
            prop_assert_eq!(parse(&record.encode()), Ok(record));
        }

        #[test]
        fn a_torn_copy_leaves_the_other(record in any_record(), cut in 0..COPY_BYTES) {
            let next = record.damage(Slot::A);
            prop_assume!(next != record);
            let (old, mut torn) = (record.encode(), record.encode());
            torn[..cut].copy_from_slice(&next.encode()[..cut]);
            let found = parse_copies(&old, &torn).unwrap();
            prop_assert!(found.record == record || found.record == next);
        }

        #[test]
        fn arbitrary_bytes_are_never_a_record(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(parse(&bytes).is_err());
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = Record::shipped([9; 32]).encode();
        for bit in 0..COPY_BYTES * 8 {
            let mut damaged = good;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn the_next_write_goes_over_the_older_copy() {
        let old = Record::shipped([9; 32]);
        let new = old.damage(Slot::B);
        let found = parse_copies(&old.encode(), &new.encode()).unwrap();
        assert_eq!((found.record, found.copy, found.next_offset()), (new, 1, COPY_OFFSETS[0]));
        assert_eq!(parse_copies(&[0; 512], &[]), Err([NotARecord::Magic, NotARecord::Truncated]));
    }
}
