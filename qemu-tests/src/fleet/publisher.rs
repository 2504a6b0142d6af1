//! The publisher: makes one static repository in a directory with the builder's own commands, and steers it.

use super::{bundle, plan};
use anyhow::{Context as _, Result};
use coracle::{
    cache::Cache,
    channel::{self, Turn, Which},
    context::Context,
    files,
    keys::{KeyDir, SecretKey},
    publish::{self, Anew, Repository, Request, Signing, Waves},
    report::Report,
};
use coracle_format::{slot::Arch, version::Version};
use coracle_rollout::{Rollout, Wave};
use coracle_trust::{
    Role,
    publish::{self as documents, Signers},
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

pub(super) const CHANNEL: &str = "stable";
pub(super) const IMAGE: &str = "shop";
pub(super) const ARCH: Arch = Arch::X86_64;

/// A repository and who signs for it.
#[derive(Debug)]
pub(super) struct Publisher {
    directory: PathBuf,
    ctx: Context,
    repository: Repository,
    signing: Signing,
    root: Vec<u8>,
    releases: BTreeMap<Version, [u8; 32]>,
}

/// Keys of a fleet that does not exist: the same in every run.
fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

const ROOT: u8 = 1;
const TARGETS: u8 = 2;
const ONLINE: u8 = 3;

impl Publisher {
    /// No repository yet; it will be `repo` in this directory.
    pub(super) fn new(directory: &Path) -> Result<Self> {
        let signers = |role, seed| Signers { role, keys: vec![key(seed).public()], threshold: 1 };
        let roles = [
            signers(Role::Root, ROOT),
            signers(Role::Targets, TARGETS),
            signers(Role::Snapshot, ONLINE),
            signers(Role::Timestamp, ONLINE),
        ];
        let body =
            documents::root(1, plan::START + 3650 * plan::DAY, &roles).context("cannot make the root")?;
        let root = documents::document(&body, &[(key(ROOT).public(), key(ROOT).sign(&body))]);
        let keys = directory.join("keys");
        for name in ["1.root.json", "root.json"] {
            files::replace(&keys.join(name), &root)?;
        }
        key(TARGETS).save(&keys.join("targets-1.pem"))?;
        key(ONLINE).save(&keys.join("online-1.pem"))?;
        Ok(Self {
            directory: directory.to_owned(),
            ctx: Context::new(Cache::open(directory.join("cache"))?, Report::silent()),
            repository: Repository::new(directory.join("repo")),
            signing: Signing::new(KeyDir::new(keys)),
            root,
            releases: BTreeMap::new(),
        })
    }

    /// The root that machines begin with.
    pub(super) fn root_document(&self) -> Vec<u8> {
        self.root.clone()
    }

    /// The directory that machines look at.
    pub(super) fn repository(&self) -> &Path {
        self.repository.dir()
    }

    /// The release of a version that was published: SHA-256 of its boot artefact.
    pub(super) fn release(&self, version: Version) -> Result<[u8; 32]> {
        self.releases.get(&version).copied().context("no such release")
    }

    /// Publishes a release in the channel; without waves, for everybody at once.
    pub(super) fn publish(&mut self, now: u64, version: Version, waves: Vec<Wave>) -> Result<()> {
        let made = bundle::make(version, now, &self.root, &key(TARGETS))?;
        self.releases.insert(version, made.release);
        files::replace(&self.bundle(version), &made.bytes)?;
        self.offer(now, version, Waves::Dates(waves), None)
    }

    /// Pauses a release.
    pub(super) fn pause(&self, now: u64, version: Version) -> Result<()> {
        self.steer(now, version, Turn::Pause)
    }

    /// Lets a paused release be taken again.
    pub(super) fn resume(&self, now: u64, version: Version) -> Result<()> {
        self.steer(now, version, Turn::Resume)
    }

    /// Withdraws a release; machines that run it go back to an older one, which the offline keys allow.
    pub(super) fn withdraw(&self, now: u64, version: Version, instead: Version) -> Result<()> {
        self.offer(now, instead, Waves::Unsaid, Some(version))?;
        self.steer(now, version, Turn::Withdraw { instead: Some(instead) })
    }

    /// Signs a new timestamp: what a timer does.
    pub(super) fn refresh(&self, now: u64) -> Result<()> {
        channel::refresh(&self.ctx, (&self.repository, &self.signing), Anew::Dates, now)?;
        Ok(())
    }

    /// What the channel says now.
    pub(super) fn rollout(&self) -> Result<Rollout> {
        let directory = self.repository.dir().join(publish::TARGETS).join(CHANNEL);
        let mut newest: Option<Rollout> = None;
        for entry in fs::read_dir(&directory).context("cannot list the channel's documents")? {
            let found = Rollout::parse(&fs::read(entry?.path())?)?;
            if newest.as_ref().is_none_or(|newest| newest.releases.len() < found.releases.len()) {
                newest = Some(found);
            }
        }
        newest.context("the channel is empty")
    }

    fn bundle(&self, version: Version) -> PathBuf {
        self.directory.join(format!("{version}.bundle"))
    }

    fn offer(&self, now: u64, version: Version, waves: Waves, replaces: Option<Version>) -> Result<()> {
        let request = Request {
            bundles: vec![self.bundle(version)],
            channel: CHANNEL.to_owned(),
            waves,
            minimum: None,
            replaces,
            channel_key: None,
            deltas: 0,
            usb: None,
        };
        publish::publish(&self.ctx, (&self.repository, &self.signing), &request, now)?;
        Ok(())
    }

    fn steer(&self, now: u64, version: Version, turn: Turn) -> Result<()> {
        let which = Which { image: None, arch: None, version: Some(version) };
        channel::steer(&self.ctx, (&self.repository, &self.signing), (CHANNEL, &which, turn), now)?;
        Ok(())
    }
}
