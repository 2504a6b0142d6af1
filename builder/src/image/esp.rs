//! The EFI system partition: a FAT32 file system with the selector in the place where firmware looks for it.
//!
//! It holds one file and is never written again except to replace that, so it is laid out here in full (Microsoft's
//! "FAT: General Overview of On-Disk Format", version 1.03): reserved sectors, two file allocation tables, then
//! clusters of one sector: root directory, `EFI`, `BOOT`, the file.

use super::id;
use crate::{
    digest::Digest,
    error::{Error, Kind, Result},
};
use coracle_format::{
    layout::{ALIGNMENT, ESP_BYTES},
    slot::Arch,
};

const SECTOR: usize = 512;
/// Bytes of a directory entry.
const ENTRY_BYTES: usize = 32;
/// Sectors before the first table, the boot sector and its backup among them.
const RESERVED: u32 = 32;
const BACKUP_SECTOR: usize = 6;
const TABLES: u32 = 2;
/// Entries of a table in one sector.
const ENTRIES_PER_SECTOR: u32 = 128;
const ROOT: u32 = 2;
const EFI: u32 = 3;
const BOOT: u32 = 4;
const FILE: u32 = 5;
const END_OF_CHAIN: u32 = 0x0fff_ffff;
const LABEL: &[u8; 11] = b"ESP        ";
/// 1980-01-01, where FAT's calendar begins.
const DATE: u16 = 0x0021;
const VOLUME_LABEL: u8 = 0x08;
const DIRECTORY: u8 = 0x10;
const ARCHIVE: u8 = 0x20;

/// Where firmware looks for a boot program on a disk it knows nothing about (UEFI 2.10, table 3.4).
pub const fn boot_path(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "EFI/BOOT/BOOTX64.EFI",
        Arch::Aarch64 => "EFI/BOOT/BOOTAA64.EFI",
    }
}

/// The name in [`boot_path`] as a directory has it.
const fn short_name(arch: Arch) -> &'static [u8; 11] {
    match arch {
        Arch::X86_64 => b"BOOTX64 EFI",
        Arch::Aarch64 => b"BOOTAA64EFI",
    }
}

/// The selector on an EFI system partition that [`build`] has laid out.
pub fn selector(esp: &[u8], arch: Arch) -> Result<Vec<u8>> {
    find_selector(esp, arch).map(<[u8]>::to_vec).ok_or_else(|| {
        let message = format!("the EFI system partition does not hold {} where it was put", boot_path(arch));
        Error::new(Kind::Hostile, message).hint("is it an image that coracle built?")
    })
}

fn find_selector(esp: &[u8], arch: Arch) -> Option<&[u8]> {
    let word = |at: usize| {
        let bytes = esp.get(at..)?.first_chunk()?;
        usize::try_from(u32::from_le_bytes(*bytes)).ok()
    };
    let half = |at: usize| Some(u16::from_le_bytes(*esp.get(at..)?.first_chunk()?));
    let tables = usize::try_from(TABLES).ok()?.checked_mul(word(36)?)?;
    let first = usize::try_from(RESERVED).ok()?.checked_add(tables)?;
    let cluster = |number: u32| {
        let sector = first.checked_add(usize::try_from(number.checked_sub(2)?).ok()?)?;
        sector.checked_mul(SECTOR)
    };
    let directory = cluster(BOOT)?;
    let entries = (0..SECTOR / ENTRY_BYTES).map(|index| directory + index * ENTRY_BYTES);
    let at = entries.into_iter().find(|at| esp.get(*at..*at + 11) == Some(&short_name(arch)[..]))?;
    let start = u32::from(half(at + 20)?) << 16 | u32::from(half(at + 26)?);
    // It was written in one piece.
    let start = cluster(start)?;
    esp.get(start..start.checked_add(word(at + 28)?)?)
}

/// The partition's bytes, [`ESP_BYTES`] of them, with `selector` as the boot program.
pub fn build(arch: Arch, selector: &[u8], seed: &Digest) -> Result<Vec<u8>> {
    let shape = Shape::of(selector).ok_or_else(|| {
        let message =
            format!("the selector of {} bytes does not fit into the EFI system partition", selector.len());
        Error::new(Kind::TooLarge, message)
    })?;
    let mut out = vec![0; shape.sector(shape.total)];
    let boot = boot_sector(&shape, seed);
    let info = info_sector(&shape);
    for (index, sector) in [(0, &boot), (1, &info), (BACKUP_SECTOR, &boot), (BACKUP_SECTOR + 1, &info)] {
        out[index * SECTOR..][..SECTOR].copy_from_slice(sector);
    }
    let table = shape.table();
    for copy in 0..TABLES {
        let at = shape.sector(RESERVED + copy * shape.table_sectors);
        out[at..at + table.len()].copy_from_slice(&table);
    }
    let file_at = if selector.is_empty() { 0 } else { FILE };
    let root = [entry(LABEL, VOLUME_LABEL, 0, 0), entry(b"EFI        ", DIRECTORY, EFI, 0)];
    // The parent of a directory in the root is written as 0.
    let efi = [dot(EFI), dot_dot(0), entry(b"BOOT       ", DIRECTORY, BOOT, 0)];
    let boot = [dot(BOOT), dot_dot(EFI), entry(short_name(arch), ARCHIVE, file_at, shape.file_bytes)];
    let contents = [(ROOT, root.concat()), (EFI, efi.concat()), (BOOT, boot.concat())];
    for (cluster, bytes) in contents.iter().map(|(at, bytes)| (*at, &bytes[..])).chain([(FILE, selector)]) {
        let at = shape.cluster(cluster);
        out[at..at + bytes.len()].copy_from_slice(bytes);
    }
    Ok(out)
}

/// Where everything goes.
struct Shape {
    /// Sectors of the partition.
    total: u32,
    /// Sectors of one table.
    table_sectors: u32,
    /// Clusters of the partition.
    clusters: u32,
    /// Clusters of the file.
    file_clusters: u32,
    file_bytes: u32,
}

impl Shape {
    /// `None` if the file is too large.
    fn of(file: &[u8]) -> Option<Self> {
        let total = u32::try_from(ESP_BYTES / 512).ok()?;
        let file_bytes = u32::try_from(file.len()).ok()?;
        let space = total - RESERVED;
        // Each table sector describes 128 clusters; two table sectors take the room of two of them.
        let table_sectors = (space + 2).div_ceil(ENTRIES_PER_SECTOR + TABLES);
        let clusters = space - TABLES * table_sectors;
        let file_clusters = file_bytes.div_ceil(512);
        let fits = FILE - ROOT + file_clusters <= clusters;
        fits.then_some(Self { total, table_sectors, clusters, file_clusters, file_bytes })
    }

    fn sector(&self, sector: u32) -> usize {
        debug_assert!(sector <= self.total, "the sector lies in the partition");
        usize::try_from(sector).unwrap_or(usize::MAX).saturating_mul(SECTOR)
    }

    fn cluster(&self, cluster: u32) -> usize {
        self.sector(RESERVED + TABLES * self.table_sectors + cluster - ROOT)
    }

    /// The used beginning of a table.
    fn table(&self) -> Vec<u8> {
        let chain = (FILE..FILE + self.file_clusters).map(|cluster| {
            let is_last = cluster + 1 == FILE + self.file_clusters;
            if is_last { END_OF_CHAIN } else { cluster + 1 }
        });
        let head = [0x0fff_fff8, END_OF_CHAIN, END_OF_CHAIN, END_OF_CHAIN, END_OF_CHAIN];
        head.into_iter().chain(chain).flat_map(u32::to_le_bytes).collect()
    }
}

fn boot_sector(shape: &Shape, seed: &Digest) -> [u8; SECTOR] {
    let derived = id::derive(seed, "esp-volume");
    let hidden = u32::try_from(ALIGNMENT / 512).unwrap_or(0);
    let mut out = [0; SECTOR];
    out[..11].copy_from_slice(b"\xeb\x58\x90CORACLE ");
    // Sector size, sectors per cluster, reserved sectors, tables.
    out[11..17].copy_from_slice(&[0, 2, 1, 32, 0, 2]);
    // Medium, and a geometry that nobody reads.
    out[21] = 0xf8;
    out[24..28].copy_from_slice(&[63, 0, 255, 0]);
    out[28..32].copy_from_slice(&hidden.to_le_bytes());
    out[32..36].copy_from_slice(&shape.total.to_le_bytes());
    out[36..40].copy_from_slice(&shape.table_sectors.to_le_bytes());
    out[44..48].copy_from_slice(&ROOT.to_le_bytes());
    // Information sector, backup boot sector.
    out[48..52].copy_from_slice(&[1, 0, 6, 0]);
    // Drive, extended signature.
    out[64..67].copy_from_slice(&[0x80, 0, 0x29]);
    out[67..71].copy_from_slice(&derived[..4]);
    out[71..82].copy_from_slice(LABEL);
    out[82..90].copy_from_slice(b"FAT32   ");
    out[510..].copy_from_slice(&[0x55, 0xaa]);
    out
}

fn info_sector(shape: &Shape) -> [u8; SECTOR] {
    let used = FILE - ROOT + shape.file_clusters;
    let mut out = [0; SECTOR];
    out[..4].copy_from_slice(b"RRaA");
    out[484..488].copy_from_slice(b"rrAa");
    out[488..492].copy_from_slice(&(shape.clusters - used).to_le_bytes());
    out[492..496].copy_from_slice(&(ROOT + used).to_le_bytes());
    out[510..].copy_from_slice(&[0x55, 0xaa]);
    out
}

fn dot(cluster: u32) -> [u8; 32] {
    entry(b".          ", DIRECTORY, cluster, 0)
}

fn dot_dot(cluster: u32) -> [u8; 32] {
    entry(b"..         ", DIRECTORY, cluster, 0)
}

fn entry(name: &[u8; 11], attributes: u8, cluster: u32, bytes: u32) -> [u8; 32] {
    let cluster = cluster.to_le_bytes();
    let mut out = [0; 32];
    out[..11].copy_from_slice(name);
    out[11] = attributes;
    for at in [16, 18, 24] {
        out[at..at + 2].copy_from_slice(&DATE.to_le_bytes());
    }
    out[20..22].copy_from_slice(&cluster[2..]);
    out[26..28].copy_from_slice(&cluster[..2]);
    out[28..].copy_from_slice(&bytes.to_le_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Cursor, Read};

    #[test]
    fn another_reader_finds_the_selector_where_firmware_looks() {
        let seed = Digest::of(b"seed");
        let selector: Vec<u8> = (0..40_001_u32).flat_map(u32::to_le_bytes).collect();
        for arch in [Arch::X86_64, Arch::Aarch64] {
            let bytes = build(arch, &selector, &seed).unwrap();
            assert_eq!(bytes.len(), 48 << 20);
            let options = fatfs::FsOptions::new();
            let system = fatfs::FileSystem::new(Cursor::new(bytes), options).unwrap();
            assert_eq!(system.fat_type(), fatfs::FatType::Fat32);
            assert_eq!(system.volume_label_as_bytes(), b"ESP");
            let mut read = Vec::new();
            let mut file = system.root_dir().open_file(boot_path(arch)).unwrap();
            file.read_to_end(&mut read).unwrap();
            assert!(read == selector);
            let free = system.stats().unwrap();
            assert_eq!(free.total_clusters() - free.free_clusters(), 3 + 313);
        }
    }

    #[test]
    fn there_are_enough_clusters_to_be_fat32_and_the_tables_describe_all_of_them() {
        let shape = Shape::of(b"x").unwrap();
        assert!(shape.clusters >= 65525);
        assert!(shape.table_sectors * ENTRIES_PER_SECTOR >= shape.clusters + 2);
        assert_eq!(RESERVED + 2 * shape.table_sectors + shape.clusters, shape.total);
    }

    #[test]
    fn equal_inputs_give_equal_bytes_and_another_seed_another_volume() {
        let make = |seed: &[u8]| build(Arch::X86_64, b"MZ", &Digest::of(seed)).unwrap();
        assert!(make(b"1") == make(b"1"));
        assert!(make(b"1") != make(b"2"));
    }

    #[test]
    fn a_selector_that_does_not_fit_is_refused() {
        let seed = Digest::of(b"");
        let largest = Shape::of(b"").unwrap().clusters - 3;
        let mut selector = vec![1; usize::try_from(largest).unwrap() * SECTOR];
        build(Arch::X86_64, &selector, &seed).unwrap();
        selector.push(1);
        let error = build(Arch::X86_64, &selector, &seed).unwrap_err();
        assert_eq!(error.kind(), Kind::TooLarge);
    }
}
