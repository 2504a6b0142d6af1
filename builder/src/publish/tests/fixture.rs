//! A small repository with keys that are the same in every run, and bundles to publish.

use super::super::{Changed, Repository, Request, Signing, Waves, publish};
use crate::{
    bundle::fixture::{Contents, Recipe, bundle},
    cache::Cache,
    context::Context,
    error::Result,
    files,
    keys::{KeyDir, SecretKey},
    report::Report,
};
use coracle_format::{slot::Arch, version::Version};
use coracle_rollout::Wave;
use coracle_trust::{
    Role,
    document::PublicKey,
    publish::{self as documents, Signers},
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// 2026-11-22T00:00:00Z.
pub(crate) const NOW: u64 = 1_795_305_600;
pub(crate) const DAY: u64 = 86_400;
/// Seeds of the keys: root, targets, online.
const ROOT: u8 = 1;
const TARGETS: u8 = 2;
pub(crate) const ONLINE: u8 = 3;

pub(crate) fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn public(seed: u8) -> PublicKey {
    key(seed).public()
}

/// A directory of keys; those of `seeds` have their secret halves there.
pub(crate) fn keys(dir: &Path, seeds: &[(u8, &str)]) -> KeyDir {
    let signers = |role, seed| Signers { role, keys: vec![public(seed)], threshold: 1 };
    let roles = [
        signers(Role::Root, ROOT),
        signers(Role::Targets, TARGETS),
        signers(Role::Snapshot, ONLINE),
        signers(Role::Timestamp, ONLINE),
    ];
    let body = documents::root(1, NOW + 3650 * DAY, &roles).unwrap();
    let document = documents::document(&body, &[(public(ROOT), key(ROOT).sign(&body))]);
    for name in ["1.root.json", "root.json"] {
        files::replace(&dir.join(name), &document).unwrap();
    }
    for (seed, name) in seeds {
        key(*seed).save(&dir.join(name)).unwrap();
    }
    KeyDir::new(dir)
}

/// A place for one test.
pub(crate) struct Yard {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) ctx: Context,
    pub(crate) repository: Repository,
    pub(crate) signing: Signing,
    pub(crate) now: u64,
}

impl Yard {
    pub(crate) fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ctx = Context::new(Cache::open(dir.path().join("cache")).unwrap(), Report::silent());
        let all = [(ROOT, "root-1.pem"), (TARGETS, "targets-1.pem"), (ONLINE, "online-1.pem")];
        let signing = Signing::new(keys(&dir.path().join("keys"), &all));
        let repository = Repository::new(dir.path().join("repo"));
        Self { dir, ctx, repository, signing, now: NOW }
    }

    /// As seen from where only the online key is.
    pub(crate) fn online(&self) -> Signing {
        let dir = self.dir.path().join("online");
        if dir.exists() {
            return Signing::new(KeyDir::new(dir));
        }
        Signing::new(keys(&dir, &[(ONLINE, "online-1.pem")]))
    }

    pub(crate) fn place(&self) -> (&Repository, &Signing) {
        (&self.repository, &self.signing)
    }

    /// A bundle of this version; another `flavour` is another image.
    pub(crate) fn bundle(&self, version: &str, flavour: u8) -> PathBuf {
        self.bundle_for(version, flavour, Arch::X86_64)
    }

    pub(crate) fn bundle_for(&self, version: &str, flavour: u8, arch: Arch) -> PathBuf {
        self.bundle_of(version, (flavour, arch), None)
    }

    /// A bundle with these contents.
    pub(crate) fn bundle_of(
        &self,
        version: &str,
        (flavour, arch): (u8, Arch),
        contents: Option<Contents>,
    ) -> PathBuf {
        let path = self.dir.path().join(format!("{version}-{flavour}-{}.bundle", arch.name()));
        let recipe = Recipe {
            version,
            flavour,
            arch,
            released: NOW - DAY,
            root: &self.root(),
            targets: &key(TARGETS),
            contents,
        };
        files::replace(&path, &bundle(&self.ctx, &recipe)).unwrap();
        path
    }

    pub(crate) fn root(&self) -> Vec<u8> {
        fs::read(self.dir.path().join("keys/1.root.json")).unwrap()
    }

    pub(crate) fn request(&self, version: &str) -> Request {
        request(self.bundle(version, 0))
    }

    pub(crate) fn publish(&self, request: &Request) -> Result<Changed> {
        publish(&self.ctx, self.place(), request, self.now)
    }

    /// Every file of the repository with its bytes.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut out = BTreeMap::new();
        collect(self.repository.dir(), "", &mut out);
        out
    }
}

pub(crate) fn request(bundle: PathBuf) -> Request {
    Request {
        bundles: vec![bundle],
        channel: "stable".to_owned(),
        waves: Waves::Unsaid,
        minimum: None,
        replaces: None,
        channel_key: None,
        deltas: 0,
        usb: None,
    }
}

pub(crate) fn version(text: &str) -> Version {
    Version::parse(text).unwrap()
}

pub(crate) fn wave(share: u16, start: u64) -> Wave {
    Wave { share, start }
}

fn collect(dir: &Path, below: &str, out: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{below}{}", entry.file_name().to_str().unwrap());
        if entry.path().is_dir() {
            collect(&entry.path(), &format!("{name}/"), out);
        } else {
            out.insert(name, fs::read(entry.path()).unwrap());
        }
    }
}
