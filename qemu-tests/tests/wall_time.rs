//! How long an update takes on this computer, without a machine: by delta, by bundle, and bytes that are just written.

#![expect(clippy::tests_outside_test_module, reason = "the whole crate is a test")]

use anyhow::{Context as _, Result, ensure};
use coracle::launch;
use coracle_block::{Access, Disk, Partition};
use coracle_format::{layout::Role, slot::Arch};
use coracle_qemu_tests::{
    Release, TwoSlots, Variant,
    deltas::{kernel, kernel_with_all_modules},
    scratch, signing,
};
use coracle_slots::Slot;
use coracle_update::{
    engine::Ask,
    executor::{Executor, Observer, Settings, Supply, Tools, Vouching},
    source,
};
use sha2::{Digest as _, Sha256};
use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How often each is measured; what counts is the median.
const TIMES: usize = 5;
const DISK_BYTES: u64 = 2 << 30;
/// So much is written between two syncs, as an update does.
const SYNC_BYTES: usize = 8 << 20;
/// The kernels 6.12.y that releases have.
const KERNELS: [u32; 2] = [116, 117];
/// A change of a container that no release before has.
const NOTE: &str = "[[container.file]]\npath = \"/note\"\ncontent = \"changed\"";

/// Nobody watches.
#[derive(Debug)]
struct Quiet;

impl Observer for Quiet {
    fn stage(&mut self, _name: &'static str) {}
    fn progress(&mut self, _done: u64, _total: u64) {}
    fn note(&mut self, _text: &str) {}
}

/// A machine's disk as a file, whose slot A runs.
struct Machine {
    path: PathBuf,
    old: Release,
    root: Vec<u8>,
}

impl Machine {
    /// The disk as it was shipped, with the old release in both slots.
    fn fresh(&self) -> Result<Executor> {
        let options = launch::Options { disk_bytes: DISK_BYTES, ..launch::Options::new(&self.old.image) };
        launch::make_disk(&self.old.image, &options, &self.path)?;
        TwoSlots::make(&self.path)?;
        let executor = Executor::on(Disk::open(&self.path, Access::Write, 512, DISK_BYTES)?, Slot::A)?;
        executor.disk().sync()?;
        Ok(executor)
    }

    /// How long it takes to apply what is in a file, with the bundle beside it if one is named. No machine has the program
    /// that compresses a kernel: that one comes from the bundle.
    fn apply(&self, place: &Path, full: Option<&Path>) -> Result<Duration> {
        let executor = self.fresh()?;
        let open = |path: &Path| Ok::<_, anyhow::Error>(source::of(path.to_str().context("no text")?, 0)?);
        let (mut main, mut full) = (open(place)?, full.map(open).transpose()?);
        let mut supply = Supply::of(&mut *main);
        if let Some(full) = &mut full {
            supply.full = Some(&mut **full);
        }
        let settings = Settings {
            image: "ledger",
            arch: Arch::X86_64,
            trusted_root: &self.root,
            now: None,
            write_rate: 0,
            leftovers: None,
            survey: None,
            vouching: Vouching::Inline,
            tools: Tools { zstd: Path::new("/nonexistent/zstd"), ..Tools::default() },
        };
        let begun = Instant::now();
        executor.update(Ask::Apply, supply, &settings, &mut Quiet)?;
        Ok(begun.elapsed())
    }

    /// How long it takes to write the pieces to the spare slot, and to read them back.
    fn write(&self, pieces: &[(u64, Vec<u8>)]) -> Result<Duration> {
        let executor = self.fresh()?;
        let slot = executor.partition(Slot::B).context("no slot B")?;
        let begun = Instant::now();
        for (at, bytes) in pieces {
            for (chunk, at) in bytes.chunks(SYNC_BYTES).zip((*at..).step_by(SYNC_BYTES)) {
                executor.disk().write_within(&slot, at, chunk)?;
                executor.disk().sync()?;
            }
        }
        // Past the kernel's memory, as far as this file system lets its pages go.
        drop_pages(&self.path)?;
        for (at, bytes) in pieces {
            let mut back = vec![0; bytes.len()];
            executor.disk().read_within(&slot, *at, &mut back)?;
            ensure!(Sha256::digest(&back) == Sha256::digest(bytes), "other bytes came back");
        }
        Ok(begun.elapsed())
    }
}

fn drop_pages(path: &Path) -> Result<()> {
    let file = fs::File::open(path)?;
    Ok(rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?)
}

/// What a release has in its slot, piece by piece.
fn pieces(release: &Release) -> Result<Vec<(u64, Vec<u8>)>> {
    let disk = Disk::open(&release.image.disk, Access::Read, 512, fs::metadata(&release.image.disk)?.len())?;
    let slot: Partition = Disk::partition(&disk.read_table()?, Role::SlotA).context("no slot A")?;
    let executor = Executor::on(disk, Slot::A)?;
    let descriptor = executor.descriptor(Slot::A).context("slot A has no descriptor")?;
    [descriptor.root, descriptor.tree, descriptor.boot]
        .into_iter()
        .map(|range| {
            let mut bytes = vec![0; usize::try_from(range.bytes)?];
            executor.disk().read_within(&slot, range.offset, &mut bytes)?;
            Ok((range.offset, bytes))
        })
        .collect()
}

/// The median of some runs.
fn median(mut run: impl FnMut() -> Result<Duration>) -> Result<Duration> {
    let mut times = (0..TIMES).map(|_| run()).collect::<Result<Vec<_>>>()?;
    times.sort_unstable();
    Ok(times[TIMES / 2])
}

/// Measures and tells; by delta may take so many times as long as by bundle.
fn is_within(limit: f64, old: Release, new: &Release) -> Result<()> {
    let (_, delta) = new.delta_from(&old)?;
    let path = scratch("wall-time")?.join("disk.raw");
    let machine = Machine { path, old, root: fs::read(signing::root(signing::Who::Us)?)? };
    let pieces = pieces(new)?;
    let bytes: usize = pieces.iter().map(|(_, bytes)| bytes.len()).sum();
    let written = median(|| machine.write(&pieces))?;
    let by_bundle = median(|| machine.apply(&new.bundle, None))?;
    let by_delta = median(|| machine.apply(&delta, Some(&new.bundle)))?;
    let times = |other: Duration| by_delta.as_secs_f64() / other.as_secs_f64();
    let (delta_bytes, bundle_bytes) = (fs::metadata(&delta)?.len(), fs::metadata(&new.bundle)?.len());
    writeln!(
        io::stdout(),
        "{bytes} bytes written and read back: {written:?}; by bundle ({bundle_bytes} bytes): {by_bundle:?}; by delta \
         ({delta_bytes} bytes): {by_delta:?}, {:.2} times as long as by bundle, {:.2} times as long as writing",
        times(by_bundle),
        times(written)
    )?;
    ensure!(
        times(by_bundle) <= limit,
        "an update by delta takes {:.2} times as long as by bundle",
        times(by_bundle)
    );
    Ok(())
}

#[test]
#[ignore = "long: figures, for an optimised build on a computer that does nothing else"]
fn an_update_of_one_container_by_delta_takes_no_longer_than_by_bundle() -> Result<()> {
    let old = Variant::new("v1", "1.0.0", Arch::X86_64).build()?;
    let new = Variant { more: NOTE, ..Variant::new("v2-note", "2.0.0", Arch::X86_64) }.build()?;
    is_within(1.0, old, &new)
}

/// Releases with two kernels, and what else their manifests have.
fn with_kernels(names: [&'static str; 2], more: impl Fn(u32) -> Result<String>) -> Result<[Release; 2]> {
    let release = |name, version, y| {
        let more = more(y)?.leak();
        Variant { more, ..Variant::new(name, version, Arch::X86_64) }.build()
    };
    Ok([release(names[0], "1.0.0", KERNELS[0])?, release(names[1], "2.0.0", KERNELS[1])?])
}

#[test]
#[ignore = "long: figures, for an optimised build on a computer that does nothing else"]
fn an_update_of_a_kernel_by_delta_takes_at_most_twice_as_long_as_by_bundle() -> Result<()> {
    let [old, new] = with_kernels(["kernel-v1", "kernel-v2"], |y| Ok(kernel(y)))?;
    is_within(2.0, old, &new)
}

/// Every one of 1138 modules is another: most of the time goes into them, whatever the disk.
#[test]
#[ignore = "long: figures, for an optimised build on a computer that does nothing else"]
fn an_update_of_all_modules_by_delta_takes_at_most_three_times_as_long_as_by_bundle() -> Result<()> {
    let [old, new] = with_kernels(["modules-v1", "modules-v2"], kernel_with_all_modules)?;
    is_within(3.0, old, &new)
}
