//! One disk: its partition table, and reads and writes that stay inside a partition.

use crate::error::{Doing, PathError, invalid};
use crate::medium::Medium;
use coracle_format::gpt::{self, Geometry, Place, Table};
use coracle_format::layout::Role;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// What a disk is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading only.
    Read,
    /// Reading and writing.
    Write,
}

/// An open disk, or a file that holds a disk image.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
    backing: Backing,
    geometry: Geometry,
    bytes: u64,
}

/// What the bytes are on.
#[derive(Debug)]
enum Backing {
    File(File),
    Medium(Box<dyn Medium>),
}

/// A partition of one of our roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number in the table.
    pub number: u32,
    /// What it is for.
    pub role: Role,
    /// Where it begins on the disk, bytes.
    pub offset: u64,
    /// How long it is, bytes.
    pub bytes: u64,
}

/// A partition table and what state its copies are in.
#[derive(Clone, Debug)]
pub struct FoundTable {
    /// The table.
    pub table: Table,
    /// Whether both copies say the same, the backup at the very end of the disk.
    pub copies: Copies,
}

/// Whether the copies of a partition table agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copies {
    /// Both are whole and equal.
    Agree,
    /// One is missing, damaged, older, or not where it belongs: write the table again.
    Differ,
}

impl Disk {
    /// Opens a disk of `bytes` bytes with logical blocks of `block_bytes`.
    pub fn open(path: &Path, access: Access, block_bytes: u64, bytes: u64) -> Result<Self, PathError> {
        let geometry = geometry(block_bytes, bytes).doing("open", path)?;
        let file =
            OpenOptions::new().read(true).write(access == Access::Write).open(path).doing("open", path)?;
        Ok(Self { path: path.to_owned(), backing: Backing::File(file), geometry, bytes })
    }

    /// A disk of `bytes` bytes over something else than a file; `name` stands for its path in messages. This is how code
    /// that works on a [`Disk`] runs unchanged on a model of a disk with a volatile cache: see `crate::model` (feature
    /// `model`).
    pub fn over(
        medium: Box<dyn Medium>,
        name: &str,
        block_bytes: u64,
        bytes: u64,
    ) -> Result<Self, PathError> {
        let path = PathBuf::from(name);
        let geometry = geometry(block_bytes, bytes).doing("open", &path)?;
        Ok(Self { path, backing: Backing::Medium(medium), geometry, bytes })
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file, for what only the kernel can do. Fails for a disk that is not on a file.
    pub fn file(&self) -> io::Result<&File> {
        match &self.backing {
            Backing::File(file) => Ok(file),
            Backing::Medium(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Bytes of the whole disk.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Block size and number of blocks.
    pub const fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Reads the partition table: the primary copy, or the backup where the primary is damaged.
    pub fn read_table(&self) -> Result<Table, PathError> {
        let (table, _) = Table::parse_either(self.geometry, |lba, buffer| self.read_blocks(lba, buffer))
            .map_err(|error| invalid(error.to_string()))
            .doing("read the partition table of", &self.path)?;
        Ok(table)
    }

    /// Reads the partition table and compares its copies.
    pub fn inspect_table(&self) -> Result<FoundTable, PathError> {
        let read = |lba, buffer: &mut [u8]| self.read_blocks(lba, buffer);
        let (table, place) = Table::parse_either(self.geometry, read)
            .map_err(|error| invalid(error.to_string()))
            .doing("read the partition table of", &self.path)?;
        let backup = Table::parse_backup(self.geometry, read);
        let agree = place == Place::Primary && backup.is_ok_and(|backup| backup == table);
        Ok(FoundTable { table, copies: if agree { Copies::Agree } else { Copies::Differ } })
    }

    /// Writes both copies of the partition table: backup, sync, primary, sync. A power cut at any moment leaves a whole
    /// copy, of the old or of the new table.
    pub fn write_table(&self, table: &Table) -> Result<(), PathError> {
        let encoded = table
            .encode()
            .map_err(|error| invalid(error.to_string()))
            .doing("write the partition table of", &self.path)?;
        for copy in [&encoded.backup, &encoded.primary] {
            for write in copy {
                self.write_blocks(write).doing("write the partition table of", &self.path)?;
            }
            self.sync()?;
        }
        Ok(())
    }

    /// The partition of a role in a table read from this disk.
    pub fn partition(table: &Table, role: Role) -> Option<Partition> {
        let found = table.find(role)?;
        let (offset, bytes) = table.byte_range(found);
        Some(Partition { number: found.number, role, offset, bytes })
    }

    /// Reads exactly `buffer.len()` bytes at `offset` of a partition; never a byte outside of it.
    pub fn read_within(
        &self,
        partition: &Partition,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), PathError> {
        place_within(partition, offset, buffer.len())
            .and_then(|at| self.read_at(buffer, at))
            .doing("read a partition of", &self.path)
    }

    /// Writes all of `bytes` at `offset` of a partition; never a byte outside of it. Not durable before [`Disk::sync`].
    pub fn write_within(&self, partition: &Partition, offset: u64, bytes: &[u8]) -> Result<(), PathError> {
        place_within(partition, offset, bytes.len())
            .and_then(|at| self.write_at(bytes, at))
            .doing("write a partition of", &self.path)
    }

    /// Returns when everything written so far is on the disk.
    pub fn sync(&self) -> Result<(), PathError> {
        match &self.backing {
            Backing::File(file) => file.sync_all(),
            Backing::Medium(medium) => medium.sync(),
        }
        .doing("sync", &self.path)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match &self.backing {
            Backing::File(file) => file.read_exact_at(buffer, offset),
            Backing::Medium(medium) => medium.read_exact_at(buffer, offset),
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match &self.backing {
            Backing::File(file) => file.write_all_at(bytes, offset),
            Backing::Medium(medium) => medium.write_all_at(bytes, offset),
        }
    }

    fn read_blocks(&self, lba: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read_at(buffer, self.block_offset(lba)?)
    }

    fn write_blocks(&self, write: &gpt::Write) -> io::Result<()> {
        self.write_at(&write.bytes, self.block_offset(write.lba)?)
    }

    fn block_offset(&self, lba: u64) -> io::Result<u64> {
        lba.checked_mul(u64::from(self.geometry.block_bytes))
            .ok_or_else(|| invalid("the block is outside of every disk"))
    }
}

fn geometry(block_bytes: u64, bytes: u64) -> io::Result<Geometry> {
    let block_bytes = u32::try_from(block_bytes)
        .ok()
        .filter(|size| matches!(size, 512 | 4096))
        .ok_or_else(|| invalid(format!("its block size {block_bytes} is neither 512 nor 4096")))?;
    Ok(Geometry::of_bytes(block_bytes, bytes))
}

fn place_within(partition: &Partition, offset: u64, length: usize) -> io::Result<u64> {
    let end = u64::try_from(length).ok().and_then(|length| offset.checked_add(length));
    match (end, partition.offset.checked_add(offset)) {
        (Some(end), Some(at)) if end <= partition.bytes => Ok(at),
        (_, _) => Err(invalid(format!(
            "{length} bytes at {offset} are outside of the {} partition of {} bytes",
            partition.role.label(),
            partition.bytes
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coracle_format::gpt::Size;
    use coracle_format::guid::Guid;
    use coracle_slots::Record;

    const DISK_BYTES: u64 = 16 << 20;

    /// An image with a `meta` partition whose record is shipped.
    fn image() -> (tempfile::TempDir, Disk, Table) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk.raw");
        File::create(&path).unwrap().set_len(DISK_BYTES).unwrap();
        let disk = Disk::open(&path, Access::Write, 512, DISK_BYTES).unwrap();
        let mut table = Table::new(Guid::from_random([1; 16]), disk.geometry()).unwrap();
        table.add(Role::Meta, Guid::from_random([2; 16]), Size::Bytes(1 << 20)).unwrap();
        disk.write_table(&table).unwrap();
        let meta = Disk::partition(&table, Role::Meta).unwrap();
        disk.write_within(&meta, 0, &Record::shipped([7; 32], 1, 0).encode()).unwrap();
        (directory, disk, table)
    }

    #[test]
    fn a_written_table_is_read_back_with_agreeing_copies() {
        let (_keep, disk, table) = image();
        let found = disk.inspect_table().unwrap();
        assert_eq!((found.table, found.copies), (table, Copies::Agree));
    }

    #[test]
    fn a_damaged_copy_is_noticed_and_the_other_one_used() {
        for damaged in [512, DISK_BYTES - 512] {
            let (_keep, disk, table) = image();
            disk.file().unwrap().write_all_at(&[0xff; 512], damaged).unwrap();
            let found = disk.inspect_table().unwrap();
            assert_eq!((found.table, found.copies), (table, Copies::Differ), "block at {damaged}");
        }
    }

    #[test]
    fn reads_and_writes_stay_inside_the_partition() {
        let (_keep, disk, table) = image();
        let meta = Disk::partition(&table, Role::Meta).unwrap();
        let mut buffer = [0; 2];
        disk.read_within(&meta, meta.bytes - 2, &mut buffer).unwrap();
        let error = disk.read_within(&meta, meta.bytes - 1, &mut buffer).unwrap_err();
        assert!(error.source.to_string().contains("outside of the meta partition"));
        assert!(disk.write_within(&meta, u64::MAX, &buffer).is_err());
    }
}
