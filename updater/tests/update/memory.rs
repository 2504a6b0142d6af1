//! How much memory an update takes.

use crate::fixture::{Notes, Payload, noise, settings, ship, verified};
use crate::making::{Piece, by_files, delta, pieces};
use coracle_block::{Access, Disk};
use coracle_slots::Slot;
use coracle_update::engine::Ask;
use coracle_update::executor::{Executor, Supply};
use coracle_update::source::FileSource;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

const DISK_BYTES: u64 = 512 << 20;
/// The most that an update may take, in KiB as the kernel counts.
const PEAK_KIB: u64 = 32 << 10;
/// The same for one by delta, programs that compress aside.
const DELTA_PEAK_KIB: u64 = 64 << 10;
/// Where the child finds the disk and the bundle.
const DIRECTORY: &str = "CORACLE_TEST_DIRECTORY";

/// Frames as large as they may be, of bytes that compress a little.
fn large() -> Payload {
    let mut root = noise(1, 96 << 20);
    root.chunks_mut(64).for_each(|chunk| chunk[..24].fill(b'x'));
    Payload { root, boot: noise(2, 24 << 20), frame: 4 << 20, ..Payload::new("2.0") }
}

fn disk(directory: &Path) -> Disk {
    Disk::open(&directory.join("disk.raw"), Access::Write, 512, DISK_BYTES).unwrap()
}

/// The most memory that a process of its own takes for the update in this directory, in KiB.
fn peak(directory: &Path) -> u64 {
    let output = command()
        .args(["--exact", "memory::the_update_of_the_child", "--ignored", "--nocapture"])
        .env(DIRECTORY, directory)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let peak = text.lines().find_map(|line| line.strip_prefix("peak ")).and_then(|peak| peak.parse().ok());
    let peak = peak.unwrap_or_else(|| panic!("{output:?}"));
    println!("{peak} KiB at most");
    peak
}

fn shipped(payload: &Payload) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    File::create(directory.path().join("disk.raw")).unwrap().set_len(DISK_BYTES).unwrap();
    ship(&disk(directory.path()), 200 << 20, payload);
    directory
}

/// An update that was made in this process brings the new release in another one, which takes so much memory at most.
fn assert_applied_within(most_kib: u64, update: &[u8], (old, new): (&Payload, &Payload)) {
    let directory = shipped(old);
    coracle_block::replace_file(&directory.path().join("u.bundle"), update, 0o600).unwrap();
    let peak = peak(directory.path());
    assert!(peak <= most_kib, "{peak} KiB");
    assert_eq!(verified(&disk(directory.path()), Slot::B), Some(new.release()));
}

#[test]
fn an_update_of_120_mib_takes_no_more_than_32_mib_of_memory() {
    let payload = large();
    assert_applied_within(PEAK_KIB, &payload.bundle(), (&Payload::new("1.0"), &payload));
}

#[test]
fn a_delta_takes_no_more_than_64_mib_of_memory() {
    let old =
        Payload { root: noise(1, 12 << 20), boot: noise(2, 4 << 20), frame: 4 << 20, ..Payload::new("1.0") };
    let mut new = Payload { version: "2.0".to_owned(), ..old.clone() };
    // New bytes fill the tables of the model.
    new.root[1 << 20..2 << 20].copy_from_slice(&noise(3, 1 << 20));
    new.boot[1000] ^= 1;
    let bytes = delta(&old, &new, by_files(&old, &new));
    assert_applied_within(DELTA_PEAK_KIB, &bytes, (&old, &new));
}

#[test]
fn two_operations_at_once_take_no_more_either() {
    const PIECE: usize = 4 << 20;
    let old = Payload { root: noise(1, 4 * PIECE), frame: 4 << 20, ..Payload::new("1.0") };
    let mut new = Payload { version: "2.0".to_owned(), ..old.clone() };
    new.boot[1000] ^= 1;
    for at in (0..new.root.len()).step_by(PIECE) {
        new.root[at..at + 900_000].copy_from_slice(&noise(u64::try_from(at).unwrap() + 7, 900_000));
    }
    let bytes = delta(&old, &new, pieces(&old, &new, |_, _| Piece::File));
    assert_applied_within(DELTA_PEAK_KIB, &bytes, (&old, &new));
}

#[expect(clippy::disallowed_methods, reason = "the test itself, again")]
fn command() -> Command {
    Command::new(std::env::current_exe().unwrap())
}

#[test]
#[ignore = "run by the test above"]
fn the_update_of_the_child() {
    let directory = PathBuf::from(std::env::var_os(DIRECTORY).expect("run by the test above"));
    let executor = Executor::on(disk(&directory), Slot::A).unwrap();
    let notes = directory.join("progress");
    let mut settings = settings();
    settings.leftovers = Some(&notes);
    let mut source = FileSource::new(&directory.join("u.bundle"));
    executor.update(Ask::Apply, Supply::of(&mut source), &settings, &mut Notes::default()).unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    println!("\npeak {}", peak.trim().trim_end_matches(" kB"));
}
