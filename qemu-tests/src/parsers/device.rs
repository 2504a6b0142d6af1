//! What is on a machine's disk, and what its kernel says.

use super::{ignore, seal};
use coracle_format::{
    device::{self, DeviceConfig, EarlyConfig, Load, Module},
    gpt::{Geometry, Place, Size, Table},
    guid::Guid,
    layout::Role,
    slot::{Arch, Descriptor, Range, Text},
};
use coracle_slots::{COPY_BYTES, Held, Record, Slot, Verdict};

/// The disk the tables of the seeds are made for.
const DISK_BYTES: u64 = 1 << 30;
const BLOCK: usize = 512;
const ENTRIES: usize = 128 * 128;

/// A header block and the entries behind it, as either copy.
pub(super) fn gpt(data: &[u8]) {
    let geometry = Geometry::of_bytes(512, DISK_BYTES);
    let mut sealed = data.to_vec();
    sealed.resize(BLOCK + ENTRIES, 0);
    seal::crc32(&mut sealed, BLOCK, BLOCK + ENTRIES, 88);
    // Clearing the place of the entries' sum has not touched the entries: it is in the header.
    seal::crc32(&mut sealed, 0, 92, 16);
    for bytes in [data, &sealed] {
        let (header, entries) = bytes.split_at(bytes.len().min(BLOCK));
        for place in [Place::Primary, Place::Backup] {
            if let Ok(mut table) = Table::parse(geometry, place, header, entries) {
                ignore(table.encode());
                ignore(table.fit(DISK_BYTES / 512 + 4096));
                ignore(table.add(Role::State, Guid::ZERO, Size::Rest { at_least: 1 << 20 }));
                table.grow(Role::State);
                ignore(table.encode());
            }
        }
    }
}

pub(super) fn gpt_seeds() -> Vec<Vec<u8>> {
    let geometry = Geometry::of_bytes(512, DISK_BYTES);
    let Ok(mut table) = Table::new(Guid::from_random([7; 16]), geometry) else {
        return Vec::new();
    };
    for (role, bytes) in [(Role::Esp, 48), (Role::Meta, 1), (Role::SlotA, 256)] {
        ignore(table.add(role, Guid::from_random([8; 16]), Size::Bytes(bytes << 20)));
    }
    let Ok(encoded) = table.encode() else {
        return Vec::new();
    };
    // Each copy is entries, then header; the parser is given the header first.
    [encoded.primary, encoded.backup].map(|[entries, header]| [header.bytes, entries.bytes].concat()).into()
}

pub(super) fn descriptor(data: &[u8]) {
    let mut sealed = data.to_vec();
    seal::sha256(&mut sealed, 0, 4064, 4064);
    for bytes in [data, &sealed] {
        for partition in [0, 4096, 256 << 20, u64::MAX] {
            if let Ok(descriptor) = Descriptor::parse(bytes, partition) {
                ignore((descriptor.boot.end(), descriptor.name.as_str().len(), descriptor.encode()));
            }
        }
    }
}

pub(super) fn descriptor_seeds() -> Vec<Vec<u8>> {
    let (Some(name), Some(version)) = (Text::new("hello"), Text::new("1.0.0")) else {
        return Vec::new();
    };
    let descriptor = Descriptor {
        arch: Arch::X86_64,
        name,
        version,
        root: Range { offset: 0, bytes: 8 << 20 },
        tree: Range { offset: 8 << 20, bytes: 64 << 10 },
        boot: Range { offset: 9 << 20, bytes: 12 << 20 },
        root_hash: [1; 32],
        salt: [2; 32],
        boot_digest: [3; 32],
    };
    vec![descriptor.encode().to_vec()]
}

pub(super) fn record(data: &[u8]) {
    let mut sealed = data.to_vec();
    seal::crc32(&mut sealed, 0, COPY_BYTES - 4, COPY_BYTES - 4);
    for bytes in [data, &sealed] {
        ignore(coracle_slots::parse_copies(bytes, data));
        if let Ok(record) = coracle_slots::parse(bytes) {
            live(record);
        }
    }
}

/// Every transition of a record that was believed.
fn live(record: Record) {
    let choice = record.choose(&[]);
    let booted = record.begin_boot(choice);
    ignore(booted.commit().map(|record| record.encode()));
    for slot in Slot::ALL {
        ignore((booted.clear(slot), booted.arm(slot), booted.refuse(slot), booted.damage(slot).encode()));
        ignore((booted.written(slot, [1; 32], 1, 0), booted.fail(slot, Verdict::Gate), booted.roll_back()));
        ignore(booted.retry(&booted.release(slot)).explain(slot, Verdict::Panic).missed().pause_seconds());
        ignore(record.choose(&[slot]));
    }
}

pub(super) fn record_seeds() -> Vec<Vec<u8>> {
    let held = |version| Some(Held { release: [7; 32], version });
    [[held(1), held(2)], [held(1), None], [None, None]]
        .map(|slots| {
            let record = Record::rebuilt(slots, None);
            record.begin_boot(record.choose(&[])).encode().to_vec()
        })
        .into()
}

pub(super) fn config(data: &[u8]) {
    let mut sealed = data.to_vec();
    let end = sealed.len();
    seal::put32(&mut sealed, 12, u32::try_from(end.saturating_sub(48)).unwrap_or(0));
    seal::sha256(&mut sealed, 48, end, 16);
    for bytes in [data, &sealed] {
        ignore(device::decode::<DeviceConfig>(bytes));
        ignore(device::decode::<EarlyConfig>(bytes));
    }
}

pub(super) fn config_seeds() -> Vec<Vec<u8>> {
    let early = EarlyConfig {
        root_wait_ms: 30_000,
        modules: vec![Module {
            name: "virtio_blk".into(),
            path: "/lib/modules/virtio_blk.ko".into(),
            params: String::new(),
            load: Load::Alias(vec!["virtio:d00000002v*".into()]),
            needs: vec![0],
        }],
    };
    device::encode(&early).into_iter().collect()
}

/// The command line and device events.
pub(super) fn kernel_words(data: &[u8]) {
    ignore(coracle_init::cmdline::parse_verity(&String::from_utf8_lossy(data)));
    ignore(coracle_init::uevent::parse(data));
    let text = String::from_utf8_lossy(data);
    let (pattern, name) = text.split_once('\n').unwrap_or((&text, ""));
    // Longer patterns than modules have would only measure patience.
    if pattern.len() <= 256 && name.len() <= 1024 {
        coracle_init::glob::matches(pattern, name);
    }
}

pub(super) fn kernel_words_seeds() -> Vec<Vec<u8>> {
    let hex = "6e".repeat(32);
    vec![
        format!("coracle.verity={hex}:{hex}:2886 console=ttyS0").into_bytes(),
        b"add@/devices/pci0/virtio0\0ACTION=add\0SUBSYSTEM=virtio\0MODALIAS=virtio:d2v1\0".to_vec(),
        b"pci:v*d*sv[0-9]*?bc01*\npci:v00001AF4d00001000sv00001AF4bc01sc00i00".to_vec(),
    ]
}
