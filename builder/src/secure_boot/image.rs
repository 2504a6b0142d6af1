//! The two programs of a disk that firmware starts: the selector on the ESP and the boot artefact in slot A.

use crate::{
    digest::Digest,
    error::{Doing as _, Error, Kind, Result},
    image::{esp, inspect::Disk, sparse},
};
use coracle_block::{Access, Disk as Raw, meta};
use coracle_format::{
    layout::Role,
    slot::{Arch, Descriptor},
};
use coracle_slots::{Record, Slot, SlotState};
use std::{fs, path::Path};

/// The two programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// The boot selector.
    pub selector: Vec<u8>,
    /// The boot artefact of slot A.
    pub boot: Vec<u8>,
    /// For this architecture.
    pub arch: Arch,
}

impl Parts {
    /// Reads them from a disk as `coracle build` makes it.
    pub fn read(disk: &Path) -> Result<Self> {
        let opened = Disk::open(disk)?;
        let slot = opened
            .slot(Role::SlotA)?
            .ok_or_else(|| Error::new(Kind::NotFound, format!("slot A of {} is empty", disk.display())))?;
        let arch = slot.descriptor.arch;
        let esp = opened.read_partition(Role::Esp, usize::MAX)?;
        Ok(Self { selector: esp::selector(&esp, arch)?, boot: slot.boot()?, arch })
    }
}

/// Puts `parts` onto the disk in place of those it has, whole or not at all. The disk must be one that no machine has
/// started from: its record says nothing but what the image says.
pub fn sign(disk: &Path, parts: &Parts) -> Result<()> {
    let dir = disk.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let temporary =
        tempfile::Builder::new().prefix(".disk-").tempfile_in(dir).doing("create temporary file in", dir)?;
    let bytes = fs::metadata(disk).doing("inspect", disk)?.len();
    sparse::duplicate(disk, temporary.path(), bytes)?;
    write(temporary.path(), bytes, parts)?;
    let mode = fs::metadata(disk).doing("inspect", disk)?.permissions();
    fs::set_permissions(temporary.path(), mode).doing("change the mode of", temporary.path())?;
    temporary.persist(disk).map_err(|error| error.error).doing("store", disk)?;
    Ok(())
}

fn write(path: &Path, bytes: u64, parts: &Parts) -> Result<()> {
    let block = u64::from(crate::image::disk::BLOCK_BYTES);
    let disk = Raw::open(path, Access::Write, block, bytes).map_err(failed)?;
    let table = disk.read_table().map_err(failed)?;
    let place = |role: Role| {
        Raw::partition(&table, role).ok_or_else(|| {
            let message = format!("{} has no {} partition", path.display(), role.label());
            Error::new(Kind::Hostile, message)
        })
    };
    let (esp, slot) = (place(Role::Esp)?, place(Role::SlotA)?);
    let record_at = place(Role::Meta)?;
    let seed = Digest::of(&parts.selector);
    disk.write_within(&esp, 0, &esp::build(parts.arch, &parts.selector, &seed)?).map_err(failed)?;
    let mut descriptor = descriptor(path)?;
    let before = descriptor.boot.bytes;
    descriptor.boot.bytes = u64::try_from(parts.boot.len()).unwrap_or(u64::MAX);
    descriptor.boot_digest = Digest::of(&parts.boot).0;
    let encoded = descriptor.encode();
    Descriptor::parse(&encoded, slot.bytes).map_err(|why| {
        Error::new(Kind::TooLarge, "the signed boot artefact does not fit into its slot").because(why)
    })?;
    disk.write_within(&slot, descriptor.boot.offset, &parts.boot).map_err(failed)?;
    // A shorter signature than before leaves nothing of the longer one.
    let rest = usize::try_from(before.saturating_sub(descriptor.boot.bytes)).unwrap_or(0);
    let end = descriptor.boot.offset.saturating_add(descriptor.boot.bytes);
    disk.write_within(&slot, end, &vec![0; rest]).map_err(failed)?;
    let at = Descriptor::offset_in(slot.bytes).unwrap_or(0);
    disk.write_within(&slot, at, &encoded).map_err(failed)?;
    let found = meta::read(&disk, &record_at).map_err(failed)?;
    let record = shipped_again(&found.record, descriptor.boot_digest, path)?;
    // Both copies, as in a new image.
    for offset in coracle_slots::COPY_OFFSETS {
        disk.write_within(&record_at, offset, &record.encode()).map_err(failed)?;
    }
    disk.sync().map_err(failed)
}

fn descriptor(path: &Path) -> Result<Descriptor> {
    let opened = Disk::open(path)?;
    let slot = opened.slot(Role::SlotA)?;
    slot.map(|slot| slot.descriptor)
        .ok_or_else(|| Error::new(Kind::NotFound, format!("slot A of {} is empty", path.display())))
}

/// The record of a new image with another release.
fn shipped_again(record: &Record, release: [u8; 32], path: &Path) -> Result<Record> {
    let fresh = record.state(Slot::A) == SlotState::Good && record.state(Slot::B) == SlotState::Empty;
    if fresh && record.sequence() == 1 {
        return Ok(Record::shipped(release, record.version(Slot::A), record.epoch(Slot::A)));
    }
    let message = format!("a machine has started from {} already", path.display());
    Err(Error::new(Kind::Usage, message)
        .hint("sign the image as it was built; a machine's own disk takes updates"))
}

fn failed(error: coracle_block::PathError) -> Error {
    Error::new(Kind::Io, error.to_string()).because(error.source)
}
