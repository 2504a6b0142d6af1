use super::*;
use crate::layout::{ESP_BYTES, META_BYTES};
use proptest::prelude::*;

const DISK: Geometry = Geometry { block_bytes: 512, blocks: 1 << 20 };

fn sample(geometry: Geometry) -> Table {
    let mut table = Table::new(Guid::from_random([7; 16]), geometry).unwrap();
    for (role, bytes) in [(Role::Esp, ESP_BYTES), (Role::Meta, META_BYTES), (Role::SlotA, 256 << 20)] {
        table.add(role, Guid::from_random([8; 16]), Size::Bytes(bytes)).unwrap();
    }
    table
}

/// A sparse disk in memory: what `encode` wrote, zeros elsewhere.
fn reader<'a>(
    block_bytes: u32,
    writes: impl Iterator<Item = &'a Write>,
) -> impl FnMut(u64, &mut [u8]) -> Result<(), core::convert::Infallible> {
    let writes: Vec<_> = writes.cloned().collect();
    move |lba, out| {
        for write in &writes {
            let block = usize::try_from(block_bytes).unwrap();
            for (index, chunk) in write.bytes.chunks(block).enumerate() {
                let at = write.lba + u64::try_from(index).unwrap();
                let inside = at
                    .checked_sub(lba)
                    .and_then(|skip| usize::try_from(skip).ok())
                    .and_then(|skip| out.get_mut(skip * block..(skip + 1) * block));
                if let Some(slice) = inside {
                    slice.copy_from_slice(chunk);
                }
            }
        }
        Ok(())
    }
}

fn read_back(table: &Table, place: Place, disk: Geometry) -> Result<Table, NotATable> {
    let encoded = table.encode().unwrap();
    let writes = encoded.primary.iter().chain(&encoded.backup);
    let mut read = reader(disk.block_bytes, writes);
    Table::parse_at(disk, place, &mut read).map_err(|error| match error {
        ReadError::Table(error) => error,
        ReadError::Disk(never) => match never {},
    })
}

#[test]
fn both_copies_read_back_the_same_for_both_block_sizes() {
    for block_bytes in [512, 4096] {
        let disk = Geometry::of_bytes(block_bytes, 512 << 20);
        let table = sample(disk);
        for place in [Place::Primary, Place::Backup] {
            assert_eq!(read_back(&table, place, disk), Ok(table.clone()));
        }
    }
}

#[test]
fn the_header_has_the_bytes_of_the_specification() {
    let encoded = sample(DISK).encode().unwrap();
    let [entries, header] = &encoded.primary;
    let mut expected = Vec::new();
    expected.extend_from_slice(b"EFI PART\x00\x00\x01\x00\x5c\x00\x00\x00");
    expected.extend_from_slice(&header.bytes[16..20]);
    expected.extend_from_slice(&[0, 0, 0, 0]);
    expected.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend_from_slice(&[0xff, 0xff, 0x0f, 0, 0, 0, 0, 0]);
    expected.extend_from_slice(&[34, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend_from_slice(&[0xde, 0xff, 0x0f, 0, 0, 0, 0, 0]);
    expected.extend_from_slice(&[7, 7, 7, 7, 7, 7, 7, 0x47, 0x87, 7, 7, 7, 7, 7, 7, 7]);
    expected.extend_from_slice(&[2, 0, 0, 0, 0, 0, 0, 0, 128, 0, 0, 0, 128, 0, 0, 0]);
    assert_eq!(header.bytes[..88], expected);
    assert_eq!((entries.lba, header.lba), (2, 1));
    let first = [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];
    assert_eq!(entries.bytes[..16], first);
    assert_eq!(entries.bytes[32..48], [0, 8, 0, 0, 0, 0, 0, 0, 0xff, 0x87, 1, 0, 0, 0, 0, 0]);
    assert_eq!(&entries.bytes[56..64], b"e\0s\0p\0\0\0");
}

#[test]
fn the_checksums_are_those_every_reader_computes() {
    let encoded = sample(DISK).encode().unwrap();
    let all: Vec<u8> = [
        &encoded.protective_mbr,
        &encoded.primary[1],
        &encoded.primary[0],
        &encoded.backup[0],
        &encoded.backup[1],
    ]
    .into_iter()
    .flat_map(|write| write.bytes.iter().copied())
    .collect();
    assert_eq!(CRC.checksum(&all), GOLDEN);
}

/// Over the bytes of `sample(DISK)`, which `sfdisk --verify` accepted.
const GOLDEN: u32 = 4_026_955_095;

#[test]
fn the_protective_mbr_covers_the_disk_or_what_it_can_say() {
    let small = sample(DISK).encode().unwrap().protective_mbr;
    assert_eq!(small.bytes[446..462], [0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0xff, 0xff, 0x0f, 0]);
    assert_eq!(small.bytes[510..], [0x55, 0xaa]);
    let large = Geometry { block_bytes: 512, blocks: 1 << 33 };
    let large = sample(large).encode().unwrap().protective_mbr;
    assert_eq!(large.bytes[458..462], [0xff; 4]);
}

#[test]
fn any_flipped_byte_of_header_or_entries_is_refused() {
    let encoded = sample(DISK).encode().unwrap();
    for (place, [entries, header]) in [(Place::Primary, &encoded.primary), (Place::Backup, &encoded.backup)] {
        for index in 0..header.bytes.len() {
            let mut damaged = header.bytes.clone();
            damaged[index] ^= 0x10;
            assert!(Table::parse(DISK, place, &damaged, &entries.bytes).is_err(), "{index}");
        }
        for index in 0..entries.bytes.len() {
            let mut damaged = entries.bytes.clone();
            damaged[index] ^= 0x10;
            assert_eq!(Table::parse(DISK, place, &header.bytes, &damaged), Err(NotATable::EntriesChecksum));
        }
    }
}

#[test]
fn a_damaged_primary_gives_way_to_the_backup() {
    let table = sample(DISK);
    let encoded = table.encode().unwrap();
    let read = reader(512, encoded.backup.iter());
    assert_eq!(Table::parse_either(DISK, read), Ok((table, Place::Backup)));
    let nothing = reader(512, [].iter());
    assert_eq!(Table::parse_either(DISK, nothing), Err(ReadError::Table(NotATable::Signature)));
}

/// Changes header fields and makes the checksum right again, as an attacker would.
fn forged(at: usize, bytes: &[u8]) -> Result<Table, NotATable> {
    let encoded = sample(DISK).encode().unwrap();
    let mut header = encoded.primary[1].bytes.clone();
    header[at..at + bytes.len()].copy_from_slice(bytes);
    let crc = header_crc(&header);
    header[HEADER_CRC].copy_from_slice(&crc.to_le_bytes());
    Table::parse(DISK, Place::Primary, &header, &encoded.primary[0].bytes)
}

#[test]
fn hostile_header_values_are_refused_with_a_right_checksum() {
    assert_eq!(forged(80, &u32::MAX.to_le_bytes()), Err(NotATable::EntryCount(u32::MAX)));
    assert_eq!(forged(84, &256_u32.to_le_bytes()), Err(NotATable::Header("entry size")));
    assert_eq!(forged(12, &512_u32.to_le_bytes()), Err(NotATable::Header("header size")));
    assert_eq!(forged(32, &u64::MAX.to_le_bytes()), Err(NotATable::Header("position of the backup header")));
    assert_eq!(forged(32, &3_u64.to_le_bytes()), Err(NotATable::Geometry));
    assert_eq!(forged(72, &u64::MAX.to_le_bytes()), Err(NotATable::Header("position of the entries")));
    assert_eq!(forged(24, &2_u64.to_le_bytes()), Err(NotATable::Header("own position")));
    assert_eq!(forged(48, &u64::MAX.to_le_bytes()), Err(NotATable::Header("usable blocks")));
}

#[test]
fn partitions_out_of_bounds_overlapping_or_doubled_are_refused() {
    let refused = |change: fn(&mut Vec<Partition>)| {
        let mut table = sample(DISK);
        change(&mut table.partitions);
        table.encode().unwrap_err()
    };
    assert_eq!(refused(|all| all[0].first = 33), NotATable::Bounds(1));
    assert_eq!(refused(|all| all[2].last = u64::MAX), NotATable::Bounds(3));
    assert_eq!(refused(|all| all[1].last = all[1].first - 1), NotATable::Bounds(2));
    assert_eq!(refused(|all| all[1].first -= 1), NotATable::Overlap(1, 2));
    assert_eq!(refused(|all| all[2].number = 129), NotATable::Number(129));
    assert_eq!(refused(|all| all[1].number = 1), NotATable::Number(1));
    assert_eq!(refused(|all| all[1].kind = all[0].kind), NotATable::Twice(Role::Esp));
}

#[test]
fn a_grown_disk_is_read_through_its_primary_and_refitted() {
    let table = sample(DISK);
    let grown = Geometry { blocks: DISK.blocks * 4, ..DISK };
    let mut read = read_back(&table, Place::Primary, grown).unwrap();
    assert_eq!(read, table);
    assert_eq!(read.fit(grown.blocks), Ok(true));
    assert_eq!(read.fit(grown.blocks), Ok(false));
    assert_eq!(read_back(&read, Place::Backup, grown), Ok(read.clone()));
    assert_eq!(read.fit(1 << 16), Err(NotATable::Bounds(1)));
    assert_eq!(read.disk_blocks, grown.blocks);
}

#[test]
fn first_boot_adds_slot_b_and_gives_state_the_rest() {
    let mut table = sample(DISK);
    table.fit(1 << 21).unwrap();
    let id = Guid::from_random([9; 16]);
    let b = table.add(Role::SlotB, id, Size::Bytes(256 << 20)).unwrap();
    let rest = Size::Rest { at_least: 64 << 20 };
    let state = table.add(Role::State, id, rest).unwrap();
    assert_eq!((b.number, state.number), (4, 5));
    assert_eq!(b.first, table.find(Role::SlotA).unwrap().last + 1);
    assert_eq!(table.byte_range(&state), (562 << 20, (1024 - 562 - 1) << 20));
    assert_eq!(table.add(Role::State, id, rest), Err(NoRoom::Exists(Role::State)));
    assert_eq!(table.grow(Role::State), 0);
    table.fit(1 << 22).unwrap();
    assert_eq!(table.grow(Role::State), 1 << 30);
    assert_eq!(table.grow(Role::SlotA), 0);
    table.encode().unwrap();
}

#[test]
fn no_room_says_how_much_there_was() {
    let error = sample(DISK).add(Role::State, Guid::ZERO, Size::Bytes(1 << 30)).unwrap_err();
    assert_eq!(
        alloc::format!("{error}"),
        "no room for the state partition: 1073741824 bytes needed, 214958080 free"
    );
}

prop_compose! {
    fn tables()(
        block_bytes in prop_oneof![Just(512_u32), Just(4096)],
        extra in 0..1_u64 << 40,
        disk_id in any::<[u8; 16]>(),
        parts in prop::collection::vec((1..=128_u32, any::<[u8; 32]>(), 0..999_u64, 1..999_u64, any::<u64>(), any::<[u16; 36]>()), 0..20),
    ) -> Table {
        let mut at = 40;
        let mut partitions: Vec<Partition> = Vec::new();
        for (number, ids, gap, blocks, attributes, name) in parts {
            let (kind, id) = (Guid(take(&ids, 0)), Guid(take(&ids, 16)));
            let first = at + gap;
            at = first + blocks;
            if kind != Guid::ZERO && partitions.iter().all(|one| one.number != number) {
                partitions.push(Partition { number, kind, id, first, last: at - 1, attributes, name });
            }
        }
        partitions.sort_unstable_by_key(|one| one.number);
        Table { disk_id: Guid(disk_id), block_bytes, disk_blocks: at + 40 + extra, partitions }
    }
}

proptest! {
    #[test]
    fn what_was_encoded_parses_to_the_same(table in tables()) {
        for place in [Place::Primary, Place::Backup] {
            prop_assert_eq!(read_back(&table, place, table.geometry()), Ok(table.clone()));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        table in tables(),
        noise in prop::collection::vec((0..ENTRIES_BYTES + 4096, any::<u8>()), 0..64),
        blocks in any::<u64>(),
        block_bytes in any::<u32>(),
    ) {
        let encoded = table.encode().unwrap();
        let mut header = encoded.primary[1].bytes.clone();
        let mut entries = encoded.primary[0].bytes.clone();
        header.resize(4096, 0);
        for (at, byte) in noise {
            if let Some(slot) = header.get_mut(at) {
                *slot = byte;
            } else {
                entries[at - 4096] = byte;
            }
        }
        let entries_crc = CRC.checksum(&entries);
        header[88..92].copy_from_slice(&entries_crc.to_le_bytes());
        let crc = header_crc(&header);
        header[HEADER_CRC].copy_from_slice(&crc.to_le_bytes());
        for disk in [table.geometry(), Geometry { block_bytes, blocks }, Geometry { block_bytes: 512, blocks }] {
            for place in [Place::Primary, Place::Backup] {
                if let Ok(mut table) = Table::parse(disk, place, &header, &entries) {
                    table.grow(Role::State);
                    let added = table.add(Role::Meta, Guid::ZERO, Size::Rest { at_least: 1 });
                    prop_assert!(added.is_err() || table.find(Role::Meta).is_some());
                    prop_assert!(table.encode().is_ok());
                }
            }
        }
    }

    #[test]
    fn what_is_added_is_aligned_and_inside(table in tables(), bytes in 0..1_u64 << 42) {
        let mut table = table;
        if let Ok(partition) = table.add(Role::State, Guid::ZERO, Size::Bytes(bytes)) {
            let (offset, length) = table.byte_range(&partition);
            prop_assert_eq!(offset % crate::layout::ALIGNMENT, 0);
            prop_assert!(length >= bytes);
            prop_assert!(table.encode().is_ok());
        }
    }
}
