//! GUID partition tables (UEFI 2.10, section 5.3), for disks with blocks of 512 or 4096 bytes.
//!
//! One layout is read and written: 128 entries of 128 bytes right behind the primary header and right before the backup
//! header. Partition numbers are kept, gaps between them too. Nothing here reads or writes a disk: a change of a live
//! disk is [`Table::encode`], then the backup copy, sync, the primary copy, sync; a cut at any point leaves one copy
//! that parses. See `docs/formats/disk.md`.

mod bytes;
mod edit;
mod error;
#[cfg(test)]
mod tests;

use crate::{checksum::CRC, guid::Guid, layout::Role};
use alloc::{string::String, vec, vec::Vec};

use bytes::{check_header, header_crc, parse_entry};
pub use edit::{NoRoom, Size};
pub use error::{NotATable, ReadError};

/// Entries of a table. A header that states another number is refused before anything is read by it.
pub const ENTRIES: u32 = 128;
/// Bytes of one entry.
pub const ENTRY_BYTES: u32 = 128;
/// Bytes of the entry array: what must be read from [`Geometry::entries_lba`].
pub const ENTRIES_BYTES: usize = 128 * 128;
/// The block of the primary header.
pub const PRIMARY_LBA: u64 = 1;

const SIGNATURE: [u8; 8] = *b"EFI PART";
const REVISION: u32 = 0x0001_0000;
const HEADER_BYTES: usize = 92;
const HEADER_CRC: core::ops::Range<usize> = 16..20;

/// Block size and size of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of a logical block: 512 or 4096.
    pub block_bytes: u32,
    /// Logical blocks of the disk.
    pub blocks: u64,
}

/// One of the two copies of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At the start of the disk.
    Primary,
    /// At the end of the disk.
    Backup,
}

impl Geometry {
    /// The geometry of a disk of `bytes` bytes.
    pub const fn of_bytes(block_bytes: u32, bytes: u64) -> Self {
        let blocks = match bytes.checked_div(u64_of(block_bytes)) {
            Some(blocks) => blocks,
            None => 0,
        };
        Self { block_bytes, blocks }
    }

    /// Blocks of the entry array.
    const fn entry_blocks(self) -> u64 {
        u64_of(ENTRIES * ENTRY_BYTES / self.block_bytes)
    }

    /// The first block a partition may use.
    pub const fn first_usable(self) -> u64 {
        2 + self.entry_blocks()
    }

    /// The last block a partition may use.
    pub const fn last_usable(self) -> u64 {
        self.blocks.saturating_sub(self.entry_blocks() + 2)
    }

    /// The block of a copy's header.
    pub const fn header_lba(self, place: Place) -> u64 {
        match place {
            Place::Primary => PRIMARY_LBA,
            Place::Backup => self.blocks.saturating_sub(1),
        }
    }

    /// The first block of a copy's entry array.
    pub const fn entries_lba(self, place: Place) -> u64 {
        match place {
            Place::Primary => PRIMARY_LBA + 1,
            Place::Backup => self.last_usable() + 1,
        }
    }

    /// Bytes of a block, as a length in memory.
    fn block_len(self) -> usize {
        usize::try_from(self.block_bytes).unwrap_or(usize::MAX)
    }

    fn check(self) -> Result<(), NotATable> {
        let known = matches!(self.block_bytes, 512 | 4096);
        let fits = |geometry: Self| {
            geometry.blocks.checked_mul(u64_of(geometry.block_bytes)).is_some()
                && geometry.last_usable() >= geometry.first_usable()
        };
        (known && fits(self)).then_some(()).ok_or(NotATable::Geometry)
    }
}

/// One used entry of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Partition number, from 1 to [`ENTRIES`]: the entry's place in the table.
    pub number: u32,
    /// Partition type GUID.
    pub kind: Guid,
    /// Unique partition GUID.
    pub id: Guid,
    /// First block.
    pub first: u64,
    /// Last block (inclusive).
    pub last: u64,
    /// Attribute bits.
    pub attributes: u64,
    /// Label in UTF-16, padded with zeros.
    pub name: [u16; 36],
}

impl Partition {
    /// The label, for people.
    pub fn label(&self) -> String {
        let end = self.name.iter().position(|unit| *unit == 0).unwrap_or(36);
        String::from_utf16_lossy(&self.name[..end])
    }

    /// What the partition is for, if its type is one of ours.
    pub fn role(&self) -> Option<Role> {
        Role::of_type(self.kind)
    }

    /// Blocks it has. The partition comes from a checked table.
    pub const fn blocks(&self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }
}

/// A partition table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The disk's GUID.
    pub disk_id: Guid,
    /// Bytes of a logical block.
    pub block_bytes: u32,
    /// Blocks of the disk the table was laid out for. A disk that has grown since has more: see [`Table::fit`].
    pub disk_blocks: u64,
    /// The used entries, by ascending number.
    pub partitions: Vec<Partition>,
}

/// Bytes for consecutive blocks of the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// First block.
    pub lba: u64,
    /// What goes there: whole blocks.
    pub bytes: Vec<u8>,
}

/// A table as bytes, in the order in which a live disk is written: all of `backup`, sync, all of `primary`, sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The backup copy: entries, then header.
    pub backup: [Write; 2],
    /// The primary copy: entries, then header.
    pub primary: [Write; 2],
    /// The protective MBR of block 0: for a new disk. On a disk in use leave it, it may hold boot code.
    pub protective_mbr: Write,
}

impl Table {
    /// An empty table for a disk.
    pub fn new(disk_id: Guid, geometry: Geometry) -> Result<Self, NotATable> {
        geometry.check()?;
        Ok(Self {
            disk_id,
            block_bytes: geometry.block_bytes,
            disk_blocks: geometry.blocks,
            partitions: Vec::new(),
        })
    }

    /// The geometry the table was laid out for.
    pub const fn geometry(&self) -> Geometry {
        Geometry { block_bytes: self.block_bytes, blocks: self.disk_blocks }
    }

    /// Parses one copy of a table: the block at [`Geometry::header_lba`] and [`ENTRIES_BYTES`] from
    /// [`Geometry::entries_lba`]. Both checksums match before a field is believed. Every partition of the result lies
    /// inside the disk, and none overlap. A primary copy may be laid out for a smaller disk than `disk`: the disk has
    /// grown since.
    pub fn parse(
        disk: Geometry,
        place: Place,
        header_block: &[u8],
        entries: &[u8],
    ) -> Result<Self, NotATable> {
        disk.check()?;
        let block = header_block.get(..disk.block_len()).ok_or(NotATable::Truncated)?;
        let entries = entries.get(..ENTRIES_BYTES).ok_or(NotATable::Truncated)?;
        if block[..8] != SIGNATURE {
            return Err(NotATable::Signature);
        }
        if u32::from_le_bytes(take(block, HEADER_CRC.start)) != header_crc(block) {
            return Err(NotATable::HeaderChecksum);
        }
        let laid_out = check_header(disk, place, block)?;
        if u32::from_le_bytes(take(block, 88)) != CRC.checksum(entries) {
            return Err(NotATable::EntriesChecksum);
        }
        let table = Self {
            disk_id: Guid(take(block, 56)),
            block_bytes: laid_out.block_bytes,
            disk_blocks: laid_out.blocks,
            partitions: (1..=ENTRIES)
                .zip(entries.chunks_exact(128))
                .filter_map(|(number, entry)| parse_entry(number, entry))
                .collect(),
        };
        table.check()?;
        Ok(table)
    }

    /// Reads and parses the primary copy. `read` fills a buffer of whole blocks from a block number on.
    pub fn parse_primary<E>(
        disk: Geometry,
        read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<Self, ReadError<E>> {
        Self::parse_at(disk, Place::Primary, read)
    }

    /// Reads and parses the backup copy in the last blocks of the disk.
    pub fn parse_backup<E>(
        disk: Geometry,
        read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<Self, ReadError<E>> {
        Self::parse_at(disk, Place::Backup, read)
    }

    /// Reads the primary copy, or the backup copy where the primary is damaged or unreadable; says which it was. If
    /// both fail the primary's error is returned.
    pub fn parse_either<E>(
        disk: Geometry,
        mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<(Self, Place), ReadError<E>> {
        match Self::parse_primary(disk, &mut read) {
            Ok(table) => Ok((table, Place::Primary)),
            Err(error) => match Self::parse_backup(disk, read) {
                Ok(table) => Ok((table, Place::Backup)),
                Err(_) => Err(error),
            },
        }
    }

    fn parse_at<E>(
        disk: Geometry,
        place: Place,
        mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<Self, ReadError<E>> {
        disk.check().map_err(ReadError::Table)?;
        let mut header = vec![0; disk.block_len()];
        read(disk.header_lba(place), &mut header).map_err(ReadError::Disk)?;
        let mut entries = vec![0; ENTRIES_BYTES];
        read(disk.entries_lba(place), &mut entries).map_err(ReadError::Disk)?;
        Self::parse(disk, place, &header, &entries).map_err(ReadError::Table)
    }

    /// The table as bytes. Fails if a partition was put where none can be.
    pub fn encode(&self) -> Result<Encoded, NotATable> {
        self.check()?;
        let entries = self.encode_entries();
        let copy = |place| {
            [
                Write { lba: self.geometry().entries_lba(place), bytes: entries.clone() },
                Write {
                    lba: self.geometry().header_lba(place),
                    bytes: self.encode_header(place, CRC.checksum(&entries)),
                },
            ]
        };
        Ok(Encoded {
            backup: copy(Place::Backup),
            primary: copy(Place::Primary),
            protective_mbr: self.protective_mbr(),
        })
    }

    /// The rules every table obeys, read or written.
    fn check(&self) -> Result<(), NotATable> {
        let geometry = self.geometry();
        geometry.check()?;
        let mut previous = 0;
        for partition in &self.partitions {
            let number = partition.number;
            if number <= previous || number > ENTRIES || partition.kind == Guid::ZERO {
                return Err(NotATable::Number(number));
            }
            if partition.first < geometry.first_usable()
                || partition.last > geometry.last_usable()
                || partition.first > partition.last
            {
                return Err(NotATable::Bounds(number));
            }
            previous = number;
        }
        for pair in self.by_position().windows(2) {
            if pair[1].first <= pair[0].last {
                return Err(NotATable::Overlap(pair[0].number, pair[1].number));
            }
        }
        let twice = Role::ALL.into_iter().find(|role| {
            let of_role = |one: &&Partition| one.role() == Some(*role);
            self.partitions.iter().filter(of_role).count() > 1
        });
        twice.map_or(Ok(()), |role| Err(NotATable::Twice(role)))
    }

    fn by_position(&self) -> Vec<&Partition> {
        let mut sorted: Vec<_> = self.partitions.iter().collect();
        sorted.sort_unstable_by_key(|partition| partition.first);
        sorted
    }
}

/// `N` bytes at a position that the caller knows to be inside.
fn take<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

#[expect(clippy::as_conversions, reason = "u64::from is not const; the cast cannot lose bits")]
const fn u64_of(value: u32) -> u64 {
    value as u64
}
