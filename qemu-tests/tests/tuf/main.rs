//! Interoperability with python-tuf, the reference implementation, as Debian packages it: each side reads what the other
//! has made.

#![expect(clippy::tests_outside_test_module, clippy::unwrap_used, reason = "the whole crate is a test")]

use anyhow::Result;
use coracle::{
    tool::{Output, Tool},
    toolroot::ToolRoot,
};
use coracle_format::{slot::Arch, version::Version};
use coracle_qemu_tests::{context, python_tuf, scratch};
use coracle_trust::{
    Kinds, Release, Role, Vouched,
    client::{Fetch, FetchError, Floors, Start, Store, StoreError, refresh},
    publish::{self, Delegation, File, Listed, Signers},
};
use ed25519_dalek::{Signer as _, SigningKey};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tuf/other_side.py");
const DAY: u64 = 86_400;

/// Runs the other side.
fn python(tools: &ToolRoot, args: &[&str]) -> Result<Output> {
    let home = tools.path("usr");
    let modules = tools.path("usr/lib/python3/dist-packages");
    let tool = Tool::new(tools, "python3").env("PYTHONHOME", home).env("PYTHONPATH", modules);
    let tool = tool.env("PYTHONDONTWRITEBYTECODE", "1").arg(SCRIPT).args(args);
    Ok(tool.run(&context()?)?)
}

/// An empty directory.
fn fresh(name: &str) -> PathBuf {
    let directory = scratch("tuf").unwrap().join(name);
    if directory.exists() {
        fs::remove_dir_all(&directory).unwrap();
    }
    fs::create_dir_all(directory.join("metadata")).unwrap();
    directory
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

struct Directory(PathBuf);

impl Fetch for Directory {
    fn metadata(&mut self, file: &str, _limit: u64) -> Result<Option<Vec<u8>>, FetchError> {
        Ok(fs::read(self.0.join(file)).ok())
    }
}

#[derive(Default)]
struct Memory(BTreeMap<String, Vec<u8>>);

impl Store for Memory {
    fn load(&mut self, file: &str) -> Option<Vec<u8>> {
        self.0.get(file).cloned()
    }

    fn save(&mut self, file: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.0.insert(file.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn remove(&mut self, file: &str) -> Result<(), StoreError> {
        self.0.remove(file);
        Ok(())
    }
}

#[test]
fn a_repository_that_python_tuf_has_made_is_accepted() {
    let tools = python_tuf(&context().unwrap()).unwrap();
    let directory = fresh("theirs");
    fs::remove_dir(directory.join("metadata")).unwrap();
    python(&tools, &["make", directory.to_str().unwrap()]).unwrap();
    let mut repository = Directory(directory.join("metadata"));
    let trusted_root = fs::read(repository.0.join("1.root.json")).unwrap();
    let start = Start {
        trusted_root: &trusted_root,
        floors: Floors::default(),
        now: Some(now()),
        kinds: Kinds::default(),
    };
    let mut store = Memory::default();
    let mut trusted = refresh(&start, &mut repository, &mut store).unwrap();
    let floors = Floors { root_version: 2, timestamp_version: 2, issued: 0 };
    assert_eq!((trusted.floors(), trusted.snapshot_version()), (floors, 2));
    for (path, content) in
        [("top.txt", "by the top"), ("stable/a.json", "by the channel"), ("hashed/b.json", "by the prefix")]
    {
        let target = trusted.target(path, &mut repository, &mut store).unwrap().unwrap();
        assert!(target.is(content.as_bytes()) && !target.is(b"something else"), "{path}");
    }
    assert_eq!(trusted.target("stable/b.json", &mut repository, &mut store), Ok(None));
}

#[test]
fn a_repository_of_ours_is_accepted_by_python_tuf() {
    let tools = python_tuf(&context().unwrap()).unwrap();
    let directory = fresh("ours");
    publish_everything(&directory.join("metadata"));
    let paths = ["hello-x86_64-1.2.3.bundle", "stable/hello-x86_64.json", "stable/nothing.json"];
    let args = [&["check", directory.to_str().unwrap()][..], &paths].concat();
    let output = python(&tools, &args).unwrap().text();
    let digest = |byte: &str| byte.repeat(32);
    let expected = [format!("9000 {}", digest("07")), format!("3 {}", digest("06")), "none".to_owned()];
    let expected: Vec<String> =
        paths.iter().zip(expected).map(|(path, said)| format!("{path} {said}")).collect();
    assert_eq!(output.lines().collect::<Vec<_>>(), expected);
    // It keeps the root that it has been led to.
    let kept = fs::read(directory.join("python-tuf/root.json")).unwrap();
    assert_eq!(
        Sha256::digest(kept),
        Sha256::digest(fs::read(directory.join("metadata/2.root.json")).unwrap())
    );
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn public(seed: u8) -> [u8; 32] {
    key(seed).verifying_key().to_bytes()
}

fn publish_everything(directory: &Path) {
    let expires = now() + 7 * DAY;
    let write = |file: &str, signed: Option<Vec<u8>>, seeds: &[u8]| {
        let signed = signed.unwrap();
        let signatures: Vec<_> =
            seeds.iter().map(|seed| (public(*seed), key(*seed).sign(&signed).to_bytes())).collect();
        let bytes = publish::document(&signed, &signatures);
        coracle::files::replace(&directory.join(file), &bytes).unwrap();
        bytes
    };
    let signers = |role, seeds: &[u8], threshold| Signers {
        role,
        keys: seeds.iter().copied().map(public).collect(),
        threshold,
    };
    for (version, seeds, threshold) in [(1, &[1_u8][..], 1), (2, &[1, 11, 12], 2)] {
        let roles = [
            signers(Role::Root, seeds, threshold),
            signers(Role::Targets, &[2, 22], 2),
            signers(Role::Snapshot, &[3], 1),
            signers(Role::Timestamp, &[3], 1),
        ];
        write(&format!("{version}.root.json"), publish::root(version, expires, &roles), seeds);
    }
    let release = Release {
        name: "hello".to_owned(),
        arch: Arch::X86_64,
        version: Version::parse("1.2.3").unwrap(),
        epoch: 1,
        released: now() - DAY,
        replaces: None,
    };
    let (sha256, index_sha256, id) = ([7; 32], [8; 32], [9; 32]);
    let vouched =
        Vouched { length: 9000, sha256, index_length: 400, index_sha256, id, release, deltas: Vec::new() };
    let delegation = Delegation {
        name: "stable".to_owned(),
        keys: vec![public(4)],
        threshold: 1,
        paths: vec!["stable/*".to_owned()],
    };
    let file = File { path: "stable/hello-x86_64.json".to_owned(), length: 3, sha256: [6; 32] };
    let targets = write("1.targets.json", publish::releases(1, expires, &[vouched], &[delegation]), &[2, 22]);
    let stable = write("1.stable.json", publish::files(1, expires, &[file]), &[4]);
    let roles = [("targets", Listed::of(1, &targets)), ("stable", Listed::of(1, &stable))];
    let snapshot = write("1.snapshot.json", publish::snapshot(1, expires, &roles), &[3]);
    write("timestamp.json", publish::timestamp(1, now(), expires, &Listed::of(1, &snapshot)), &[3]);
}
