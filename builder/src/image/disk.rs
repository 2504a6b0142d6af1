//! The disk that is shipped: GPT with ESP, `meta` and slot A. First boot adds the rest. See `docs/formats/disk.md`.

use super::{
    id,
    slot::{self, Payload, Size},
    sparse::SparseFile,
};
use crate::{
    digest::Digest,
    error::{Doing, Error, Kind, Result},
};
use coracle_format::{
    gpt::{self, Geometry, Partition, Table},
    layout::{ALIGNMENT, ESP_BYTES, META_BYTES, Role},
    slot::{Descriptor, Range},
};
use std::{fs::Permissions, os::unix::fs::PermissionsExt, path::Path};

/// Logical blocks of the image. What disks and virtual machines with 512-byte blocks read.
pub const BLOCK_BYTES: u32 = 512;

/// What goes onto a disk.
#[derive(Clone, Copy, Debug)]
pub struct Contents<'a> {
    /// What the disk's and the partitions' GUIDs are derived from.
    pub seed: &'a Digest,
    /// The EFI system partition, [`ESP_BYTES`] long.
    pub esp: &'a [u8],
    /// The beginning of `meta`; the rest of it is zero.
    pub meta: &'a [u8],
    /// Slot A.
    pub payload: Payload<'a>,
    /// How large the slots are.
    pub slot_size: Size,
}

/// A disk that was written.
#[derive(Clone, Debug)]
pub struct Written {
    /// Its partition table.
    pub table: Table,
    /// What slot A holds.
    pub descriptor: Descriptor,
    /// Its length in bytes.
    pub bytes: u64,
}

/// Writes the disk to `out`. It appears there whole and durable, or not at all.
pub fn write(contents: &Contents<'_>, out: &Path) -> Result<Written> {
    let dir = out.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let table = plan(contents)?;
    let bytes = table.disk_blocks.saturating_mul(u64::from(table.block_bytes));
    let temporary = tempfile::Builder::new()
        .prefix(".disk-")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(dir)
        .doing("create temporary file in", dir)?;
    let file = temporary.as_file().try_clone().doing("open", temporary.path())?;
    let disk = SparseFile::new(file, out, bytes)?;
    let descriptor = fill(contents, &table, &disk)?;
    disk.sync()?;
    temporary.persist(out).map_err(|error| error.error).doing("store", out)?;
    Ok(Written { table, descriptor, bytes })
}

/// The partition table: every partition aligned, the disk just large enough.
fn plan(contents: &Contents<'_>) -> Result<Table> {
    let slot = contents.payload.partition_bytes(contents.slot_size)?;
    let parts = [(Role::Esp, ESP_BYTES), (Role::Meta, META_BYTES), (Role::SlotA, slot)];
    let content = parts.iter().map(|(_, bytes)| *bytes);
    // One unit before the first partition and one after the last, for the two copies of the table.
    let bytes = content.fold(2 * ALIGNMENT, u64::saturating_add);
    let geometry = Geometry::of_bytes(BLOCK_BYTES, bytes);
    let seed = contents.seed;
    let mut table = Table::new(id::guid(seed, "disk"), geometry).map_err(wrong_layout)?;
    for (role, bytes) in parts {
        let id = id::guid(seed, role.label());
        table.add(role, id, gpt::Size::Bytes(bytes)).map_err(wrong_layout)?;
    }
    Ok(table)
}

fn fill(contents: &Contents<'_>, table: &Table, disk: &SparseFile) -> Result<Descriptor> {
    let encoded = table.encode().map_err(wrong_layout)?;
    let block = u64::from(table.block_bytes);
    let writes = [&encoded.protective_mbr].into_iter().chain(&encoded.primary).chain(&encoded.backup);
    for write in writes {
        disk.write(write.lba.saturating_mul(block), &write.bytes)?;
    }
    for (role, bytes) in [(Role::Esp, contents.esp), (Role::Meta, contents.meta)] {
        let range = range_of(table, role)?;
        if u64::try_from(bytes.len()).is_ok_and(|length| length > range.bytes) {
            let message = format!("the contents of partition {} are too large", role.label());
            return Err(Error::new(Kind::Internal, message));
        }
        disk.write(range.offset, bytes)?;
    }
    slot::write(&contents.payload, disk, range_of(table, Role::SlotA)?)
}

fn range_of(table: &Table, role: Role) -> Result<Range> {
    let to_range = |partition: &Partition| {
        let (offset, bytes) = table.byte_range(partition);
        Range { offset, bytes }
    };
    table.find(role).map(to_range).ok_or_else(|| {
        let message = format!("the disk has no {} partition", role.label());
        Error::new(Kind::Internal, message)
    })
}

fn wrong_layout(why: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(Kind::TooLarge, "cannot lay out the disk").because(why)
}

#[cfg(test)]
mod tests;
