//! What a machine does not take, and what it takes in spite of everything. Directly booted; `long` ones only on demand.

#![expect(clippy::tests_outside_test_module, reason = "the whole crate is a test")]

use anyhow::{Context as _, Result, ensure};
use coracle::{digest::Digest, image::inspect::Disk, launch, machine::Firmware};
use coracle_format::{
    bundle::{Header, Index, Part},
    layout::Role,
    slot::Arch,
};
use coracle_qemu_tests::{
    Faults, Server, Variant, Voyage, scratch,
    signing::Who,
    voyage::{NEW, OLD},
};
use coracle_slots::COPY_OFFSETS;
use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

const DIRECT: Firmware = Firmware::Direct;

/// A copy of a bundle that `change` has changed.
fn changed(bundle: &Path, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Result<PathBuf> {
    let mut bytes = fs::read(bundle)?;
    change(&mut bytes);
    let path = scratch("refused")?.join(name);
    coracle::files::replace(&path, &bytes)?;
    Ok(path)
}

/// A byte of a bundle that no machine of another version has: of the first frame of the boot artefact, with its command
/// line. What the running slot has as well is not looked at in the bundle.
fn needed(bundle: &Path) -> Result<usize> {
    let bytes = fs::read(bundle)?;
    let header = Header::parse(&bytes)?;
    let [from, to] = [header.index_offset(), header.frames_offset()].map(usize::try_from);
    let index = Index::parse(&bytes[from?..to?])?;
    let boot = index.placed().find(|(_, frame)| frame.part == Part::Boot);
    let (place, frame) = boot.context("the bundle has no boot artefact")?;
    Ok(usize::try_from(header.frames_offset() + place + u64::from(frame.stored / 2))?)
}

/// Every kind of update that is not for this machine; each is refused in words of its own, and the machine goes on.
fn refuses(firmware: Firmware, arch: Arch) -> Result<()> {
    let voyage = Voyage::begin(firmware, arch, "refusal")?;
    let other = if arch == Arch::X86_64 { Arch::Aarch64 } else { Arch::X86_64 };
    let good = Variant::new("v2", NEW, arch).build()?.bundle;
    let foreign = Variant { who: Who::Stranger, ..Variant::new("v2-foreign", NEW, arch) }.build()?.bundle;
    let needed = needed(&good)?;
    let offers = [
        ("a foreign key", foreign, 3),
        ("an older version", Variant::new("v0", "0.9.0", arch).build()?.bundle, 3),
        ("another architecture", Variant::new("v2", NEW, other).build()?.bundle, 3),
        ("a flipped bit in the header", changed(&good, "header", |bytes| bytes[9] ^= 1)?, 3),
        ("a flipped bit in the metadata", changed(&good, "metadata", |bytes| bytes[700] ^= 1)?, 3),
        ("a flipped bit in a frame", changed(&good, "frame", |bytes| bytes[needed] ^= 1)?, 3),
        ("trailing bytes", changed(&good, "trailing", |bytes| bytes.push(0))?, 3),
        ("the running version", Variant::new("v1", OLD, arch).build()?.bundle, 3),
    ];
    let operator = voyage.operator()?;
    let mut said = Vec::new();
    for (what, bundle, code) in offers {
        let reply = operator.send(&bundle).context(what)?;
        ensure!(reply.code == code, "{what}: exit code {}: {}{}", reply.code, reply.out, reply.err);
        ensure!(!said.contains(&reply.err), "{what} is refused in the words of another: {}", reply.err);
        said.push(reply.err);
        let (state, _, version) = voyage.slot("A")?;
        ensure!((state.as_str(), version.as_str()) == ("good", OLD), "{what}: slot A is {state} {version}");
        let (state, ..) = voyage.slot("B")?;
        ensure!(state == "empty", "{what}: slot B is {state}");
    }
    let status = voyage.status()?;
    ensure!(status["next_slot"] == "A" && status["floors"]["version"] == OLD, "{status}");
    Ok(())
}

#[test]
fn what_is_not_for_this_machine_is_refused_and_changes_nothing() -> Result<()> {
    refuses(DIRECT, Arch::X86_64)
}

#[test]
#[ignore = "long: the same through UEFI firmware"]
fn the_same_is_refused_under_uefi() -> Result<()> {
    refuses(Firmware::Uefi, Arch::X86_64)
}

#[test]
#[ignore = "long: an emulated machine of the other architecture"]
fn the_same_is_refused_under_uefi_on_aarch64() -> Result<()> {
    refuses(Firmware::Uefi, Arch::Aarch64)
}

#[test]
fn a_connection_that_is_cut_twenty_times_costs_five_percent_at_most() -> Result<()> {
    let mut voyage = Voyage::begin(DIRECT, Arch::X86_64, "cut-connection")?;
    let release = Variant::new("v2", NEW, Arch::X86_64).build()?;
    let bytes = fs::metadata(&release.bundle)?.len();
    let faults = Faults { cuts: 20, cut_after: bytes / 21, ..Faults::default() };
    let server = Server::with_faults([release.served()].into(), faults)?;
    server.order(&voyage.guest, &release).carry_out()?;
    voyage.starts("B", "on trial")?;
    voyage.guest.phase("commit")?;
    let sent = server.sent();
    ensure!(sent * 100 <= bytes * 105, "{sent} bytes were sent of {bytes}");
    Ok(())
}

#[test]
fn a_machine_whose_slot_records_are_both_lost_starts_and_takes_updates() -> Result<()> {
    let mut voyage = Voyage::begin(DIRECT, Arch::X86_64, "lost-records")?;
    voyage.guest.vm().cut_power();
    let path = voyage.disk();
    let disk = Disk::open(&path)?;
    let meta = disk.range(disk.table.find(Role::Meta).context("no meta partition")?);
    let file = OpenOptions::new().write(true).open(&path)?;
    for offset in COPY_OFFSETS {
        file.write_all_at(&[0x5a; 512], meta.offset + offset)?;
    }
    voyage.cut_power()?;
    voyage.guest.line("coracle: no slot record")?;
    voyage.guest.phase("container-ledger")?;
    ensure!(voyage.slot("A")?.0 == "good", "slot A: {:?}", voyage.slot("A")?);
    voyage.update(&Variant::new("v2", NEW, Arch::X86_64).build()?)?;
    voyage.starts("B", "on trial")?;
    voyage.guest.phase("commit")?;
    Ok(())
}

#[test]
#[ignore = "long: one more update"]
fn a_second_disk_with_the_same_labels_is_never_written() -> Result<()> {
    let second = scratch("refused")?.join("second.raw");
    let mut voyage = Voyage::begin_with(DIRECT, Arch::X86_64, "second-disk", |old, setup| {
        let options = launch::Options { disk_bytes: 1 << 30, ..launch::Options::new(&old.image) };
        launch::make_disk(&old.image, &options, &second)?;
        setup.second_disk = Some(second.clone());
        Ok(())
    })?;
    let digest = || -> Result<Digest> { Ok(Digest::of_reader(&mut fs::File::open(&second)?)?.0) };
    let before = digest()?;
    voyage.update(&Variant::new("v2", NEW, Arch::X86_64).build()?)?;
    voyage.starts("B", "on trial")?;
    voyage.guest.phase("commit")?;
    ensure!(digest()? == before, "the second disk was written");
    Ok(())
}
