//! Updates that go well, and machines that are disturbed meanwhile. Directly booted; `long` ones only on demand.

#![expect(clippy::tests_outside_test_module, reason = "the whole crate is a test")]

use anyhow::{Result, ensure};
use coracle::{image::inspect::Disk, machine::Firmware};
use coracle_format::{layout::Role, slot::Arch};
use coracle_qemu_tests::{
    Variant, Voyage,
    spoil::damage_root,
    voyage::{NEW, OLD},
};
use std::{fs::OpenOptions, os::unix::fs::FileExt as _};

const DIRECT: Firmware = Firmware::Direct;

/// What the container does, once a second, to show that nothing interrupts it.
const RECORDS: u32 = 5;

fn new(arch: Arch) -> Variant {
    Variant::new("v2", NEW, arch)
}

/// After the selector has started the new release: the kernel and the container start once, and the container goes on
/// with what it has kept while the release is committed, and after that.
fn one_interruption(voyage: &mut Voyage) -> Result<()> {
    let (mut boots, mut starts, mut committed, mut records) = (0, 0, false, 0);
    voyage.guest.scan("the container's work after the commit", |line| {
        boots += u32::from(line.contains("coracle: phase=api-mounts ok") || line.contains("coracle: slot "));
        starts += u32::from(line.contains("ledger: kept "));
        committed |= line.contains("coracle: phase=commit ok");
        records += u32::from(committed && line.contains("ledger: record "));
        (records == RECORDS).then_some(())
    })?;
    ensure!((boots, starts) == (1, 1), "{boots} boots and {starts} starts of the container, not one of each");
    Ok(())
}

/// The whole of an update: one reboot, a trial, a commit, and the same again after a power cut.
fn updates(firmware: Firmware, arch: Arch) -> Result<()> {
    let mut voyage = Voyage::begin(firmware, arch, "update")?;
    voyage.update(&new(arch).build()?)?;
    voyage.starts("B", "on trial")?;
    one_interruption(&mut voyage)?;
    let (state, verdict, version) = voyage.slot("B")?;
    ensure!((state.as_str(), version.as_str()) == ("good", NEW), "slot B is {state} {verdict:?} {version}");
    ensure!(voyage.status()?["floors"]["version"] == NEW, "the version floor was not raised");
    voyage.cut_power()?;
    voyage.starts("B", "last good")
}

#[test]
fn an_update_is_tried_and_kept_with_one_reboot() -> Result<()> {
    updates(DIRECT, Arch::X86_64)
}

#[test]
fn the_selector_starts_an_update_under_uefi() -> Result<()> {
    updates(Firmware::Uefi, Arch::X86_64)
}

#[test]
#[ignore = "long: two boots under emulated UEFI firmware of another architecture"]
fn the_selector_starts_an_update_under_uefi_on_aarch64() -> Result<()> {
    updates(Firmware::Uefi, Arch::Aarch64)
}

#[test]
fn a_power_cut_during_the_trial_does_not_block_the_release() -> Result<()> {
    let mut voyage = Voyage::begin(DIRECT, Arch::X86_64, "cut-in-trial")?;
    voyage.update(&new(Arch::X86_64).build()?)?;
    voyage.starts("B", "on trial")?;
    voyage.guest.phase("root-mount")?;
    voyage.cut_power()?;
    voyage.starts("B", "on trial")?;
    voyage.guest.phase("commit")?;
    ensure!(voyage.slot("B")?.0 == "good", "the release was not kept");
    Ok(())
}

fn meta(voyage: &Voyage) -> Result<Vec<u8>> {
    Ok(Disk::open(&voyage.disk())?.read_partition(Role::Meta, 1 << 20)?)
}

#[test]
#[ignore = "long: eleven boots"]
fn ten_power_cycles_of_a_healthy_machine_change_nothing() -> Result<()> {
    let mut voyage = Voyage::begin(DIRECT, Arch::X86_64, "ten-cycles")?;
    let before = meta(&voyage)?;
    for cycle in 1..=10 {
        voyage.cut_power()?;
        voyage.starts("A", "last good")?;
        voyage.guest.phase("root-mount")?;
        ensure!(meta(&voyage)? == before, "cycle {cycle} has changed the slot record");
    }
    voyage.guest.phase("container-ledger")?;
    ensure!(
        voyage.slot("A")? == ("good".to_owned(), None, OLD.to_owned()),
        "slot A: {:?}",
        voyage.slot("A")?
    );
    Ok(())
}

#[test]
fn a_machine_without_a_slot_that_can_be_started_says_why_and_waits_longer_each_time() -> Result<()> {
    let mut voyage = Voyage::begin(DIRECT, Arch::X86_64, "no-slot")?;
    voyage.guest.vm().cut_power();
    let path = voyage.disk();
    let disk = Disk::open(&path)?;
    let file = OpenOptions::new().write(true).open(&path)?;
    for partition in [Role::SlotA, Role::SlotB].iter().filter_map(|role| disk.table.find(*role)) {
        let range = disk.range(partition);
        // The descriptor is in the last block: without it there is nothing to start.
        file.write_all_at(&[0xff; 4096], range.offset + range.bytes - 4096)?;
    }
    voyage.cut_power()?;
    voyage.guest.line("coracle: slot A cannot be started:")?;
    voyage.guest.line("coracle: no slot can be started")?;
    voyage.guest.line("coracle: waiting 10 s")?;
    voyage.guest.line("coracle: no slot can be started")?;
    voyage.guest.line("coracle: waiting 20 s").map(drop)
}

#[test]
#[ignore = "long: one update, and four boots of damaged releases"]
fn a_machine_whose_slots_are_both_damaged_says_so_backs_off_and_tries_again() -> Result<()> {
    let mut voyage = Voyage::begin(DIRECT, Arch::X86_64, "both-damaged")?;
    voyage.update(&new(Arch::X86_64).build()?)?;
    voyage.starts("B", "on trial")?;
    voyage.guest.phase("commit")?;
    voyage.guest.vm().cut_power();
    for slot in [Role::SlotA, Role::SlotB] {
        damage_root(&voyage.disk(), slot)?;
    }
    voyage.cut_power()?;
    voyage.starts("B", "last good")?;
    voyage.guest.line("coracle: slot B is damaged, slot A is started next")?;
    voyage.guest.line("coracle: slot A (")?;
    voyage.guest.line("slot A is damaged and nothing else can be started: slot B is damaged")?;
    for pause in [10, 20] {
        voyage.cut_power()?;
        for line in ["coracle: slot A is damaged", "coracle: slot B is damaged"] {
            voyage.guest.line(line)?;
        }
        voyage.guest.line(&format!("coracle: waiting {pause} s"))?;
        voyage.guest.line("root image is damaged: block")?;
    }
    Ok(())
}
