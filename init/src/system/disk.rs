//! Finding the slot whose descriptor names the root hash of the command line.

use crate::cmdline::Verity;
use crate::fault::Fault;
use crate::kmsg::{self, Level, now_ms};
use crate::modules::{Kernel, Loader, load_for_devices};
use crate::sys::uevents::{Heard, MESSAGE_BYTES, Uevents};
use crate::sys::wait;
use crate::uevent;
use coracle_block::{Access, Devices, Disk, PathError, meta};
use coracle_format::gpt::Table;
use coracle_format::layout::Role;
use coracle_format::slot::{DESCRIPTOR_BYTES, Descriptor};
use coracle_slots::Slot;
use std::os::fd::AsFd;
use std::path::Path;

/// The slot to start from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RootSlot {
    /// Kernel name of its disk.
    pub(super) disk: String,
    /// Which slot.
    pub(super) role: Role,
    /// Kernel name of its partition.
    pub(super) partition: String,
    /// `major:minor` of its partition.
    pub(super) number_pair: String,
}

/// What the disks looked like when the root was not among them.
#[derive(Debug, Default)]
struct Seen(Vec<String>);

/// Waits for the slot, loading drivers for devices that appear meanwhile.
pub(super) fn wait_for(
    verity: &Verity,
    uevents: &Uevents,
    loader: &mut Loader,
    wait_ms: u64,
) -> Result<RootSlot, Fault> {
    let devices = Devices::default();
    let until = now_ms().saturating_add(wait_ms);
    loop {
        serve(uevents, loader);
        let mut seen = Seen::default();
        if let Some(slot) = search(&devices, verity, &mut seen)? {
            return Ok(slot);
        }
        if !wait::readable(uevents.as_fd(), until) {
            let disks = if seen.0.is_empty() { "no disk at all".to_owned() } else { seen.0.join("; ") };
            let why = format!("no slot has this root hash after {wait_ms} ms; seen: {disks}");
            return Err(Fault::new("find the root", crate::hex::encode(&verity.root_hash), why));
        }
    }
}

/// Loads drivers for what was announced.
fn serve(uevents: &Uevents, loader: &mut Loader) {
    let mut buffer = [0; MESSAGE_BYTES];
    loop {
        let faults = match uevents.next(&mut buffer) {
            Heard::Nothing => return,
            Heard::Lost => load_for_devices(loader, &mut Kernel, Path::new("/sys")),
            Heard::Message(length) => match uevent::parse(&buffer[..length.min(MESSAGE_BYTES)]) {
                Some(event) if event.action == "add" && !event.modalias.is_empty() => {
                    loader.load_for(event.modalias, &mut Kernel).faults
                }
                Some(_) | None => continue,
            },
        };
        super::warn(&faults);
    }
}

/// Looks at all disks in the order of their places. If several hold the root, the first one is taken, and said so.
fn search(devices: &Devices, verity: &Verity, seen: &mut Seen) -> Result<Option<RootSlot>, Fault> {
    let mut found: Option<RootSlot> = None;
    for name in devices.disks()? {
        match look_at(devices, &name, verity) {
            Ok(Some(slot)) => match &found {
                None => found = Some(slot),
                Some(first) => {
                    let line = format!("{name} holds the same release as {}: not used", first.partition);
                    kmsg::log(Level::Warning, &line);
                }
            },
            Ok(None) => seen.0.push(format!("{name} has other contents")),
            Err(error) => seen.0.push(format!("{name}: {}", Fault::from(error).line())),
        }
    }
    Ok(found)
}

fn look_at(devices: &Devices, name: &str, verity: &Verity) -> Result<Option<RootSlot>, PathError> {
    let disk = devices.open(name, Access::Read)?;
    let table = disk.read_table()?;
    for role in slot_order(booting(&disk, &table)) {
        if !holds(&disk, &table, role, verity)? {
            continue;
        }
        let Some(partition) = Disk::partition(&table, role) else {
            continue;
        };
        // The table is there before the kernel has announced its partitions: the next event comes back here.
        if devices.kernel_partition(name, partition.number)?.is_none() {
            return Ok(None);
        }
        let partition = Devices::partition_name(name, partition.number);
        let number_pair = devices.number_pair(&partition)?;
        return Ok(Some(RootSlot { disk: name.to_owned(), role, partition, number_pair }));
    }
    Ok(None)
}

/// Which slot the selector started, if the record says so. It matters only when both hold the same release.
fn booting(disk: &Disk, table: &Table) -> Option<Slot> {
    let partition = Disk::partition(table, Role::Meta)?;
    let found = meta::read(disk, &partition).ok()?;
    Some(found.record.booting())
}

const fn slot_order(first: Option<Slot>) -> [Role; 2] {
    match first {
        Some(Slot::B) => [Role::SlotB, Role::SlotA],
        Some(Slot::A) | None => [Role::SlotA, Role::SlotB],
    }
}

/// Whether a slot's descriptor names the root hash. It only leads to the slot: dm-verity is what judges its contents.
fn holds(disk: &Disk, table: &Table, role: Role, verity: &Verity) -> Result<bool, PathError> {
    let Some(partition) = Disk::partition(table, role) else {
        return Ok(false);
    };
    let Some(offset) = Descriptor::offset_in(partition.bytes) else {
        return Ok(false);
    };
    let mut block = [0; DESCRIPTOR_BYTES];
    disk.read_within(&partition, offset, &mut block)?;
    let descriptor = Descriptor::parse(&block, partition.bytes);
    Ok(descriptor.is_ok_and(|descriptor| descriptor.root_hash == verity.root_hash))
}

#[cfg(test)]
mod tests {
    use super::*;
    use coracle_format::gpt::{Geometry, Size};
    use coracle_format::guid::Guid;
    use coracle_format::slot::{Arch, Range, Text};

    const DISK_BYTES: u64 = 64 << 20;

    fn descriptor(root_hash: [u8; 32]) -> Descriptor {
        Descriptor {
            arch: Arch::X86_64,
            name: Text::new("test").unwrap(),
            version: Text::new("1").unwrap(),
            root: Range { offset: 0, bytes: 4096 },
            tree: Range { offset: 4096, bytes: 4096 },
            boot: Range { offset: 1 << 20, bytes: 1 },
            root_hash,
            salt: [0; 32],
            boot_digest: [0; 32],
        }
    }

    fn disk_with_slots(a: [u8; 32], b: [u8; 32]) -> (tempfile::TempDir, Disk, Table) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk.raw");
        std::fs::File::create(&path).unwrap().set_len(DISK_BYTES).unwrap();
        let disk = Disk::open(&path, Access::Write, 512, DISK_BYTES).unwrap();
        let geometry = Geometry::of_bytes(512, DISK_BYTES);
        let mut table = Table::new(Guid::from_random([1; 16]), geometry).unwrap();
        for (role, hash) in [(Role::SlotA, a), (Role::SlotB, b)] {
            table.add(role, Guid::from_random([2; 16]), Size::Bytes(8 << 20)).unwrap();
            let partition = Disk::partition(&table, role).unwrap();
            let at = Descriptor::offset_in(partition.bytes).unwrap();
            disk.write_within(&partition, at, &descriptor(hash).encode()).unwrap();
        }
        (directory, disk, table)
    }

    #[test]
    fn a_slot_is_known_by_the_root_hash_of_its_descriptor() {
        let (_keep, disk, table) = disk_with_slots([1; 32], [2; 32]);
        let verity = Verity { root_hash: [2; 32], salt: vec![], data_blocks: 1 };
        assert!(!holds(&disk, &table, Role::SlotA, &verity).unwrap());
        assert!(holds(&disk, &table, Role::SlotB, &verity).unwrap());
    }

    #[test]
    fn a_disk_without_a_record_is_searched_from_slot_a() {
        let (_keep, disk, table) = disk_with_slots([1; 32], [1; 32]);
        assert_eq!(booting(&disk, &table), None);
        assert_eq!(slot_order(None), [Role::SlotA, Role::SlotB]);
        assert_eq!(slot_order(Some(Slot::B)), [Role::SlotB, Role::SlotA]);
    }
}
