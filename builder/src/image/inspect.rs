//! Reading a disk back: what `coracle inspect` shows and `coracle run` boots directly. Nothing on the disk is believed.

use super::sparse::fill;
use crate::{
    digest::{Digest, Hasher},
    error::{Doing, Error, Kind, Result},
};
use coracle_format::{
    gpt::{Geometry, Partition, Place, ReadError, Table},
    layout::Role,
    slot::{DESCRIPTOR_BYTES, Descriptor, NotASlot, Range},
};
use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// The largest boot artefact that is read into memory.
pub const BOOT_BYTES_MAX: u64 = 512 << 20;

/// A disk image opened for reading.
#[derive(Debug)]
pub struct Disk {
    file: File,
    path: PathBuf,
    bytes: u64,
    /// Its partition table.
    pub table: Table,
    /// Which copy of the table was read: the backup if the primary is damaged.
    pub place: Place,
}

/// What the first blocks of a partition hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Zeros.
    Empty,
    /// ext2, ext3 or ext4.
    Ext4,
    /// FAT.
    Fat,
    /// Anything else.
    Other,
}

impl Format {
    /// Its name in listings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Ext4 => "ext4",
            Self::Fat => "fat",
            Self::Other => "raw",
        }
    }
}

impl Disk {
    /// Opens an image and reads its partition table, for blocks of 512 or 4096 bytes.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).doing("open", path)?;
        let bytes = file.metadata().doing("inspect", path)?.len();
        let read = |block_bytes: u32| {
            Table::parse_either(Geometry::of_bytes(block_bytes, bytes), |lba, buffer| {
                file.read_exact_at(buffer, lba.saturating_mul(u64::from(block_bytes)))
            })
        };
        let (table, place) = read(512)
            .or_else(|error| read(4096).or(Err(error)))
            .map_err(|error| not_an_image(path, error))?;
        Ok(Self { file, path: path.to_owned(), bytes, table, place })
    }

    /// Length of the image.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where a partition is.
    pub fn range(&self, partition: &Partition) -> Range {
        let (offset, bytes) = self.table.byte_range(partition);
        Range { offset, bytes }
    }

    /// What the beginning of a partition looks like.
    pub fn format(&self, partition: &Partition) -> Result<Format> {
        let mut head = [0; 4096];
        let range = self.range(partition);
        let n = fill(&self.file, &mut head, range.offset).doing("read", &self.path)?;
        Ok(if n == head.len() && head[1080..1082] == [0x53, 0xef] {
            Format::Ext4
        } else if head[510..512] == [0x55, 0xaa] && [&head[54..57], &head[82..85]].contains(&&b"FAT"[..]) {
            Format::Fat
        } else if head.iter().all(|byte| *byte == 0) {
            Format::Empty
        } else {
            Format::Other
        })
    }

    /// Partition bytes: the raw contents of a small partition such as `meta`, at most `limit` from its beginning.
    pub fn read_partition(&self, role: Role, limit: usize) -> Result<Vec<u8>> {
        let range = self.range(self.require(role)?);
        let length = usize::try_from(range.bytes).map_or(limit, |bytes| bytes.min(limit));
        let mut out = vec![0; length];
        self.file.read_exact_at(&mut out, range.offset).doing("read", &self.path)?;
        Ok(out)
    }

    /// The descriptor of a slot. `None` if the disk has no such partition, or the slot is empty.
    pub fn slot(&self, role: Role) -> Result<Option<Slot<'_>>> {
        let Some(partition) = self.table.find(role) else {
            return Ok(None);
        };
        let range = self.range(partition);
        let Some(at) = Descriptor::offset_in(range.bytes) else {
            return Ok(None);
        };
        let mut block = [0; DESCRIPTOR_BYTES];
        self.file.read_exact_at(&mut block, range.offset.saturating_add(at)).doing("read", &self.path)?;
        match Descriptor::parse(&block, range.bytes) {
            Ok(descriptor) => Ok(Some(Slot { disk: self, role, offset: range.offset, descriptor })),
            Err(NotASlot::Magic) => Ok(None),
            Err(
                why @ (NotASlot::Truncated
                | NotASlot::Digest
                | NotASlot::Version(_)
                | NotASlot::Arch(_)
                | NotASlot::Range),
            ) => {
                let message = format!("cannot read {} of {}", role.label(), self.path.display());
                Err(Error::new(Kind::Hostile, message).because(why))
            }
        }
    }

    fn require(&self, role: Role) -> Result<&Partition> {
        self.table.find(role).ok_or_else(|| {
            let message = format!("{} has no {} partition", self.path.display(), role.label());
            Error::new(Kind::Hostile, message).hint("is it an image that coracle built?")
        })
    }
}

/// A slot with something in it.
#[derive(Debug)]
pub struct Slot<'d> {
    disk: &'d Disk,
    role: Role,
    offset: u64,
    /// What it says it holds.
    pub descriptor: Descriptor,
}

impl Slot<'_> {
    /// The boot artefact; its digest matches the descriptor. Take it apart with [`super::uki::Uki::parse`].
    pub fn boot(&self) -> Result<Vec<u8>> {
        let Range { offset, bytes } = self.descriptor.boot;
        if bytes > BOOT_BYTES_MAX {
            let message = format!(
                "the boot artefact of {} has {bytes} bytes, the limit is {BOOT_BYTES_MAX}",
                self.role.label()
            );
            return Err(Error::new(Kind::Hostile, message));
        }
        let length = usize::try_from(bytes)
            .map_err(|source| Error::new(Kind::TooLarge, "cannot read the boot artefact").because(source))?;
        let mut out = vec![0; length];
        self.disk
            .file
            .read_exact_at(&mut out, self.offset.saturating_add(offset))
            .doing("read", &self.disk.path)?;
        if Digest::of(&out).0 != self.descriptor.boot_digest {
            return Err(self.damaged("boot artefact"));
        }
        Ok(out)
    }

    /// Where the root file system is on the disk.
    pub fn root(&self) -> Range {
        Range {
            offset: self.offset.saturating_add(self.descriptor.root.offset),
            bytes: self.descriptor.root.bytes,
        }
    }

    /// The digest of the root file system's bytes: what a release is told apart by, not a proof.
    pub fn root_digest(&self) -> Result<Digest> {
        let root = self.root();
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; 1 << 20];
        while hasher.bytes() < root.bytes {
            let left = root.bytes - hasher.bytes();
            let wanted = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
            let at = root.offset.saturating_add(hasher.bytes());
            let n = fill(&self.disk.file, &mut buffer[..wanted], at).doing("read", &self.disk.path)?;
            if n == 0 {
                return Err(self.damaged("root file system"));
            }
            hasher.update(&buffer[..n]);
        }
        Ok(hasher.digest())
    }

    fn damaged(&self, what: &str) -> Error {
        let message =
            format!("the {what} in {} of {} is damaged", self.role.label(), self.disk.path.display());
        Error::new(Kind::Digest, message).hint("build the image again")
    }
}

fn not_an_image(path: &Path, error: ReadError<io::Error>) -> Error {
    match error {
        ReadError::Disk(source) => {
            let message = format!("cannot read the partition table of {}", path.display());
            Error::new(Kind::Io, message).because(source)
        }
        ReadError::Table(why) => {
            let message = format!("{} is no disk image", path.display());
            Error::new(Kind::Hostile, message).because(why).hint("give the disk.raw of a build, uncompressed")
        }
    }
}
