//! A repository in memory, made with the functions that publish real ones, and what a machine remembers of it.

use crate::{
    Kinds, Release, Role, Vouched,
    client::{ClientError, Fetch, FetchError, Floors, Start, Store, StoreError, Trusted, refresh},
    publish::{self, Delegation, File, Listed, Signers},
};
use coracle_format::{slot::Arch, version::Version};
use ed25519_dalek::{Signer as _, SigningKey};
use std::collections::BTreeMap;

pub(super) const EXPIRES: u64 = 2_000_000_000;
pub(super) const NOW: u64 = 1_800_000_000;
pub(super) const CHANNEL: &str = "stable";
pub(super) const DOCUMENT: &str = "stable/hello-x86_64.json";

pub(super) fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

pub(super) fn public(seed: u8) -> [u8; 32] {
    key(seed).verifying_key().to_bytes()
}

/// What `signed` is as a document, with the signatures of these keys.
pub(super) fn sign(signed: &[u8], seeds: &[u8]) -> Vec<u8> {
    let signatures: Vec<_> =
        seeds.iter().map(|seed| (public(*seed), key(*seed).sign(signed).to_bytes())).collect();
    publish::document(signed, &signatures)
}

pub(super) fn vouched(version: &str) -> Vouched {
    Vouched {
        length: 9000,
        sha256: [7; 32],
        index_length: 400,
        index_sha256: [8; 32],
        id: [9; 32],
        release: Release {
            name: "hello".into(),
            arch: Arch::X86_64,
            version: Version::parse(version).unwrap(),
            epoch: 1,
            released: 1_795_305_600,
            replaces: None,
        },
        deltas: Vec::new(),
    }
}

/// Seeds of the keys of every role.
#[derive(Clone)]
pub(super) struct Keys {
    pub(super) root: Vec<u8>,
    pub(super) targets: Vec<u8>,
    pub(super) snapshot: Vec<u8>,
    pub(super) timestamp: Vec<u8>,
    pub(super) channel: Vec<u8>,
    /// Of root and targets.
    pub(super) threshold: u32,
}

/// Newest versions.
#[derive(Clone, Copy, Default)]
pub(super) struct Versions {
    pub(super) root: u32,
    pub(super) targets: u32,
    pub(super) channel: u32,
    pub(super) snapshot: u32,
    pub(super) timestamp: u32,
}

#[derive(Clone)]
pub(super) struct Repository {
    pub(super) files: BTreeMap<String, Vec<u8>>,
    pub(super) asked: Vec<(String, u64)>,
    pub(super) keys: Keys,
    pub(super) versions: Versions,
    pub(super) releases: Vec<Vouched>,
    pub(super) issued: u64,
    pub(super) expires: u64,
}

impl Repository {
    pub(super) fn new() -> Self {
        let keys = Keys {
            root: vec![1],
            targets: vec![2],
            snapshot: vec![3],
            timestamp: vec![4],
            channel: vec![5],
            threshold: 1,
        };
        let mut this = Self {
            files: BTreeMap::new(),
            asked: vec![],
            keys,
            versions: Versions::default(),
            releases: vec![vouched("1.0")],
            issued: NOW - 100,
            expires: EXPIRES,
        };
        this.publish_root(&[]);
        this.publish();
        this
    }

    /// The next root, by the keys that hold now, signed by them and by those that held before.
    pub(super) fn publish_root(&mut self, before: &[u8]) {
        self.versions.root += 1;
        let signers = |role, seeds: &[u8], threshold| Signers {
            role,
            keys: seeds.iter().copied().map(public).collect(),
            threshold,
        };
        let keys = &self.keys;
        let roles = [
            signers(Role::Root, &keys.root, keys.threshold),
            signers(Role::Targets, &keys.targets, keys.threshold),
            signers(Role::Snapshot, &keys.snapshot, 1),
            signers(Role::Timestamp, &keys.timestamp, 1),
        ];
        let signed = publish::root(self.versions.root, EXPIRES, &roles).unwrap();
        let mut seeds = keys.root.clone();
        seeds.extend(before.iter().filter(|seed| !keys.root.contains(seed)));
        self.files.insert(format!("{}.root.json", self.versions.root), sign(&signed, &seeds));
    }

    /// Everything but the root, in its next version.
    pub(super) fn publish(&mut self) {
        self.publish_targets();
        self.publish_channel();
        self.publish_snapshot();
        self.publish_timestamp();
    }

    pub(super) fn publish_targets(&mut self) {
        self.versions.targets += 1;
        let delegation = Delegation {
            name: CHANNEL.into(),
            keys: self.keys.channel.iter().copied().map(public).collect(),
            threshold: 1,
            paths: vec![format!("{CHANNEL}/*")],
        };
        let signed =
            publish::releases(self.versions.targets, self.expires, &self.releases, &[delegation]).unwrap();
        self.files.insert(self.name("targets"), sign(&signed, &self.keys.targets));
    }

    pub(super) fn publish_channel(&mut self) {
        self.versions.channel += 1;
        let file = File { path: DOCUMENT.into(), length: 3, sha256: [6; 32] };
        let signed = publish::files(self.versions.channel, self.expires, &[file]).unwrap();
        self.files.insert(self.name(CHANNEL), sign(&signed, &self.keys.channel));
    }

    pub(super) fn publish_snapshot(&mut self) {
        self.versions.snapshot += 1;
        let listed = |role: &str, version| Listed::of(version, &self.files[&self.name(role)]);
        let roles = [
            ("targets", listed("targets", self.versions.targets)),
            (CHANNEL, listed(CHANNEL, self.versions.channel)),
        ];
        self.publish_snapshot_of(&roles);
    }

    pub(super) fn publish_snapshot_of(&mut self, roles: &[(&str, Listed)]) {
        let signed = publish::snapshot(self.versions.snapshot, self.expires, roles).unwrap();
        self.files.insert(self.name("snapshot"), sign(&signed, &self.keys.snapshot));
    }

    pub(super) fn publish_timestamp(&mut self) {
        self.versions.timestamp += 1;
        let listed = Listed::of(self.versions.snapshot, &self.files[&self.name("snapshot")]);
        let signed = publish::timestamp(self.versions.timestamp, self.issued, self.expires, &listed).unwrap();
        self.files.insert("timestamp.json".into(), sign(&signed, &self.keys.timestamp));
    }

    pub(super) fn name(&self, role: &str) -> String {
        let version = match role {
            "targets" => self.versions.targets,
            "snapshot" => self.versions.snapshot,
            CHANNEL => self.versions.channel,
            _ => self.versions.root,
        };
        format!("{version}.{role}.json")
    }

    /// The files that were asked for since the last time.
    pub(super) fn asked(&mut self) -> Vec<String> {
        std::mem::take(&mut self.asked).into_iter().map(|(file, _)| file).collect()
    }
}

impl Fetch for Repository {
    fn metadata(&mut self, file: &str, limit: u64) -> Result<Option<Vec<u8>>, FetchError> {
        self.asked.push((file.to_owned(), limit));
        Ok(self.files.get(file).cloned())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) files: BTreeMap<String, Vec<u8>>,
    /// Whether nothing can be saved any more.
    pub(super) is_full: bool,
}

impl Store for Memory {
    fn load(&mut self, file: &str) -> Option<Vec<u8>> {
        self.files.get(file).cloned()
    }

    fn save(&mut self, file: &str, bytes: &[u8]) -> Result<(), StoreError> {
        if self.is_full {
            return Err(StoreError("full".into()));
        }
        self.files.insert(file.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn remove(&mut self, file: &str) -> Result<(), StoreError> {
        self.files.remove(file);
        Ok(())
    }
}

/// A machine: the root in its image, its store, and the floors that outlive the store.
#[derive(Clone)]
pub(super) struct Machine {
    pub(super) root: Vec<u8>,
    pub(super) store: Memory,
    pub(super) floors: Floors,
    pub(super) now: Option<u64>,
}

impl Machine {
    pub(super) fn new(repository: &Repository) -> Self {
        Self {
            root: repository.files["1.root.json"].clone(),
            store: Memory::default(),
            floors: Floors::default(),
            now: Some(NOW),
        }
    }

    /// A look at the channel, whose floors are recorded.
    pub(super) fn look(&mut self, from: &mut dyn Fetch) -> Result<Trusted, ClientError> {
        let start =
            Start { trusted_root: &self.root, floors: self.floors, now: self.now, kinds: Kinds::default() };
        let trusted = refresh(&start, from, &mut self.store)?;
        self.floors = trusted.floors();
        Ok(trusted)
    }

    /// The same, when only success counts.
    pub(super) fn sees(&mut self, from: &mut dyn Fetch) -> Trusted {
        self.look(from).unwrap()
    }

    pub(super) fn refuses(&mut self, from: &mut dyn Fetch) -> ClientError {
        let before = self.floors;
        let why = self.look(from).unwrap_err();
        assert_eq!(self.floors, before);
        why
    }
}

pub(super) fn rollback(file: &str, found: u32, accepted: u32) -> ClientError {
    ClientError::Rollback { file: file.into(), found, accepted }
}
