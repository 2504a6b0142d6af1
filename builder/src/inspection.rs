//! Everything that can be read back from a disk image: partitions, slots, boot artefact, files, packages.

use crate::{
    build::PACKAGES_PATH,
    digest::Digest,
    error::{Doing as _, Error, Kind, Result},
    image::{
        inspect::{Disk, Slot},
        uki::Uki,
    },
};
use coracle_format::layout::Role;
use coracle_slots::{COPY_BYTES, COPY_OFFSETS, Slot as SlotName};
use ext4_view::{Ext4, Ext4Error, Ext4Read};
use serde::Serialize;
use std::{fs::File, os::unix::fs::FileExt as _, path::Path};

/// How many of the largest files are listed.
const LARGEST: usize = 15;
/// The most files that are walked.
const FILES_MAX: usize = 1_000_000;

/// What an image holds.
#[derive(Debug, Serialize)]
pub struct Inspection {
    /// Version of this form.
    pub v: u32,
    /// Bytes of the image, holes included.
    pub bytes: u64,
    /// Its partitions, by number.
    pub partitions: Vec<Partition>,
    /// What the slot record says.
    pub record: SlotRecord,
    /// The slots that hold something.
    pub slots: Vec<SlotContents>,
}

/// A partition.
#[derive(Debug, Serialize)]
pub struct Partition {
    /// Its number.
    pub number: u32,
    /// Its label.
    pub label: String,
    /// What it is for: `esp`, `meta`, `slot-a`, `slot-b`, `state`, `unknown`.
    pub role: &'static str,
    /// What its beginning looks like.
    pub format: &'static str,
    /// First byte.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
}

/// The slot record.
#[derive(Debug, Serialize)]
pub struct SlotRecord {
    /// How often it was changed; `None` if neither copy can be read.
    pub sequence: Option<u64>,
    /// State of slot A.
    pub a: String,
    /// State of slot B.
    pub b: String,
    /// The slot that is booted by default.
    pub last_good: String,
}

/// A slot that holds something.
#[derive(Debug, Serialize)]
pub struct SlotContents {
    /// `A` or `B`.
    pub slot: String,
    /// `[image] name`.
    pub name: String,
    /// `[image] version`.
    pub version: String,
    /// Architecture.
    pub arch: &'static str,
    /// `uname -r`.
    pub kernel: String,
    /// SHA-256 of the boot artefact.
    pub release: String,
    /// dm-verity root hash.
    pub root_hash: String,
    /// The kernel command line.
    pub command_line: String,
    /// Bytes of the boot artefact.
    pub boot_bytes: u64,
    /// Bytes of the kernel in it.
    pub kernel_bytes: u64,
    /// Bytes of the initramfs in it.
    pub initramfs_bytes: u64,
    /// Bytes of the root file system.
    pub root_bytes: u64,
    /// Bytes of its hash tree.
    pub tree_bytes: u64,
    /// How many files there are.
    pub files: usize,
    /// The largest files, largest first.
    pub largest: Vec<(String, u64)>,
    /// Packages by what they are for: `group name version architecture`.
    pub packages: Vec<String>,
}

/// Reads an image.
pub fn inspect(path: &Path) -> Result<Inspection> {
    let disk = Disk::open(path)?;
    let mut partitions = Vec::new();
    for partition in &disk.table.partitions {
        let range = disk.range(partition);
        partitions.push(Partition {
            number: partition.number,
            label: partition.label(),
            role: partition.role().map_or("unknown", Role::label),
            format: disk.format(partition)?.name(),
            offset: range.offset,
            bytes: range.bytes,
        });
    }
    let mut slots = Vec::new();
    for (name, role) in [(SlotName::A, Role::SlotA), (SlotName::B, Role::SlotB)] {
        if let Some(slot) = disk.slot(role)? {
            slots.push(contents(path, name, &slot)?);
        }
    }
    Ok(Inspection { v: 1, bytes: disk.bytes(), partitions, record: record(&disk)?, slots })
}

fn record(disk: &Disk) -> Result<SlotRecord> {
    let second = usize::try_from(COPY_OFFSETS[1]).unwrap_or(usize::MAX);
    let meta = disk.read_partition(Role::Meta, second.saturating_add(COPY_BYTES))?;
    let copy = |at: usize| meta.get(at..).unwrap_or_default();
    Ok(match coracle_slots::parse_copies(copy(0), copy(second)) {
        Ok(found) => SlotRecord {
            sequence: Some(found.record.sequence()),
            a: found.record.state(SlotName::A).to_string(),
            b: found.record.state(SlotName::B).to_string(),
            last_good: found.record.last_good().to_string(),
        },
        Err([first, second]) => SlotRecord {
            sequence: None,
            a: first.to_string(),
            b: second.to_string(),
            last_good: "unknown".to_owned(),
        },
    })
}

fn contents(path: &Path, name: SlotName, slot: &Slot<'_>) -> Result<SlotContents> {
    let boot = slot.boot()?;
    let uki = Uki::parse(&boot)?;
    let descriptor = &slot.descriptor;
    let root = slot.root();
    let file = File::open(path).doing("open", path)?;
    let unreadable = |source: Ext4Error| {
        Error::new(
            Kind::Hostile,
            format!("cannot read the root file system in slot {name} of {}", path.display()),
        )
        .because(source)
    };
    let fs =
        Ext4::load(Box::new(Window { file, offset: root.offset, bytes: root.bytes })).map_err(unreadable)?;
    let mut files = walk(&fs).map_err(unreadable)?;
    files.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let packages = fs.read_to_string(format!("/{PACKAGES_PATH}").as_str()).unwrap_or_default();
    Ok(SlotContents {
        slot: name.to_string(),
        name: descriptor.name.as_str().to_owned(),
        version: descriptor.version.as_str().to_owned(),
        arch: descriptor.arch.name(),
        kernel: uki.uname()?.to_owned(),
        release: Digest(descriptor.boot_digest).to_string(),
        root_hash: Digest(descriptor.root_hash).to_string(),
        command_line: uki.command_line()?.to_owned(),
        boot_bytes: descriptor.boot.bytes,
        kernel_bytes: length(uki.linux()?),
        initramfs_bytes: length(uki.initrd()?),
        root_bytes: descriptor.root.bytes,
        tree_bytes: descriptor.tree.bytes,
        files: files.len(),
        largest: files.into_iter().take(LARGEST).collect(),
        packages: packages.lines().map(str::to_owned).collect(),
    })
}

/// Every regular file with its length.
pub(crate) fn walk(fs: &Ext4) -> std::result::Result<Vec<(String, u64)>, Ext4Error> {
    let mut files = Vec::new();
    let mut directories = vec![ext4_view::PathBuf::new("/")];
    while let Some(directory) = directories.pop() {
        for entry in fs.read_dir(&directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.as_ref(), b"." | b"..") {
                continue;
            }
            let metadata = fs.symlink_metadata(&entry.path())?;
            if metadata.is_dir() {
                directories.push(entry.path());
            } else if metadata.file_type().is_regular_file() {
                files.push((entry.path().display().to_string(), metadata.len()));
            }
            if files.len().saturating_add(directories.len()) > FILES_MAX {
                return Ok(files);
            }
        }
    }
    Ok(files)
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// A range of a file, read as if it were a disk of its own.
struct Window {
    file: File,
    offset: u64,
    bytes: u64,
}

impl Ext4Read for Window {
    fn read(
        &mut self,
        start: u64,
        buffer: &mut [u8],
    ) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync + 'static>> {
        let end = start.checked_add(length(buffer)).filter(|end| *end <= self.bytes);
        let Some(at) = end.and_then(|_| self.offset.checked_add(start)) else {
            return Err("read beyond the end of the root file system".into());
        };
        Ok(self.file.read_exact_at(buffer, at)?)
    }
}
