//! The `meta` partition: slot record, last words and history. Whatever is written here is durable when the call returns.

use crate::disk::{Disk, Partition};
use crate::error::{Doing, PathError, invalid};
use coracle_format::gpt::Table;
use coracle_format::layout::Role;
use coracle_format::slot::{DESCRIPTOR_BYTES, Descriptor};
use coracle_slots::history::{self, ENTRY_BYTES, Entry, HISTORY_BYTES, HISTORY_OFFSET};
use coracle_slots::words::{self, FoundWords, LastWords, WORDS_BYTES, WORDS_OFFSETS};
use coracle_slots::{
    COPY_BYTES, COPY_OFFSETS, Found, Held, NotARecord, Record, RefusedTransition, Slot, parse_copies,
};
use rustix::fs::{FlockOperation, flock};
use std::fs::File;

/// The record that holds, and whether it is what the disk says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Current {
    /// The record, and where the next one must be written.
    pub found: Found,
    /// Why both copies are unreadable, where the record was made anew from what the slots hold.
    pub rebuilt: Option<[NotARecord; 2]>,
}

/// Why a record was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The disk could not be read or written.
    #[error(transparent)]
    Disk(#[from] PathError),
    /// The record does not allow it; nothing was written.
    #[error(transparent)]
    Refused(#[from] RefusedTransition),
}

/// Who else may be changing the record meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// Wait until they have finished.
    Wait,
    /// Do not wait: for PID 1, which must come through when another program was stopped in the middle of a change.
    Overtake,
}

/// The `meta` partition of a table read from this disk.
pub fn partition(disk: &Disk, table: &Table) -> Result<Partition, PathError> {
    Disk::partition(table, Role::Meta)
        .ok_or_else(|| invalid("there is no meta partition"))
        .doing("find the slot record on", disk.path())
}

/// Reads the newest valid copy of the slot record.
pub fn read(disk: &Disk, meta: &Partition) -> Result<Found, PathError> {
    try_read(disk, meta)?
        .map_err(|[first, second]| invalid(format!("copy 0: {first}; copy 1: {second}")))
        .doing("read the slot record on", disk.path())
}

fn try_read(disk: &Disk, meta: &Partition) -> Result<Result<Found, [NotARecord; 2]>, PathError> {
    let mut copies = [[0; COPY_BYTES]; 2];
    let mut failed = None;
    for (copy, offset) in copies.iter_mut().zip(COPY_OFFSETS) {
        // A copy that cannot be read is one that holds no record; the other one is there for that.
        if let Err(error) = disk.read_within(meta, offset, copy)
            && let Some(first) = failed.replace(error)
        {
            return Err(first);
        }
    }
    Ok(parse_copies(&copies[0], &copies[1]))
}

/// Reads the slot record; where both copies are unreadable, makes it anew from what the slots hold and from which slot
/// is running, if something is ([`Record::rebuilt`]). Writes nothing.
pub fn read_or_rebuild(disk: &Disk, table: &Table, running: Option<Slot>) -> Result<Current, PathError> {
    let meta = partition(disk, table)?;
    Ok(match try_read(disk, &meta)? {
        Ok(found) => Current { found, rebuilt: None },
        Err(reasons) => {
            let held = Slot::ALL.map(|slot| held(disk, table, slot));
            // The first write then goes to copy 0.
            let found = Found { record: Record::rebuilt(held, running), copy: 1 };
            Current { found, rebuilt: Some(reasons) }
        }
    })
}

/// What the slot's own descriptor says, if it is readable.
pub fn held(disk: &Disk, table: &Table, slot: Slot) -> Option<Held> {
    let place = Disk::partition(table, role(slot))?;
    let offset = Descriptor::offset_in(place.bytes)?;
    let mut block = [0; DESCRIPTOR_BYTES];
    disk.read_within(&place, offset, &mut block).ok()?;
    let descriptor = Descriptor::parse(&block, place.bytes).ok()?;
    Some(Held { release: descriptor.boot_digest, version: descriptor.version_number() })
}

/// The partition role of a slot.
pub const fn role(slot: Slot) -> Role {
    match slot {
        Slot::A => Role::SlotA,
        Slot::B => Role::SlotB,
    }
}

/// Writes `record` over the copy that `found` was not read from; it is on the disk when this returns, and the other
/// copy is untouched throughout.
pub fn write(disk: &Disk, meta: &Partition, found: &Found, record: &Record) -> Result<(), PathError> {
    disk.write_within(meta, found.next_offset(), &record.encode())?;
    disk.sync()
}

/// Changes the record: reads it (or makes it anew, see [`read_or_rebuild`]), asks `transition` for the next one, and
/// writes that if it differs or the disk has none. Gives the record that is on the disk when this returns.
///
/// No other program changes it meanwhile, unless it was told to overtake.
pub fn change(
    disk: &Disk,
    table: &Table,
    running: Option<Slot>,
    others: Others,
    transition: impl FnOnce(Record) -> Result<Record, RefusedTransition>,
) -> Result<Record, ChangeError> {
    let _lock = Lock::take(disk, others)?;
    let current = read_or_rebuild(disk, table, running)?;
    let next = transition(current.found.record)?;
    if next != current.found.record || current.rebuilt.is_some() {
        write(disk, &partition(disk, table)?, &current.found, &next)?;
    }
    Ok(next)
}

/// The last words of the release that failed last, if one did and they are readable.
pub fn read_words(disk: &Disk, meta: &Partition) -> Result<Option<LastWords>, PathError> {
    Ok(find_words(disk, meta)?.map(|found| found.words))
}

/// Keeps these words; those before them stay readable until these are on the disk.
pub fn write_words(disk: &Disk, meta: &Partition, words: &LastWords) -> Result<(), PathError> {
    let found = find_words(disk, meta)?;
    let offset = found.as_ref().map_or(WORDS_OFFSETS[0], FoundWords::next_offset);
    disk.write_within(meta, offset, &words.encode_after(found.as_ref()))?;
    disk.sync()
}

fn find_words(disk: &Disk, meta: &Partition) -> Result<Option<FoundWords>, PathError> {
    let mut copies = [[0; WORDS_BYTES]; 2];
    for (copy, offset) in copies.iter_mut().zip(WORDS_OFFSETS) {
        disk.read_within(meta, offset, copy)?;
    }
    Ok(words::parse_copies(&copies[0], &copies[1]))
}

/// The entries of the history that are readable, oldest first.
pub fn read_history(disk: &Disk, meta: &Partition) -> Result<Vec<Entry>, PathError> {
    let mut entries: Vec<Entry> = history::entries(&read_ring(disk, meta)?).collect();
    entries.sort_by_key(|entry| entry.sequence);
    Ok(entries)
}

/// Adds an entry to the history, over the oldest one when it is full. Its sequence number is set here.
pub fn append_history(disk: &Disk, meta: &Partition, mut entry: Entry) -> Result<(), PathError> {
    let newest = history::newest(&read_ring(disk, meta)?);
    let offset = entry.follow(newest.as_ref());
    let sector: [u8; ENTRY_BYTES] = entry.encode();
    disk.write_within(meta, offset, &sector)?;
    disk.sync()
}

fn read_ring(disk: &Disk, meta: &Partition) -> Result<Vec<u8>, PathError> {
    let mut ring = vec![0; HISTORY_BYTES];
    disk.read_within(meta, HISTORY_OFFSET, &mut ring)?;
    Ok(ring)
}

/// Held while the record is changed.
#[derive(Debug)]
struct Lock<'a>(Option<&'a File>);

impl<'a> Lock<'a> {
    fn take(disk: &'a Disk, others: Others) -> Result<Self, PathError> {
        let Ok(file) = disk.file() else {
            return Ok(Self(None));
        };
        let operation = match others {
            Others::Wait => FlockOperation::LockExclusive,
            Others::Overtake => FlockOperation::NonBlockingLockExclusive,
        };
        match flock(file, operation) {
            Ok(()) => Ok(Self(Some(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(Self(None)),
            Err(error) => Err(error).doing("lock", disk.path()),
        }
    }
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        if let Some(file) = self.0
            && flock(file, FlockOperation::Unlock).is_err()
        {
            // It goes with the open file at the latest.
        }
    }
}
