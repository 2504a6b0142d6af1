//! A partition table whose primary copy is torn: the machine starts by the backup, mends it, and takes updates.

#![expect(clippy::tests_outside_test_module, reason = "the whole crate is a test")]

use anyhow::{Context as _, Result, ensure};
use coracle::machine::Firmware;
use coracle_format::{
    gpt::{Geometry, PRIMARY_LBA, Table},
    slot::Arch,
};
use coracle_qemu_tests::{Variant, Voyage, voyage::NEW};
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
};

const SECTOR: usize = 512;

/// One sector of the primary copy.
#[derive(Clone, Copy, Debug)]
enum Torn {
    Header,
    /// The first four partitions.
    Entries,
}

impl Torn {
    const fn lba(self) -> u64 {
        match self {
            Self::Header => PRIMARY_LBA,
            Self::Entries => PRIMARY_LBA + 1,
        }
    }
}

fn copies(voyage: &Voyage) -> Result<[Option<Table>; 2]> {
    let file = File::open(voyage.disk())?;
    let disk = Geometry::of_bytes(u32::try_from(SECTOR)?, file.metadata()?.len());
    let read = |lba: u64, buffer: &mut [u8]| -> io::Result<()> {
        file.read_exact_at(buffer, lba.saturating_mul(SECTOR.try_into().unwrap_or(u64::MAX)))
    };
    Ok([Table::parse_primary(disk, read).ok(), Table::parse_backup(disk, read).ok()])
}

/// Destroys the sector while the machine is off, and starts it.
fn tear(voyage: &mut Voyage, torn: Torn) -> Result<()> {
    voyage.guest.vm().cut_power();
    let file = OpenOptions::new().write(true).open(voyage.disk())?;
    file.write_all_at(&[0x5a; SECTOR], torn.lba() * u64::try_from(SECTOR)?)?;
    let [primary, backup] = copies(voyage)?;
    ensure!(primary.is_none() && backup.is_some(), "{torn:?}: the table was not torn");
    voyage.cut_power()?;
    voyage.starts("A", "last good")?;
    voyage.guest.phase("state-layout").with_context(|| format!("{torn:?}"))?;
    let [primary, backup] = copies(voyage)?;
    ensure!(primary.is_some() && primary == backup, "{torn:?}: the primary copy is not mended");
    voyage.guest.phase("state-mount").map(drop)
}

fn survives(firmware: Firmware) -> Result<()> {
    let mut voyage = Voyage::begin(firmware, Arch::X86_64, "torn-table")?;
    tear(&mut voyage, Torn::Header)?;
    tear(&mut voyage, Torn::Entries)?;
    voyage.update(&Variant::new("v2", NEW, Arch::X86_64).build()?)?;
    voyage.starts("B", "on trial")?;
    voyage.guest.phase("commit").map(drop)
}

#[test]
#[ignore = "long: one update more; the table itself is tested without machines"]
fn a_torn_primary_partition_table_is_mended_at_the_next_boot() -> Result<()> {
    survives(Firmware::Direct)
}

#[test]
#[ignore = "long: one update more, through UEFI firmware"]
fn a_torn_primary_partition_table_is_mended_at_the_next_boot_under_uefi() -> Result<()> {
    survives(Firmware::Uefi)
}
