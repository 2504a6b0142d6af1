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
}

const EVENTS: [(Event, u8, &str); 11] = [
    (Event::Applied, 1, "applied"),
    (Event::Armed, 2, "armed"),
    (Event::Committed, 3, "committed"),
    (Event::Failed, 4, "failed"),
    (Event::Explained, 5, "explained"),
    (Event::RolledBack, 6, "rolled back"),
    (Event::HoldReleased, 7, "hold released"),
    (Event::Retried, 8, "retried"),
    (Event::Damaged, 9, "damaged"),
    (Event::NotStarted, 10, "not started"),
    (Event::Rebuilt, 11, "record rebuilt"),
];

impl Event {
    /// Every event.
    pub fn all() -> impl Iterator<Item = Self> {
        EVENTS.into_iter().map(|(event, _, _)| event)
    }

    fn code(self) -> u8 {
        EVENTS.iter().find(|(event, _, _)| *event == self).map_or(0, |(_, code, _)| *code)
    }

    fn parse(code: u8) -> Option<Self> {
        EVENTS.iter().find(|(_, known, _)| *known == code).map(|(event, _, _)| *event)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EVENTS.iter().find(|(event, _, _)| event == self).map_or("", |(_, _, name)| *name))
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
    pub detail: Text<160>,
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

/// The entry as the next one of this ring, and its byte offset in the `meta` partition. It goes over the oldest entry,
/// or to a place that holds none.
pub fn next(ring: &[u8], mut entry: Entry) -> (u64, Entry) {
    entry.sequence = entries(ring).map(|entry| entry.sequence).max().unwrap_or(0).saturating_add(1);
    let place = place_of(entry.sequence) * ENTRY_BYTES;
    (HISTORY_OFFSET.saturating_add(u64::try_from(place).unwrap_or(0)), entry)
}

fn place_of(sequence: u64) -> usize {
    let entries = u64::try_from(ENTRIES).unwrap_or(1);
    usize::try_from(sequence % entries).unwrap_or(0)
}
