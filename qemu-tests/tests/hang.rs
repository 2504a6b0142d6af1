//! A release on trial whose kernel or initramfs hangs before it has a watchdog: the one that the selector has started ends
//! it, without anybody's help, and the other slot runs in the end.

#![expect(clippy::tests_outside_test_module, reason = "the whole crate is a test")]

use anyhow::{Context as _, Result, ensure};
use coracle::{
    build::Built,
    digest::Digest,
    image::inspect::Disk,
    launch::{self, Options},
    machine::Firmware,
};
use coracle_format::{
    gpt::Size,
    guid::Guid,
    layout::Role,
    slot::{Descriptor, Range},
};
use coracle_qemu_tests::{Guest, Setup, Spoil, context, image, scratch, spoil};
use coracle_slots::{COPY_OFFSETS, Record, Slot, SlotState, TRIAL_STARTS, Verdict};
use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

/// What the hanging PID 1 says.
const SPOILED: &str = "spoiled: there is no driver";
const DISK_BYTES: u64 = 1 << 30;
/// Longer than a healthy machine needs to its watchdog on a busy computer.
const SOON: Duration = Duration::from_secs(25);

/// A disk as an update has left it: the good release in A, one that hangs in B, which was started `starts` times already.
struct Prepared {
    file: File,
    meta: Range,
    path: PathBuf,
}

impl Prepared {
    fn new(image: &Built, name: &str, starts: u8) -> Result<Self> {
        let dir = scratch("hang")?.join(name);
        fs::create_dir_all(&dir)?;
        let path = dir.join("disk.raw");
        let options = Options { disk_bytes: DISK_BYTES, ..Options::new(image) };
        launch::make_disk(image, &options, &path)?;
        let disk = Disk::open(&path)?;
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let meta = disk.range(disk.table.find(Role::Meta).context("no meta")?);
        let good = disk.slot(Role::SlotA)?.context("nothing in slot A")?;
        let bad = spoil::artefact(&context()?, &good.boot()?, Spoil::InitSleeps, good.descriptor.arch)?;
        put_into_b(&disk, &file, &good.descriptor, &bad)?;
        let this = Self { file, meta, path };
        let mut record = this.record()?.written(Slot::B, Digest::of(&bad).0, 0, 0)?.arm(Slot::B)?;
        for _ in 0..starts {
            record = record.begin_boot(record.choose(&[]));
        }
        for offset in COPY_OFFSETS {
            this.file.write_all_at(&record.encode(), meta.offset + offset)?;
        }
        Ok(this)
    }

    fn record(&self) -> Result<Record> {
        let mut copies = [[0; coracle_slots::COPY_BYTES]; 2];
        for (copy, offset) in copies.iter_mut().zip(COPY_OFFSETS) {
            self.file.read_exact_at(copy, self.meta.offset + offset)?;
        }
        let found = coracle_slots::parse_copies(&copies[0], &copies[1]);
        Ok(found.ok().context("the disk has no slot record")?.record)
    }

    fn boot(&self, image: &Built, name: &str, firmware: Firmware) -> Result<Guest> {
        let dir = self.path.parent().unwrap_or_else(|| Path::new("."));
        let setup = Setup {
            disk: Some(self.path.clone()),
            watchdog: SOON,
            log: Some(dir.join("console.log")),
            ..Setup::new(firmware, &[])
        };
        Guest::boot(image, name, &setup)
    }

    /// The good release runs, and the other one has failed without having said why.
    fn has_fallen_back(&self, mut guest: Guest) -> Result<()> {
        guest.line("coracle: slot A (last good)")?;
        guest.phase("watchdog")?;
        guest.phase("container-web")?;
        guest.cut_power();
        let record = self.record()?;
        ensure!(record.booting() == Slot::A);
        ensure!(
            record.state(Slot::B) == SlotState::Failed(Verdict::NoVerdict),
            "slot B is {}",
            record.state(Slot::B)
        );
        Ok(())
    }
}

/// Adds slot B with this boot artefact. There is no root image in it: nobody gets that far.
fn put_into_b(disk: &Disk, file: &File, good: &Descriptor, boot: &[u8]) -> Result<()> {
    let mut table = disk.table.clone();
    table.fit(DISK_BYTES / 512)?;
    let (_, bytes) = table.byte_range(table.find(Role::SlotA).context("no slot A")?);
    let added = table.add(Role::SlotB, Guid::from_random([7; 16]), Size::Bytes(bytes))?;
    let encoded = table.encode()?;
    for write in encoded.primary.iter().chain(&encoded.backup) {
        file.write_all_at(&write.bytes, write.lba * 512)?;
    }
    let (start, bytes) = table.byte_range(&added);
    let mut descriptor = *good;
    descriptor.boot.bytes = u64::try_from(boot.len())?;
    descriptor.boot_digest = Digest::of(boot).0;
    let at = Descriptor::offset_in(bytes).context("slot B is too small")?;
    file.write_all_at(boot, start + descriptor.boot.offset)?;
    Ok(file.write_all_at(&descriptor.encode(), start + at)?)
}

#[test]
fn a_release_that_hangs_in_the_initramfs_is_reset_and_after_its_last_start_the_other_slot_runs() -> Result<()>
{
    let image = image("hello")?;
    let disk = Prepared::new(&image, "direct", TRIAL_STARTS - 1)?;
    let mut guest = disk.boot(&image, "direct", Firmware::Direct)?;
    guest.line("coracle: slot B (on trial)")?;
    guest.line(SPOILED)?;
    guest.line("coracle: the watchdog has reset the machine")?;
    disk.has_fallen_back(guest)
}

#[test]
#[ignore = "long: three times the selector's two minutes"]
fn the_selector_itself_starts_the_watchdog_that_ends_a_hanging_initramfs() -> Result<()> {
    let image = image("hello")?;
    let disk = Prepared::new(&image, "uefi", 0)?;
    let mut guest = disk.boot(&image, "uefi", Firmware::Uefi)?;
    for _ in 0..TRIAL_STARTS {
        guest.line("coracle: slot B (on trial)")?;
        guest.line(SPOILED)?;
    }
    disk.has_fallen_back(guest)
}
