//! Where the partitions are.

use coracle_format::{
    gpt::{Geometry, ReadError, Table},
    layout::Role,
    slot::Range,
};
use coracle_slots::Slot;
use core::fmt;

/// A disk, addressed in bytes; offsets and lengths may be unaligned.
pub trait Disk {
    /// Size and block size.
    fn geometry(&self) -> Geometry;
    /// Fills `buffer` from byte `offset`.
    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError>;
    /// Writes `bytes` at byte `offset`.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError>;
    /// Returns once everything written is on the medium.
    fn flush(&mut self) -> Result<(), DiskError>;
}

/// What the firmware said when it could not read or write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskError(pub &'static str);

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl core::error::Error for DiskError {}

/// The partitions the selector works with, as byte ranges of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// The slot record.
    pub meta: Range,
    slots: [Option<Range>; 2],
}

impl Places {
    /// Finds them in the partition table, the backup if the primary is damaged.
    pub fn find(disk: &mut dyn Disk) -> Result<Self, ReadError<DiskError>> {
        let geometry = disk.geometry();
        let block = u64::from(geometry.block_bytes);
        let (table, _) =
            Table::parse_either(geometry, |lba, buffer| disk.read(lba.saturating_mul(block), buffer))?;
        let place = |role| {
            let partition = table.find(role)?;
            Some(Range {
                offset: partition.first.checked_mul(block)?,
                bytes: partition.blocks().checked_mul(block)?,
            })
        };
        let meta = place(Role::Meta).ok_or(ReadError::Disk(DiskError("there is no meta partition")))?;
        Ok(Self { meta, slots: [place(Role::SlotA), place(Role::SlotB)] })
    }

    /// The partition of `slot`; `None` before the first boot has made slot B.
    pub const fn slot(&self, slot: Slot) -> Option<Range> {
        match slot {
            Slot::A => self.slots[0],
            Slot::B => self.slots[1],
        }
    }
}
