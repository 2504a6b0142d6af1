//! The slot record in the `meta` partition: read both copies, overwrite the older one.

use crate::disk::{Disk, Partition};
use crate::error::{Doing, PathError, invalid};
use coracle_slots::{COPY_BYTES, COPY_OFFSETS, Found, Record, parse_copies};

/// Reads the newest valid copy of the slot record.
pub fn read(disk: &Disk, meta: &Partition) -> Result<Found, PathError> {
    let mut copies = [[0; COPY_BYTES]; 2];
    for (copy, offset) in copies.iter_mut().zip(COPY_OFFSETS) {
        disk.read_within(meta, offset, copy)?;
    }
    parse_copies(&copies[0], &copies[1])
        .map_err(|[first, second]| invalid(format!("copy 0: {first}; copy 1: {second}")))
        .doing("read the slot record on", disk.path())
}

/// Writes `record` over the copy that `found` was not read from; it is on the disk when this returns, and the other
/// copy is untouched throughout.
pub fn write(disk: &Disk, meta: &Partition, found: &Found, record: &Record) -> Result<(), PathError> {
    disk.write_within(meta, found.next_offset(), &record.encode())?;
    disk.sync()
}
