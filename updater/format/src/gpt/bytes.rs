//! Header and entries as bytes.

use super::{
    CRC, ENTRIES, ENTRIES_BYTES, ENTRY_BYTES, Geometry, HEADER_BYTES, HEADER_CRC, NotATable, Partition,
    Place, REVISION, SIGNATURE, Table, Write, take,
};
use crate::guid::Guid;
use alloc::{vec, vec::Vec};

impl Table {
    pub(super) fn encode_entries(&self) -> Vec<u8> {
        let mut out = vec![0; ENTRIES_BYTES];
        let slots = (1..=ENTRIES).zip(out.chunks_exact_mut(128));
        for (number, entry) in slots {
            let Some(partition) = self.partitions.iter().find(|one| one.number == number) else {
                continue;
            };
            entry[..16].copy_from_slice(&partition.kind.0);
            entry[16..32].copy_from_slice(&partition.id.0);
            entry[32..40].copy_from_slice(&partition.first.to_le_bytes());
            entry[40..48].copy_from_slice(&partition.last.to_le_bytes());
            entry[48..56].copy_from_slice(&partition.attributes.to_le_bytes());
            for (unit, bytes) in partition.name.iter().zip(entry[56..].chunks_exact_mut(2)) {
                bytes.copy_from_slice(&unit.to_le_bytes());
            }
        }
        out
    }

    pub(super) fn encode_header(&self, place: Place, entries_crc: u32) -> Vec<u8> {
        let geometry = self.geometry();
        let other = match place {
            Place::Primary => Place::Backup,
            Place::Backup => Place::Primary,
        };
        let mut out = Vec::with_capacity(geometry.block_len());
        out.extend_from_slice(&SIGNATURE);
        out.extend_from_slice(&REVISION.to_le_bytes());
        out.extend_from_slice(&92_u32.to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&geometry.header_lba(place).to_le_bytes());
        out.extend_from_slice(&geometry.header_lba(other).to_le_bytes());
        out.extend_from_slice(&geometry.first_usable().to_le_bytes());
        out.extend_from_slice(&geometry.last_usable().to_le_bytes());
        out.extend_from_slice(&self.disk_id.0);
        out.extend_from_slice(&geometry.entries_lba(place).to_le_bytes());
        out.extend_from_slice(&ENTRIES.to_le_bytes());
        out.extend_from_slice(&ENTRY_BYTES.to_le_bytes());
        out.extend_from_slice(&entries_crc.to_le_bytes());
        out.resize(geometry.block_len(), 0);
        let crc = header_crc(&out);
        out[HEADER_CRC].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// UEFI 2.10, table 5.4: one partition of type 0xEE over the whole disk, or as much as 32 bits can say.
    pub(super) fn protective_mbr(&self) -> Write {
        let mut bytes = vec![0; self.geometry().block_len()];
        let blocks = u32::try_from(self.disk_blocks - 1).unwrap_or(u32::MAX);
        bytes[446..454].copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff]);
        bytes[454..458].copy_from_slice(&1_u32.to_le_bytes());
        bytes[458..462].copy_from_slice(&blocks.to_le_bytes());
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        Write { lba: 0, bytes }
    }
}

/// Checks the fixed fields of a header whose checksum matches; returns the geometry it was laid out for.
pub(super) fn check_header(disk: Geometry, place: Place, block: &[u8]) -> Result<Geometry, NotATable> {
    let word = |at| u32::from_le_bytes(take(block, at));
    let long = |at| u64::from_le_bytes(take(block, at));
    let require = |holds: bool, field| holds.then_some(()).ok_or(NotATable::Header(field));
    require(word(8) == REVISION, "revision")?;
    require(word(12) == 92, "header size")?;
    let rest_is_zero = block[HEADER_BYTES..].iter().all(|byte| *byte == 0);
    require(word(20) == 0 && rest_is_zero, "reserved bytes")?;
    if word(80) != ENTRIES {
        return Err(NotATable::EntryCount(word(80)));
    }
    require(word(84) == ENTRY_BYTES, "entry size")?;
    let (own, other) = (long(24), long(32));
    let last_block = match place {
        Place::Primary => other,
        Place::Backup => own,
    };
    require(last_block < disk.blocks, "position of the backup header")?;
    let laid_out = Geometry { blocks: last_block + 1, ..disk };
    laid_out.check()?;
    let opposite = match place {
        Place::Primary => laid_out.header_lba(Place::Backup),
        Place::Backup => {
            require(laid_out.blocks == disk.blocks, "own position")?;
            laid_out.header_lba(Place::Primary)
        }
    };
    require(own == laid_out.header_lba(place), "own position")?;
    require(other == opposite, "position of the other header")?;
    require(long(72) == laid_out.entries_lba(place), "position of the entries")?;
    require(long(40) >= laid_out.first_usable() && long(48) <= laid_out.last_usable(), "usable blocks")?;
    Ok(laid_out)
}

pub(super) fn parse_entry(number: u32, entry: &[u8]) -> Option<Partition> {
    let kind = Guid(take(entry, 0));
    if kind == Guid::ZERO {
        return None;
    }
    let mut name = [0; 36];
    for (unit, bytes) in name.iter_mut().zip(entry[56..].chunks_exact(2)) {
        *unit = u16::from_le_bytes(take(bytes, 0));
    }
    Some(Partition {
        number,
        kind,
        id: Guid(take(entry, 16)),
        first: u64::from_le_bytes(take(entry, 32)),
        last: u64::from_le_bytes(take(entry, 40)),
        attributes: u64::from_le_bytes(take(entry, 48)),
        name,
    })
}

/// The checksum of a header, its own field taken as zero.
pub(super) fn header_crc(block: &[u8]) -> u32 {
    let mut digest = CRC.digest();
    digest.update(&block[..HEADER_CRC.start]);
    digest.update(&[0; 4]);
    digest.update(&block[HEADER_CRC.end..HEADER_BYTES]);
    digest.finalize()
}
