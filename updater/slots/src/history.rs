//! What happened to the slots: a ring of entries of one sector each. See `docs/formats/meta.md`.
//!
//! The history tells, it decides nothing: what is true stands in the record.

use crate::bytes::NotARecord;
use crate::fields::{array, encode_slot, encode_verdict, get64, open, parse_slot, parse_verdict, put, seal};
use crate::record::{Release, Slot, Verdict};
use crate::text::Text;
use core::fmt;

/// Bytes of one entry.
pub const ENTRY_BYTES: usize = 512;
/// Entries in the ring.
pub const ENTRIES: usize = 128;
/// Where the ring stands in the `meta` partition.
pub const HISTORY_OFFSET: u64 = 128 << 10;
/// Bytes of the ring.
pub const HISTORY_BYTES: usize = ENTRY_BYTES * ENTRIES;

const MAGIC: [u8; 8] = *b"CORAHIST";

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A release was written to a slot and read back.
    Applied,
    /// It boots next, on trial.
    Armed,
    /// It was healthy and is good.
    Committed,
    /// It failed its trial.
    Failed,
    /// The reason of a failure without a verdict was found.
    Explained,
    /// An operator went back to the other slot.
    RolledBack,
    /// The hold after that was released.
    HoldReleased,
    /// An operator asked to try a failed release again.
    Retried,
    /// A slot's bytes did not match their hashes.
    Damaged,
    /// A good slot could not be started.
    NotStarted,
    /// The record was unreadable and made anew.
    Rebuilt,
    /// A slot was emptied, since its release is of a lower security epoch than the one that was committed.
    Retired,
    /// An operator took back a release that was armed.
    Dropped,
}

impl Event {
    /// Every event, in the order of their codes, which begin with 1.
    pub const ALL: [Self; 13] = [
        Self::Applied,
        Self::Armed,
        Self::Committed,
        Self::Failed,
        Self::Explained,
        Self::RolledBack,
        Self::HoldReleased,
        Self::Retried,
        Self::Damaged,
        Self::NotStarted,
        Self::Rebuilt,
        Self::Retired,
        Self::Dropped,
    ];

    const fn code(self) -> u8 {
        match self {
            Self::Applied => 1,
            Self::Armed => 2,
            Self::Committed => 3,
            Self::Failed => 4,
            Self::Explained => 5,
            Self::RolledBack => 6,
            Self::HoldReleased => 7,
            Self::Retried => 8,
            Self::Damaged => 9,
            Self::NotStarted => 10,
            Self::Rebuilt => 11,
            Self::Retired => 12,
            Self::Dropped => 13,
        }
    }

    fn parse(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.code() == code)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Applied => "applied",
            Self::Armed => "armed",
            Self::Committed => "committed",
            Self::Failed => "failed",
            Self::Explained => "explained",
            Self::RolledBack => "rolled back",
            Self::HoldReleased => "hold released",
            Self::Retried => "retried",
            Self::Damaged => "damaged",
            Self::NotStarted => "not started",
            Self::Rebuilt => "record rebuilt",
            Self::Retired => "retired",
            Self::Dropped => "dropped",
        })
    }
}

/// One entry of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Counts the entries of this machine; set when the entry is written.
    pub sequence: u64,
    /// What happened.
    pub event: Event,
    /// To which slot.
    pub slot: Slot,
    /// Which release was in it; zeros where it is unknown.
    pub release: Release,
    /// Its version as its maker wrote it; empty where it is unknown.
    pub version: Text<64>,
    /// When, Unix seconds; 0 while the clock was not set.
    pub at: u64,
    /// The verdict, where there is one.
    pub verdict: Option<Verdict>,
    /// More in words; may be empty.
    pub detail: Text<128>,
}

impl Entry {
    /// An entry without version, clock, verdict and detail.
    pub const fn new(event: Event, slot: Slot, release: Release) -> Self {
        Self {
            sequence: 0,
            event,
            slot,
            release,
            version: Text::EMPTY,
            at: 0,
            verdict: None,
            detail: Text::EMPTY,
        }
    }

    /// The entry's sector.
    pub fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut out = [0; ENTRY_BYTES];
        put(&mut out, 16, &self.sequence.to_le_bytes());
        put(&mut out, 24, &self.at.to_le_bytes());
        out[32] = self.event.code();
        out[33] = encode_slot(self.slot);
        out[34] = self.verdict.map_or(0, encode_verdict);
        put(&mut out, 64, &self.release);
        put(&mut out, 96, self.version.bytes());
        put(&mut out, 160, self.detail.bytes());
        seal(&mut out, MAGIC);
        out
    }
}

/// The entry in one sector.
pub fn parse(bytes: &[u8]) -> Result<Entry, NotARecord> {
    let block: &[u8; ENTRY_BYTES] = open(bytes, MAGIC)?;
    parse_fields(block).ok_or(NotARecord::Field)
}

fn parse_fields(block: &[u8; ENTRY_BYTES]) -> Option<Entry> {
    Some(Entry {
        sequence: get64(block, 16),
        event: Event::parse(block[32])?,
        slot: parse_slot(block[33])?,
        release: array(block, 64),
        version: Text::parse(array(block, 96))?,
        at: get64(block, 24),
        verdict: match block[34] {
            0 => None,
            code => Some(parse_verdict(code)?),
        },
        detail: Text::parse(array(block, 160))?,
    })
}

/// The whole entries of a ring that stand where their sequence number belongs, in the order of the ring.
pub fn entries(ring: &[u8]) -> impl Iterator<Item = Entry> {
    let places = ring.chunks_exact(ENTRY_BYTES).take(ENTRIES).enumerate();
    places.filter_map(|(place, bytes)| parse(bytes).ok().filter(|entry| place_of(entry.sequence) == place))
}

/// What the next entry has to know of the newest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newest {
    /// Its sequence number.
    pub sequence: u64,
    /// What happened, to which slot, with which release.
    pub about: (u8, u8, Release),
}

impl Entry {
    /// What happened, to which slot, with which release, to be compared with [`Newest::about`].
    pub fn about(&self) -> (u8, u8, Release) {
        (self.event.code(), encode_slot(self.slot), self.release)
    }

    /// Gives the entry the sequence number behind the newest one. Returns its byte offset in the `meta` partition: over
    /// the oldest entry, or a place that holds none.
    pub fn follow(&mut self, newest: Option<&Newest>) -> u64 {
        self.sequence = newest.map_or(0, |newest| newest.sequence).saturating_add(1);
        let place = place_of(self.sequence) * ENTRY_BYTES;
        HISTORY_OFFSET.saturating_add(u64::try_from(place).unwrap_or(0))
    }
}

/// The newest entry of a ring.
pub fn newest(ring: &[u8]) -> Option<Newest> {
    let mut newest: Option<Newest> = None;
    for (place, bytes) in ring.chunks_exact(ENTRY_BYTES).take(ENTRIES).enumerate() {
        let Ok(block) = open::<ENTRY_BYTES>(bytes, MAGIC) else {
            continue;
        };
        let sequence = get64(block, 16);
        if place_of(sequence) == place && newest.is_none_or(|newest| newest.sequence < sequence) {
            newest = Some(Newest { sequence, about: (block[32], block[33], array(block, 64)) });
        }
    }
    newest
}

fn place_of(sequence: u64) -> usize {
    let entries = u64::try_from(ENTRIES).unwrap_or(1);
    usize::try_from(sequence % entries).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    extern crate alloc;
    use super::*;
    use alloc::{vec, vec::Vec};
    use proptest::prelude::*;

    fn sample() -> Entry {
        let mut entry = Entry::new(Event::Failed, Slot::B, [3; 32]);
        entry.version = Text::cut("1.2.3");
        entry.verdict = Some(Verdict::Deadline);
        entry.detail = Text::cut("no commit after 120 s");
        entry
    }

    /// A ring after this many entries.
    fn ring(entries: usize) -> Vec<u8> {
        let mut ring = vec![0; HISTORY_BYTES];
        for number in entries.saturating_sub(ENTRIES)..entries {
            let entry = Entry { sequence: u64::try_from(number + 1).unwrap(), ..sample() };
            let at = place_of(entry.sequence) * ENTRY_BYTES;
            ring[at..at + ENTRY_BYTES].copy_from_slice(&entry.encode());
        }
        ring
    }

    fn next(ring: &[u8]) -> (u64, Entry) {
        let mut entry = sample();
        let offset = entry.follow(newest(ring).as_ref());
        (offset, entry)
    }

    fn append(ring: &mut [u8]) {
        let (offset, entry) = next(ring);
        let at = usize::try_from(offset - HISTORY_OFFSET).unwrap();
        ring[at..at + ENTRY_BYTES].copy_from_slice(&entry.encode());
    }

    fn sequences(ring: &[u8]) -> Vec<u64> {
        let mut out: Vec<u64> = entries(ring).map(|entry| entry.sequence).collect();
        out.sort_unstable();
        out
    }

    proptest! {
        #[test]
        fn an_entry_survives_the_round_trip(
            numbers: [u64; 2], event in 0..Event::ALL.len(), release: [u8; 32], verdict in 0..8_u8, text in ".{0,200}"
        ) {
            let entry = Entry {
                sequence: numbers[0],
                event: Event::ALL[event],
                slot: Slot::A,
                release,
                version: Text::cut(&text),
                at: numbers[1],
                verdict: parse_verdict(verdict),
                detail: Text::cut(&text),
            };
            prop_assert_eq!(parse(&entry.encode()), Ok(entry));
        }

        #[test]
        fn a_torn_write_costs_at_most_the_entry_it_goes_over(before in 0..300_usize, cut in 0..=ENTRY_BYTES) {
            let mut ring = ring(before);
            let old = sequences(&ring);
            let (offset, entry) = next(&ring);
            let at = usize::try_from(offset - HISTORY_OFFSET).unwrap();
            ring[at..at + cut].copy_from_slice(&entry.encode()[..cut]);
            let kept = if before < ENTRIES { &old[..] } else { &old[1..] };
            let after = sequences(&ring);
            prop_assert!(after.iter().filter(|sequence| **sequence != entry.sequence).count() >= kept.len());
            prop_assert!(kept.iter().all(|sequence| after.contains(sequence)));
        }

        #[test]
        fn arbitrary_bytes_are_never_an_entry(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(parse(&bytes).is_err());
        }
    }

    #[test]
    fn a_full_ring_forgets_the_oldest_entry() {
        let mut ring = ring(127);
        for _ in 0..3 {
            append(&mut ring);
        }
        assert_eq!(sequences(&ring), (3..=130).collect::<Vec<u64>>());
    }

    #[test]
    fn an_entry_that_stands_where_it_does_not_belong_is_left_out() {
        let mut ring = vec![0; HISTORY_BYTES];
        append(&mut ring);
        let copy: Vec<u8> = ring[ENTRY_BYTES..2 * ENTRY_BYTES].to_vec();
        ring[5 * ENTRY_BYTES..6 * ENTRY_BYTES].copy_from_slice(&copy);
        assert_eq!(sequences(&ring), [1]);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = sample().encode();
        for bit in 0..ENTRY_BYTES * 8 {
            let mut damaged = good;
            damaged[bit / 8] ^= 1 << (bit % 8);
            parse(&damaged).unwrap_err();
        }
    }

    #[test]
    fn undefined_values_are_no_entry() {
        for (at, value) in [(32, 0), (32, 14), (33, 0), (34, 8), (97, 0)] {
            let mut block = sample().encode();
            block[at] = value;
            seal(&mut block, MAGIC);
            assert_eq!(parse(&block), Err(NotARecord::Field), "byte {at}");
        }
    }
}
