//! What is in a repository, verified from the root down.

use super::{
    Repository,
    files::{self, TIMESTAMP},
};
use crate::{
    error::{Error, Kind, Result},
    keys::{self, refused},
};
use coracle_rollout::{
    Rollout,
    document::{self, is_channel},
};
use coracle_trust::{
    Key, Role, Vouched,
    client::{ROOT_BYTES_MAX, SNAPSHOT_BYTES_MAX, TARGETS_BYTES_MAX, TIMESTAMP_BYTES_MAX},
    date,
    document::{Authority, Document, PublicKey},
    json::Value,
    publish::{Delegation, Listed},
    root::Root,
};
use sha2::{Digest as _, Sha256};
use std::{collections::BTreeMap, path::Path};

/// Every version of the root, oldest first; each follows the one before it.
#[derive(Clone, Debug)]
pub struct Chain {
    pub(super) documents: Vec<Vec<u8>>,
    roots: Vec<Root>,
    newest: Root,
}

/// By which keys a document is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// By those of the newest root.
    Newest,
    /// By those of an older one: machines that know the newest do not believe it.
    Older,
}

impl Chain {
    /// From these documents, the oldest of which is trusted.
    pub fn of(documents: Vec<Vec<u8>>) -> Result<Self> {
        let wrong = |why| refused("the chain of roots is broken", why);
        let missing = || Error::new(Kind::NotFound, "there is no root metadata");
        let mut newest = Root::read(documents.first().ok_or_else(missing)?).map_err(wrong)?;
        let mut roots = vec![newest.clone()];
        for bytes in documents.iter().skip(1) {
            let document = Document::parse(Role::Root, bytes).map_err(wrong)?;
            newest = newest.followed_by(&document).map_err(wrong)?;
            roots.push(newest.clone());
        }
        Ok(Self { documents, roots, newest })
    }

    /// The one that a repository has.
    pub fn in_repository(repository: &Repository) -> Result<Self> {
        let documents = (1..).map(|version: u32| {
            files::read(&repository.metadata(&format!("{version}.root.json")), ROOT_BYTES_MAX).transpose()
        });
        let documents = documents.map_while(|document| document).collect::<Result<Vec<_>>>()?;
        if documents.is_empty() {
            let message = format!("{} is no repository of channels", repository.dir().display());
            return Err(Error::new(Kind::NotFound, message).hint("coracle publish DIR --repo REPO makes one"));
        }
        Self::of(documents)
    }

    /// The newest root.
    pub const fn newest(&self) -> &Root {
        &self.newest
    }

    /// Who has ever signed for a role, newest first.
    pub(super) fn authorities(&self, role: Role) -> impl Iterator<Item = &Authority> {
        self.roots.iter().rev().map(move |root| root.authority(role))
    }

    fn accept(&self, role: Role, document: &Document, path: &Path) -> Result<Standing> {
        let newest = document.verify(self.newest.authority(role), self.newest.version());
        let Err(why) = newest else {
            return Ok(Standing::Newest);
        };
        let older = self.authorities(role).skip(1).any(|authority| document.verify(authority, 0).is_ok());
        if older {
            return Ok(Standing::Older);
        }
        Err(refused(format!("{} is not to be believed", path.display()), why))
    }
}

/// What a document says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stated {
    /// Its version.
    pub version: u32,
    /// When it expires, seconds since 1970.
    pub expires: u64,
    /// By which keys it is signed.
    pub standing: Standing,
}

/// What a repository says: its releases, who speaks for its channels, and what they offer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Every release that is vouched for.
    pub releases: Vec<Vouched>,
    /// Who speaks for each channel.
    pub delegations: Vec<Delegation>,
    /// What each channel offers, one document for each image and architecture.
    pub channels: BTreeMap<String, Vec<Rollout>>,
}

/// A state with the documents that state it.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) state: State,
    pub(crate) timestamp: Stated,
    pub(crate) issued: u64,
    pub(crate) snapshot: Stated,
    pub(crate) targets: Stated,
    pub(crate) channels: BTreeMap<String, Stated>,
    /// What the snapshot lists: `targets` and every channel.
    pub(crate) listed: BTreeMap<String, Listed>,
}

impl Found {
    /// What is in a repository; `None` if nothing was ever published there.
    pub(crate) fn read(repository: &Repository, chain: &Chain) -> Result<Option<Self>> {
        let Some(bytes) = files::read(&repository.metadata(TIMESTAMP), TIMESTAMP_BYTES_MAX)? else {
            return Ok(None);
        };
        let reader = Reader { repository, chain };
        let (timestamp, signed) = reader.document(Role::Timestamp, TIMESTAMP, &bytes)?;
        let issued = signed.get("issued").and_then(Value::text).and_then(date::parse).unwrap_or(0);
        let bad = |file: &str| bad(&repository.metadata(file));
        let listed = read_listed(&signed).and_then(|all| all.get("snapshot").copied());
        let listed = listed.ok_or_else(|| bad(TIMESTAMP))?;
        let file = format!("{}.snapshot.json", listed.version);
        let bytes = reader.listed(&file, &listed, SNAPSHOT_BYTES_MAX)?;
        let (snapshot, signed) = reader.document(Role::Snapshot, &file, &bytes)?;
        let listed = read_listed(&signed).ok_or_else(|| bad(&file))?;
        let of_targets = listed.get("targets").ok_or_else(|| bad(&file))?;
        let file = format!("{}.targets.json", of_targets.version);
        let bytes = reader.listed(&file, of_targets, TARGETS_BYTES_MAX)?;
        let (targets, signed) = reader.document(Role::Targets, &file, &bytes)?;
        let (releases, delegations) = read_targets(&signed).ok_or_else(|| bad(&file))?;
        let mut found = Self {
            state: State { releases, delegations, channels: BTreeMap::new() },
            timestamp,
            issued,
            snapshot,
            targets,
            channels: BTreeMap::new(),
            listed,
        };
        for delegation in found.state.delegations.clone() {
            let name = &delegation.name;
            let listed = found.listed.get(name).ok_or_else(|| bad("snapshot.json"))?;
            let (stated, rollouts) = reader.channel(&delegation, listed)?;
            found.channels.insert(name.clone(), stated);
            found.state.channels.insert(name.clone(), rollouts);
        }
        Ok(Some(found))
    }

    /// Whether everything is signed by keys of the newest root.
    pub(crate) fn is_current(&self) -> bool {
        [self.timestamp, self.snapshot, self.targets].iter().all(|stated| stated.standing == Standing::Newest)
    }
}

struct Reader<'a> {
    repository: &'a Repository,
    chain: &'a Chain,
}

impl Reader<'_> {
    /// A document of a role of the root, and what it signs.
    fn document(&self, role: Role, file: &str, bytes: &[u8]) -> Result<(Stated, Value)> {
        let path = self.repository.metadata(file);
        let wrong = |why| refused(format!("cannot read {}", path.display()), why);
        let document = Document::parse(role, bytes).map_err(wrong)?;
        let standing = self.chain.accept(role, &document, &path)?;
        let stated = Stated {
            version: document.version().map_err(wrong)?,
            expires: document.expires().map_err(wrong)?,
            standing,
        };
        Ok((stated, signed(bytes).ok_or_else(|| bad(&path))?))
    }

    /// The bytes that another document speaks of.
    fn listed(&self, file: &str, listed: &Listed, limit: u64) -> Result<Vec<u8>> {
        let path = self.repository.metadata(file);
        let bytes = files::read(&path, limit)?.ok_or_else(|| {
            Error::new(Kind::NotFound, format!("{} is missing", path.display()))
                .hint("the repository is not complete: was it copied while somebody published?")
        })?;
        if Sha256::digest(&bytes)[..] != listed.sha256 {
            let message = format!("{} is not the file that the repository vouches for", path.display());
            return Err(Error::new(Kind::Digest, message));
        }
        Ok(bytes)
    }

    fn channel(&self, delegation: &Delegation, listed: &Listed) -> Result<(Stated, Vec<Rollout>)> {
        let name = &delegation.name;
        let file = format!("{}.{name}.json", listed.version);
        let path = self.repository.metadata(&file);
        let wrong = |why| refused(format!("cannot read {}", path.display()), why);
        let bytes = self.listed(&file, listed, TARGETS_BYTES_MAX)?;
        let document = Document::parse(Role::Targets, &bytes).map_err(wrong)?;
        document.verify(&authority(delegation), self.chain.newest().version()).map_err(wrong)?;
        let stated = Stated {
            version: document.version().map_err(wrong)?,
            expires: document.expires().map_err(wrong)?,
            standing: Standing::Newest,
        };
        let signed = signed(&bytes).ok_or_else(|| bad(&path))?;
        let targets = signed.get("targets").and_then(Value::map).ok_or_else(|| bad(&path))?;
        let mut rollouts = Vec::new();
        for (target, stated) in targets {
            rollouts.push(self.rollout(name, target, stated)?);
        }
        Ok((stated, rollouts))
    }

    fn rollout(&self, channel: &str, target: &str, stated: &Value) -> Result<Rollout> {
        let odd = || Error::new(Kind::Hostile, format!("channel {channel} has an odd document {target:?}"));
        let plain = |name: &str| !name.starts_with('.') && !name.contains('/') && name.is_ascii();
        let inside = target.strip_prefix(channel).and_then(|rest| rest.strip_prefix('/'));
        inside.filter(|name| plain(name)).ok_or_else(odd)?;
        let sha256 = read_sha256(stated).ok_or_else(odd)?;
        let path = self.repository.target(target, &sha256);
        let limit = u64::try_from(document::BYTES_MAX).unwrap_or(u64::MAX);
        let bytes = files::read(&path, limit)?
            .ok_or_else(|| Error::new(Kind::NotFound, format!("{} is missing", path.display())))?;
        if Sha256::digest(&bytes)[..] != sha256 {
            let message = format!("{} does not match its digest", path.display());
            return Err(Error::new(Kind::Digest, message));
        }
        let rollout = Rollout::parse(&bytes).map_err(|why| {
            Error::new(Kind::Hostile, format!("cannot read {}", path.display())).because(why)
        })?;
        let own = document::path(&rollout.channel, &rollout.image, rollout.arch);
        if own == target { Ok(rollout) } else { Err(odd()) }
    }
}

fn bad(path: &Path) -> Error {
    Error::new(Kind::Hostile, format!("{} does not say what it must", path.display()))
}

fn signed(bytes: &[u8]) -> Option<Value> {
    Value::parse(bytes).ok()?.get("signed").cloned()
}

/// Who may sign for a channel.
pub(super) fn authority(delegation: &Delegation) -> Authority {
    let keys =
        delegation.keys.iter().map(|key| (coracle_trust::publish::key_id(key), Some(Key::Ed25519(*key))));
    Authority { keys: keys.collect(), threshold: delegation.threshold }
}

/// The Ed25519 keys of a role.
pub(super) fn public_keys(authority: &Authority) -> Vec<PublicKey> {
    authority.keys.iter().filter_map(|(_, key)| key.as_ref().and_then(Key::ed25519).copied()).collect()
}

/// What a timestamp or a snapshot lists, by role.
fn read_listed(signed: &Value) -> Option<BTreeMap<String, Listed>> {
    let mut out = BTreeMap::new();
    for (file, stated) in signed.get("meta")?.map()? {
        let listed = Listed {
            version: u32::try_from(stated.get("version")?.number()?).ok()?,
            length: stated.get("length")?.number()?,
            sha256: read_sha256(stated)?,
        };
        out.insert(file.strip_suffix(".json")?.to_owned(), listed);
    }
    Some(out)
}

fn read_sha256(stated: &Value) -> Option<[u8; 32]> {
    stated.get("hashes")?.get("sha256")?.text().and_then(keys::parse_hex)
}

fn read_targets(signed: &Value) -> Option<(Vec<Vouched>, Vec<Delegation>)> {
    let releases = signed.get("targets")?.map()?.iter();
    let releases = releases.map(|(path, target)| Vouched::read(path, target).ok()).collect::<Option<_>>()?;
    let delegated = signed.get("delegations")?;
    let keys = delegated.get("keys")?.map()?;
    let role = |stated: &Value| {
        let texts = |name: &str| -> Option<Vec<String>> {
            stated.get(name)?.list()?.iter().map(|item| item.text().map(str::to_owned)).collect()
        };
        let key = |id: &String| {
            let (_, key) = keys.iter().find(|(known, _)| known == id)?;
            keys::parse_hex(key.get("keyval")?.get("public")?.text()?)
        };
        Some(Delegation {
            name: stated.get("name")?.text().filter(|name| is_channel(name))?.to_owned(),
            keys: texts("keyids")?.iter().map(key).collect::<Option<_>>()?,
            threshold: u32::try_from(stated.get("threshold")?.number()?).ok()?,
            paths: texts("paths")?,
        })
    };
    let delegations = delegated.get("roles")?.list()?.iter().map(role).collect::<Option<_>>()?;
    Some((releases, delegations))
}
