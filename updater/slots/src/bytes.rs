//! The record as bytes: `docs/formats/meta.md`.

use crate::blocked::{BLOCKED_MAX, Blocked};
use crate::fields::{
    array, encode_slot, encode_verdict, get32, get64, open, parse_slot, parse_verdict, put, seal,
};
use crate::record::{Floors, Record, Slot, SlotState};
use core::fmt;

/// Bytes of one encoded copy. It fits in one sector of every disk, so a device that writes sectors whole never tears it.
pub const COPY_BYTES: usize = 512;
/// Where the two copies stand in the `meta` partition: far apart, so that one bad region does not take both.
pub const COPY_OFFSETS: [u64; 2] = [0, 512 << 10];

const MAGIC: [u8; 8] = *b"CORAMETA";
const SLOTS_AT: usize = 32;
const SLOT_BYTES: usize = 64;
const FLOORS_AT: usize = 160;
const BLOCKED_AT: usize = 192;
const BLOCKED_BYTES: usize = 40;
const CHANNEL_FLOORS_AT: usize = 352;

/// Why bytes are not a record, last words or an entry of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotARecord {
    /// Too short.
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
            Self::Truncated => f.write_str("it is truncated"),
            Self::Magic => f.write_str("there is none"),
            Self::Checksum => f.write_str("it does not match its checksum"),
            Self::Version(version) => write!(f, "it has unknown version {version}"),
            Self::Field => f.write_str("it holds an undefined value"),
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
    let block: &[u8; COPY_BYTES] = open(bytes, MAGIC)?;
    parse_fields(block).ok_or(NotARecord::Field)
}

fn parse_fields(block: &[u8; COPY_BYTES]) -> Option<Record> {
    let at = |slot: Slot| SLOTS_AT + slot.index() * SLOT_BYTES;
    let state = |slot: Slot| parse_state(block[at(slot)], block[at(slot) + 1]);
    Some(Record {
        sequence: get64(block, 16),
        states: [state(Slot::A)?, state(Slot::B)?],
        releases: Slot::ALL.map(|slot| array(block, at(slot) + 8)),
        versions: Slot::ALL.map(|slot| get64(block, at(slot) + 40)),
        epochs: Slot::ALL.map(|slot| get32(block, at(slot) + 48)),
        last_good: parse_slot(block[24])?,
        booting: parse_slot(block[25])?,
        hold: match block[26] {
            0 => false,
            1 => true,
            _ => return None,
        },
        misses: block[27],
        dry_boots: block[28],
        floors: Floors {
            version: get64(block, FLOORS_AT),
            released: get64(block, FLOORS_AT + 8),
            epoch: get32(block, FLOORS_AT + 16),
            root_version: get32(block, FLOORS_AT + 20),
            issued: get64(block, CHANNEL_FLOORS_AT),
            timestamp_version: get32(block, CHANNEL_FLOORS_AT + 8),
        },
        blocked: parse_blocked(&block[BLOCKED_AT..BLOCKED_AT + BLOCKED_MAX * BLOCKED_BYTES])?,
    })
}

fn parse_blocked(bytes: &[u8]) -> Option<Blocked> {
    let mut blocked = Blocked::NONE;
    for bytes in bytes.chunks_exact(BLOCKED_BYTES).filter(|bytes| bytes[32] != 0) {
        blocked.push((array(bytes, 0), parse_verdict(bytes[32])?));
    }
    Some(blocked)
}

impl Record {
    /// One copy of the record.
    pub fn encode(&self) -> [u8; COPY_BYTES] {
        let mut out = [0; COPY_BYTES];
        put(&mut out, 16, &self.sequence.to_le_bytes());
        out[24] = encode_slot(self.last_good);
        out[25] = encode_slot(self.booting);
        out[26] = u8::from(self.hold);
        out[27] = self.misses;
        out[28] = self.dry_boots;
        for slot in Slot::ALL {
            let at = SLOTS_AT + slot.index() * SLOT_BYTES;
            (out[at], out[at + 1]) = encode_state(self.state(slot));
            put(&mut out, at + 8, &self.release(slot));
            put(&mut out, at + 40, &self.version(slot).to_le_bytes());
            put(&mut out, at + 48, &self.epoch(slot).to_le_bytes());
        }
        put(&mut out, FLOORS_AT, &self.floors.version.to_le_bytes());
        put(&mut out, FLOORS_AT + 8, &self.floors.released.to_le_bytes());
        put(&mut out, FLOORS_AT + 16, &self.floors.epoch.to_le_bytes());
        put(&mut out, FLOORS_AT + 20, &self.floors.root_version.to_le_bytes());
        put(&mut out, CHANNEL_FLOORS_AT, &self.floors.issued.to_le_bytes());
        put(&mut out, CHANNEL_FLOORS_AT + 8, &self.floors.timestamp_version.to_le_bytes());
        for (index, (release, verdict)) in self.blocked.entries().enumerate() {
            let at = BLOCKED_AT + index * BLOCKED_BYTES;
            put(&mut out, at, &release);
            out[at + 32] = encode_verdict(verdict);
        }
        seal(&mut out, MAGIC);
        out
    }
}

const fn encode_state(state: SlotState) -> (u8, u8) {
    match state {
        SlotState::Empty => (0, 0),
        SlotState::Written => (1, 0),
        SlotState::Trial { starts } => (2, starts),
        SlotState::Good => (3, 0),
        SlotState::Failed(verdict) => (4, encode_verdict(verdict)),
        SlotState::Damaged => (5, 0),
    }
}

fn parse_state(code: u8, detail: u8) -> Option<SlotState> {
    Some(match (code, detail) {
        (0, 0) => SlotState::Empty,
        (1, 0) => SlotState::Written,
        (2, starts) => SlotState::Trial { starts },
        (3, 0) => SlotState::Good,
        (4, verdict) => SlotState::Failed(parse_verdict(verdict)?),
        (5, 0) => SlotState::Damaged,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Verdict;
    use proptest::prelude::*;

    fn any_state() -> impl Strategy<Value = SlotState> {
        prop_oneof![
            Just(SlotState::Empty),
            Just(SlotState::Written),
            any::<u8>().prop_map(|starts| SlotState::Trial { starts }),
            Just(SlotState::Good),
            any_verdict().prop_map(SlotState::Failed),
            Just(SlotState::Damaged),
        ]
    }

    fn any_verdict() -> impl Strategy<Value = Verdict> {
        proptest::sample::select(&Verdict::ALL)
    }

    prop_compose! {
        fn any_record()(
            numbers: [u64; 6],
            a in any_state(),
            b in any_state(),
            releases: [[u8; 32]; 2],
            flags: [bool; 3],
            small: [u8; 2],
            floors: [u32; 3],
            epochs: [u32; 2],
            failed in proptest::collection::vec((any::<[u8; 32]>(), any_verdict()), 0..8),
        ) -> Record {
            let slot = |flag| if flag { Slot::A } else { Slot::B };
            Record {
                sequence: numbers[0],
                states: [a, b],
                releases,
                versions: [numbers[1], numbers[2]],
                epochs,
                last_good: slot(flags[0]),
                booting: slot(flags[1]),
                hold: flags[2],
                misses: small[0],
                dry_boots: small[1],
                floors: Floors {
                    version: numbers[3],
                    released: numbers[4],
                    epoch: floors[0],
                    root_version: floors[1],
                    timestamp_version: floors[2],
                    issued: numbers[5],
                },
                blocked: failed.into_iter().fold(Blocked::NONE, |list, (release, verdict)| list.with(release, verdict)),
            }
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
        let good = Record::shipped([9; 32], 1, 0).encode();
        for bit in 0..COPY_BYTES * 8 {
            let mut damaged = good;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn the_next_write_goes_over_the_older_copy() {
        let old = Record::shipped([9; 32], 1, 0);
        let new = old.damage(Slot::B);
        let found = parse_copies(&old.encode(), &new.encode()).unwrap();
        assert_eq!((found.record, found.copy, found.next_offset()), (new, 1, COPY_OFFSETS[0]));
        assert_eq!(parse_copies(&[0; 512], &[]), Err([NotARecord::Magic, NotARecord::Truncated]));
    }
}
