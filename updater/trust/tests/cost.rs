//! What a look at a channel costs a machine. `cargo test --release -p coracle-trust --test cost -- --nocapture` prints it.

#![expect(clippy::tests_outside_test_module, clippy::unwrap_used, reason = "the whole crate is a test")]

use coracle_format::{slot::Arch, version::Version};
use coracle_trust::{
    Kinds, Release, Role, Vouched,
    client::{self, Fetch, FetchError, Floors, Start, Store, StoreError, refresh},
    publish::{self, Delegation, File, Listed, Signers},
};
use ed25519_dalek::{Signer as _, SigningKey};
use rustix::time::{ClockId, clock_gettime};
use std::{fs, path::Path, process::Command};

const EXPIRES: u64 = 2_000_000_000;
const CHANNEL: &str = "stable/hello-x86_64.json";
/// The most that a refresh may take of a processor, in microseconds.
const CPU_MICROSECONDS: i64 = 20_000;
/// The most memory that it may take, in KiB as the kernel counts, whatever the repository serves.
const MEMORY_KIB: u64 = 8 << 10;
/// Where the child finds the repository.
const DIRECTORY: &str = "CORACLE_TEST_DIRECTORY";

struct Files<'a>(&'a Path);

impl Fetch for Files<'_> {
    fn metadata(&mut self, file: &str, _limit: u64) -> Result<Option<Vec<u8>>, FetchError> {
        Ok(fs::read(self.0.join(file)).ok())
    }
}

/// Keeps nothing in memory, as the store of a machine.
struct Kept<'a>(&'a Path);

impl Store for Kept<'_> {
    fn load(&mut self, file: &str) -> Option<Vec<u8>> {
        fs::read(self.0.join(file)).ok()
    }

    fn save(&mut self, file: &str, bytes: &[u8]) -> Result<(), StoreError> {
        save(&self.0.join(file), bytes);
        Ok(())
    }

    fn remove(&mut self, file: &str) -> Result<(), StoreError> {
        drop(fs::remove_file(self.0.join(file)));
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "the file is of this test and need not be durable")]
fn save(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn public(seed: u8) -> [u8; 32] {
    key(seed).verifying_key().to_bytes()
}

fn vouched(number: u64) -> Vouched {
    let release = Release {
        name: "a-name-of-usual-length".into(),
        arch: Arch::X86_64,
        version: Version::parse(&format!("1.{number}.0")).unwrap(),
        epoch: 1,
        released: 1_795_305_600,
        replaces: None,
    };
    Vouched {
        length: 9 << 20,
        sha256: [7; 32],
        index_length: 4000,
        index_sha256: [8; 32],
        id: [9; 32],
        release,
        deltas: Vec::new(),
    }
}

/// A repository after three changes of its root, with two of three keys for what is offline, and so many releases.
fn publish_into(directory: &Path, releases: u64) {
    let write = |file: &str, signed: Option<Vec<u8>>, seeds: &[u8]| {
        let signed = signed.unwrap();
        let signatures: Vec<_> =
            seeds.iter().map(|seed| (public(*seed), key(*seed).sign(&signed).to_bytes())).collect();
        let bytes = publish::document(&signed, &signatures);
        save(&directory.join(file), &bytes);
        bytes
    };
    let signers = |role, seeds: &[u8], threshold| Signers {
        role,
        keys: seeds.iter().copied().map(public).collect(),
        threshold,
    };
    for version in 1..=4 {
        let roles = [
            signers(Role::Root, &[1, 2, 3], 2),
            signers(Role::Targets, &[4, 5, 6], 2),
            signers(Role::Snapshot, &[7], 1),
            signers(Role::Timestamp, &[7], 1),
        ];
        write(&format!("{version}.root.json"), publish::root(version, EXPIRES, &roles), &[1, 2]);
    }
    let releases: Vec<Vouched> = (0..releases).map(vouched).collect();
    let delegation = Delegation {
        name: "stable".into(),
        keys: vec![public(8)],
        threshold: 1,
        paths: vec!["stable/*".into()],
    };
    let targets = write("1.targets.json", publish::releases(1, EXPIRES, &releases, &[delegation]), &[4, 5]);
    let file = File { path: CHANNEL.into(), length: 3, sha256: [6; 32] };
    let stable = write("1.stable.json", publish::files(1, EXPIRES, &[file]), &[8]);
    let roles = [("targets", Listed::of(1, &targets)), ("stable", Listed::of(1, &stable))];
    let snapshot = write("1.snapshot.json", publish::snapshot(1, EXPIRES, &roles), &[7]);
    write("timestamp.json", publish::timestamp(1, 1_795_305_600, EXPIRES, &Listed::of(1, &snapshot)), &[7]);
}

fn look(repository: &Path, store: &Path) {
    let trusted_root = fs::read(repository.join("1.root.json")).unwrap();
    let start =
        Start { trusted_root: &trusted_root, floors: Floors::default(), now: None, kinds: Kinds::default() };
    let (mut fetch, mut store) = (Files(repository), Kept(store));
    let mut trusted = refresh(&start, &mut fetch, &mut store).unwrap();
    assert!(trusted.target(CHANNEL, &mut fetch, &mut store).unwrap().is_some());
    assert!(trusted.release(&vouched(0).path()).unwrap().is_some());
}

fn processor() -> i64 {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    spent.tv_sec * 1_000_000 + spent.tv_nsec / 1000
}

#[test]
fn a_refresh_takes_no_more_than_20_ms_of_a_processor() {
    const TIMES: i64 = 20;
    let directory = tempfile::tempdir().unwrap();
    for releases in [20, 200] {
        publish_into(directory.path(), releases);
        let mut first = 0;
        for _ in 0..TIMES {
            let store = tempfile::tempdir().unwrap();
            let before = processor();
            look(directory.path(), store.path());
            first += processor() - before;
        }
        let store = tempfile::tempdir().unwrap();
        look(directory.path(), store.path());
        let before = processor();
        (0..TIMES).for_each(|_| look(directory.path(), store.path()));
        let (first, idle) = (first / TIMES, (processor() - before) / TIMES);
        println!("{releases} releases: {first} µs when everything is new, {idle} µs when nothing is");
        assert!(first <= CPU_MICROSECONDS && idle <= CPU_MICROSECONDS, "{first} and {idle} µs");
    }
}

#[test]
fn a_refresh_takes_no_more_than_8_mib_of_memory_even_if_targets_are_as_large_as_can_be() {
    for releases in [200, 2200] {
        let directory = tempfile::tempdir().unwrap();
        publish_into(directory.path(), releases);
        let bytes = fs::metadata(directory.path().join("1.targets.json")).unwrap().len();
        assert!(
            bytes <= client::TARGETS_BYTES_MAX
                && (releases < 1000 || bytes * 10 > client::TARGETS_BYTES_MAX * 9)
        );
        // In a process of its own: the repository was made in this one.
        let output = command()
            .args(["--exact", "the_refresh_of_the_child", "--ignored", "--nocapture", "--test-threads", "1"])
            .env(DIRECTORY, directory.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let taken = text.lines().find_map(|line| line.strip_prefix("taken "));
        let taken = taken.and_then(|taken| taken.parse().ok());
        let taken: u64 = taken.unwrap_or_else(|| panic!("{output:?}"));
        println!("{releases} releases, {bytes} bytes: {taken} KiB at most");
        assert!(taken <= MEMORY_KIB, "{taken} KiB");
    }
}

#[expect(clippy::disallowed_methods, reason = "the test itself, again")]
fn command() -> Command {
    Command::new(std::env::current_exe().unwrap())
}

/// A line of the kernel's account of this process, in KiB.
fn status(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
#[ignore = "run by the test above"]
fn the_refresh_of_the_child() {
    let directory = std::env::var_os(DIRECTORY).expect("run by the test above");
    let store = tempfile::tempdir().unwrap();
    let before = status("VmRSS:");
    look(Path::new(&directory), store.path());
    look(Path::new(&directory), store.path());
    println!("\ntaken {}", status("VmHWM:") - before);
}
