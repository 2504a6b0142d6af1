//! From one state of a repository to the next.

use super::{
    METADATA, Repository, TARGETS, accept,
    files::{self, Content, New, Writes},
    signing::{Part, Signing},
    state::{Chain, Found, Standing, State, Stated, authority, public_keys},
    target_file,
};
use crate::{
    context::Context,
    digest::Digest,
    error::{Error, Kind, Result},
};
use coracle_trust::{
    Delta, Role, Vouched,
    client::{SNAPSHOT_BYTES_MAX, TARGETS_BYTES_MAX},
    document::{Authority, PublicKey},
    publish::{self, Delegation, File, Listed},
};
use nix::fcntl::Flock;
use std::{collections::BTreeMap, path::PathBuf};

const DAY: u64 = 86_400;
/// A document is signed anew when less than one part in so many of its time is left.
const NEAR: u64 = 3;

/// What is signed anew beside what has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anew {
    /// Nothing: a repository that says what it should is left alone.
    Nothing,
    /// The timestamp, and what is near its date.
    Dates,
    /// Everything, with the keys of the newest root.
    Everything,
}

/// A state that is being changed.
#[derive(Debug)]
pub struct Draft {
    /// What the repository is to say.
    pub state: State,
    /// When the change is made, seconds since 1970.
    pub now: u64,
    online: (Vec<PublicKey>, u32),
    bundles: Vec<(PathBuf, Vouched)>,
    /// Deltas with the paths of their targets.
    deltas: Vec<(PathBuf, String, Delta)>,
}

impl Draft {
    /// Adds a release with its bundle, or takes over what is said of one that is there.
    pub(super) fn vouch(&mut self, bundle: PathBuf, vouched: Vouched) {
        if let Some(known) = self.state.releases.iter_mut().find(|known| known.path() == vouched.path()) {
            known.release = vouched.release;
            return;
        }
        self.bundles.push((bundle, vouched.clone()));
        self.state.releases.push(vouched);
        self.state.releases.sort_by_key(Vouched::path);
    }

    /// The bundle of a release that is not published yet.
    pub(super) fn new_bundle(&self, target: &str) -> Option<(PathBuf, Vouched)> {
        self.bundles.iter().find(|(_, vouched)| vouched.path() == target).cloned()
    }

    /// Adds a delta to a release.
    pub(super) fn add_delta(&mut self, target: &str, path: PathBuf, delta: Delta) {
        if let Some(known) = self.state.releases.iter_mut().find(|known| known.path() == target) {
            known.deltas.push(delta);
            self.deltas.push((path, known.delta_file(&delta), delta));
        }
    }

    /// The release behind a target.
    pub fn vouched(&self, target: &str) -> Option<&Vouched> {
        self.state.releases.iter().find(|known| known.path() == target)
    }

    /// Makes a channel if there is none of this name. Without a key of its own, the timestamp's speaks for it.
    pub fn open_channel(&mut self, name: &str, own: Option<PublicKey>) {
        if self.state.channels.contains_key(name) {
            return;
        }
        let (keys, threshold) = own.map_or_else(|| self.online.clone(), |key| (vec![key], 1));
        let paths = vec![format!("{name}/*")];
        self.state.delegations.push(Delegation { name: name.to_owned(), keys, threshold, paths });
        self.state.channels.insert(name.to_owned(), Vec::new());
    }
}

/// What a change has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Version of the timestamp; that of the newest one if nothing was written.
    pub timestamp: u32,
    /// Names of the metadata that was written, in this order; none if nothing was to be done.
    pub written: Vec<String>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// Changes a repository: all of it or nothing.
pub fn change(
    ctx: &Context,
    place: (&Repository, &Signing),
    when: (u64, Anew),
    edit: impl FnOnce(&mut Draft) -> Result<()>,
) -> Result<Changed> {
    let prepared = prepare(ctx, place, when, edit)?;
    if !prepared.changed.written.is_empty() {
        prepared.writes.apply(place.0, &mut |_| ctx.check())?;
    }
    Ok(prepared.changed)
}

/// A change that is worked out and signed, and not written yet.
#[derive(Debug)]
pub(super) struct Prepared {
    /// What is to be written.
    pub(super) writes: Writes,
    /// What will have been done then.
    pub(super) changed: Changed,
    _guard: Flock<std::fs::File>,
}

/// Works out a change. Other publishers are kept out for as long as the answer lives.
pub(super) fn prepare(
    ctx: &Context,
    (repository, signing): (&Repository, &Signing),
    (now, anew): (u64, Anew),
    edit: impl FnOnce(&mut Draft) -> Result<()>,
) -> Result<Prepared> {
    let guard = repository.lock()?;
    let chain = Chain::of(signing.keys.dir.chain()?)?;
    let missing_roots = missing_roots(repository, &chain)?;
    let found = Found::read(repository, &chain)?;
    if let Some(found) = found.as_ref().filter(|found| !found.is_current() && anew != Anew::Everything) {
        return Err(by_older_keys(repository, found));
    }
    let root = chain.newest();
    let online = root.authority(Role::Timestamp);
    let mut draft = Draft {
        state: found.as_ref().map(|found| found.state.clone()).unwrap_or_default(),
        now,
        online: (public_keys(online), online.threshold),
        bundles: Vec::new(),
        deltas: Vec::new(),
    };
    if anew == Anew::Everything {
        follow_online_key(&chain, &mut draft);
    }
    edit(&mut draft)?;
    let mut work = Work {
        ctx,
        repository,
        signing,
        chain: &chain,
        found: found.as_ref(),
        draft: &draft,
        anew,
        writes: Writes::default(),
        written: Vec::new(),
        warnings: warnings(&chain, found.as_ref(), now),
    };
    work.roots(missing_roots);
    let timestamp = work.run()?;
    let changed = Changed { timestamp, written: work.written, warnings: work.warnings };
    Ok(Prepared { writes: work.writes, changed, _guard: guard })
}

/// The roots that the repository lacks. What it has must be what the keys' directory has: machines may know it.
fn missing_roots(repository: &Repository, chain: &Chain) -> Result<Vec<(String, Vec<u8>)>> {
    let mut missing = Vec::new();
    for (version, document) in (1_u32..).zip(&chain.documents) {
        let file = format!("{version}.root.json");
        match files::read(&repository.metadata(&file), coracle_trust::client::ROOT_BYTES_MAX)? {
            None => missing.push((file, document.clone())),
            Some(bytes) if bytes == *document => {}
            Some(_) => {
                let path = repository.metadata(&file);
                let message =
                    format!("{} is another root than the one in the directory of keys", path.display());
                return Err(Error::new(Kind::Policy, message)
                    .hint("a repository belongs to one chain of roots: name its own directory with --keys"));
            }
        }
    }
    let next = repository.metadata(&format!("{}.root.json", chain.documents.len() + 1));
    if next.exists() {
        let message = format!("{} is newer than every root in the directory of keys", next.display());
        return Err(Error::new(Kind::Stale, message)
            .hint("bring the directory of keys up to date: copy root.json and N.root.json to it"));
    }
    Ok(missing)
}

fn by_older_keys(repository: &Repository, found: &Found) -> Error {
    let parts = [("timestamp", found.timestamp), ("snapshot", found.snapshot), ("targets", found.targets)];
    let older = parts.iter().filter(|(_, stated)| stated.standing == Standing::Older);
    let older: Vec<&str> = older.map(|(name, _)| *name).collect();
    let message = format!(
        "{} has documents by keys that the newest root no longer names: {}",
        repository.dir().display(),
        older.join(", ")
    );
    Error::new(Kind::Policy, message).hint(
        "whoever has those keys may have changed them: look at `coracle channel show`, then sign everything anew with \
         `coracle channel refresh --resign`",
    )
}

/// A channel for which the timestamp's key speaks goes on doing so when that key is replaced.
fn follow_online_key(chain: &Chain, draft: &mut Draft) {
    let (keys, threshold) = draft.online.clone();
    let same = |a: &[PublicKey], b: &[PublicKey]| a.len() == b.len() && a.iter().all(|key| b.contains(key));
    for delegation in &mut draft.state.delegations {
        if chain.authorities(Role::Timestamp).any(|old| same(&public_keys(old), &delegation.keys)) {
            delegation.keys.clone_from(&keys);
            delegation.threshold = threshold;
        }
    }
}

fn warnings(chain: &Chain, found: Option<&Found>, now: u64) -> Vec<String> {
    let mut out = Vec::new();
    let days = chain.newest().expires().saturating_sub(now) / DAY;
    if days < 90 {
        out.push(format!("the root expires in {days} days: coracle keys rotate DIR makes the next one"));
    }
    if found.is_some_and(|found| now < found.issued) {
        out.push("this computer's clock is behind the newest timestamp".to_owned());
    }
    out
}

struct Work<'a> {
    ctx: &'a Context,
    repository: &'a Repository,
    signing: &'a Signing,
    chain: &'a Chain,
    found: Option<&'a Found>,
    draft: &'a Draft,
    anew: Anew,
    writes: Writes,
    written: Vec<String>,
    warnings: Vec<String>,
}

impl Work<'_> {
    /// Works out what is new; the version of the timestamp.
    fn run(&mut self) -> Result<u32> {
        let mut listed = BTreeMap::new();
        listed.insert("targets".to_owned(), self.targets()?);
        for (name, rollouts) in &self.draft.state.channels {
            let one = self.channel(name, rollouts)?;
            listed.insert(name.clone(), one);
        }
        let snapshot = self.snapshot(&listed)?;
        if self.written.is_empty() && self.anew == Anew::Nothing {
            return Ok(self.found.map_or(0, |found| found.timestamp.version));
        }
        let version = self.found.map_or(0, |found| found.timestamp.version).saturating_add(1);
        let issued = self.draft.now.max(self.found.map_or(0, |found| found.issued));
        let expires = self.expires(self.signing.days.timestamp);
        let body = publish::timestamp(version, issued, expires, &snapshot).ok_or_else(beyond)?;
        let authority = self.chain.newest().authority(Role::Timestamp);
        self.writes.timestamp = self.signing.sign(self.ctx, Part::Timestamp, authority, &body)?;
        self.written.push(files::TIMESTAMP.to_owned());
        accept::accepted(self.repository, self.chain, &self.writes, self.draft)?;
        Ok(version)
    }

    fn roots(&mut self, missing: Vec<(String, Vec<u8>)>) {
        for (file, bytes) in missing {
            self.writes.add(format!("{METADATA}/{file}"), bytes);
            self.written.push(file);
        }
    }

    fn expires(&self, days: u64) -> u64 {
        self.draft.now.saturating_add(days.saturating_mul(DAY))
    }

    /// Whether a document that says the right thing is signed anew all the same.
    fn is_due(&self, stated: Stated, days: u64) -> bool {
        match self.anew {
            Anew::Nothing => false,
            Anew::Everything => true,
            Anew::Dates => stated.expires.saturating_sub(self.draft.now) < days.saturating_mul(DAY) / NEAR,
        }
    }

    /// What a document is listed as that can stay, if it can.
    fn kept(&self, role: &str) -> Option<Listed> {
        self.found.and_then(|found| found.listed.get(role).copied())
    }

    fn targets(&mut self) -> Result<Listed> {
        let (state, days) = (&self.draft.state, self.signing.days.targets);
        let authority = self.chain.newest().authority(Role::Targets);
        if let (Some(found), Some(kept)) = (self.found, self.kept("targets")) {
            let before = &found.state;
            let same = before.releases == state.releases && before.delegations == state.delegations;
            if same && !self.is_due(found.targets, days) {
                return Ok(kept);
            }
            // Its keys are offline as a rule: a date that is near is no reason to fail.
            if same
                && self.anew == Anew::Dates
                && !self.signing.can_sign(self.ctx, Part::Targets, authority)?
            {
                let left = found.targets.expires.saturating_sub(self.draft.now) / DAY;
                self.warnings.push(format!(
                    "the list of releases expires in {left} days: publish a release or refresh where the targets keys are"
                ));
                return Ok(kept);
            }
        }
        for (path, vouched) in &self.draft.bundles {
            let place = format!("{TARGETS}/{}", vouched.file());
            let content = Content::Copy(path.clone(), Digest(vouched.sha256));
            self.writes.new.push(New { place, content });
        }
        for (path, file, delta) in &self.draft.deltas {
            let content = Content::Copy(path.clone(), Digest(delta.sha256));
            self.writes.new.push(New { place: format!("{TARGETS}/{file}"), content });
        }
        let version = self.next("targets", self.found.map(|found| found.targets.version))?;
        let expires = self.expires(days);
        let body =
            publish::releases(version, expires, &state.releases, &state.delegations).ok_or_else(beyond)?;
        self.document("targets", version, (Part::Targets, authority), &body)
    }

    fn channel(&mut self, name: &str, rollouts: &[coracle_rollout::Rollout]) -> Result<Listed> {
        let delegation = self.draft.state.delegations.iter().find(|delegation| delegation.name == name);
        let delegation = delegation
            .ok_or_else(|| Error::new(Kind::Internal, format!("nobody speaks for channel {name}")))?;
        let before = self.found.and_then(|found| {
            let same_keys = found.state.delegations.contains(delegation);
            let same = same_keys && found.state.channels.get(name).is_some_and(|before| before == rollouts);
            found.channels.get(name).map(|stated| (*stated, same))
        });
        if let (Some((stated, true)), Some(kept)) = (before, self.kept(name))
            && !self.is_due(stated, self.signing.days.channel)
        {
            return Ok(kept);
        }
        let mut listed = Vec::new();
        for rollout in rollouts {
            let bytes = rollout.encode().map_err(|why| {
                Error::new(Kind::TooLarge, format!("cannot write down what channel {name} offers"))
                    .because(why)
            })?;
            let path = coracle_rollout::document::path(name, &rollout.image, rollout.arch);
            let stated = Listed::of(1, &bytes);
            self.writes.add(format!("{TARGETS}/{}", target_file(&path, &stated.sha256)), bytes);
            listed.push(File { path, length: stated.length, sha256: stated.sha256 });
        }
        let version = self.next(name, before.map(|(stated, _)| stated.version))?;
        let body =
            publish::files(version, self.expires(self.signing.days.channel), &listed).ok_or_else(beyond)?;
        self.document(name, version, (Part::Channel(name), &authority(delegation)), &body)
    }

    fn snapshot(&mut self, listed: &BTreeMap<String, Listed>) -> Result<Listed> {
        let days = self.signing.days.snapshot;
        if let Some(found) = self.found.filter(|found| found.listed == *listed)
            && !self.is_due(found.snapshot, days)
        {
            let file = format!("{}.snapshot.json", found.snapshot.version);
            let bytes = files::read(&self.repository.metadata(&file), SNAPSHOT_BYTES_MAX)?;
            return Ok(Listed::of(found.snapshot.version, &bytes.unwrap_or_default()));
        }
        let version = self.next("snapshot", self.found.map(|found| found.snapshot.version))?;
        let roles: Vec<(&str, Listed)> = listed.iter().map(|(name, one)| (name.as_str(), *one)).collect();
        let body = publish::snapshot(version, self.expires(days), &roles).ok_or_else(beyond)?;
        let authority = self.chain.newest().authority(Role::Snapshot);
        self.document("snapshot", version, (Part::Snapshot, authority), &body)
    }

    fn next(&self, role: &str, before: Option<u32>) -> Result<u32> {
        let highest = files::highest(self.repository, role)?.max(before.unwrap_or(0));
        highest
            .checked_add(1)
            .ok_or_else(|| Error::new(Kind::TooLarge, format!("{role} has no next version")))
    }

    /// Signs a document and puts it with the new files.
    fn document(
        &mut self,
        role: &str,
        version: u32,
        (part, authority): (Part<'_>, &Authority),
        body: &[u8],
    ) -> Result<Listed> {
        let bytes = self.signing.sign(self.ctx, part, authority, body)?;
        let limit = if part == Part::Snapshot { SNAPSHOT_BYTES_MAX } else { TARGETS_BYTES_MAX };
        let listed = Listed::of(version, &bytes);
        if listed.length > limit {
            let message =
                format!("{} would have {} bytes; machines take {limit}", part.name(), listed.length);
            return Err(Error::new(Kind::TooLarge, message));
        }
        let file = format!("{version}.{role}.json");
        self.writes.add(format!("{METADATA}/{file}"), bytes);
        self.written.push(file);
        Ok(listed)
    }
}

fn beyond() -> Error {
    Error::new(Kind::Usage, "a date is beyond the year 9999, or a file too long")
}
