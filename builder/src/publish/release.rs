//! Putting a release into a channel.

use super::{
    Anew, Changed, Draft, Repository, Signing, Waves, change, deltas,
    state::{Chain, Found},
    stick,
};
use crate::{
    bundle::{FILE_NAME, Opened},
    context::Context,
    digest::Digest,
    error::{Doing as _, Error, Kind, Result},
};
use coracle_format::version::Version;
use coracle_rollout::{Offered, Rollout, Seed, State, document::RELEASES_MAX};
use coracle_trust::{Vouched, document::PublicKey};
use std::{
    fs::File,
    path::{Path, PathBuf},
};

/// What to publish, and how.
#[derive(Clone, Debug)]
pub struct Request {
    /// Directories with bundles, or bundles; all of them appear at once.
    pub bundles: Vec<PathBuf>,
    /// The channel.
    pub channel: String,
    /// Who takes it when.
    pub waves: Waves,
    /// The lowest version that it may be installed over.
    pub minimum: Option<Version>,
    /// Downgrade exception: the newest version that it may replace though it is older.
    pub replaces: Option<Version>,
    /// A key of the channel's own, if the channel is new.
    pub channel_key: Option<PublicKey>,
    /// From how many earlier releases a delta is made, at most [`deltas::MAX`].
    pub deltas: u8,
    /// A stick image to write afterwards.
    pub usb: Option<PathBuf>,
}

/// Publishes releases: all of them at once, or nothing. Without a bundle only the stick is written.
pub fn publish(
    ctx: &Context,
    (repository, signing): (&Repository, &Signing),
    request: &Request,
    now: u64,
) -> Result<Changed> {
    let chain = Chain::of(signing.keys.dir.chain()?)?;
    let mut read = Vec::new();
    for place in &request.bundles {
        read.push(read_bundle(ctx, place, &chain, now)?);
    }
    let changed = if read.is_empty() {
        let found = Found::read(repository, &chain)?.map_or(0, |found| found.timestamp.version);
        Changed { timestamp: found, written: Vec::new(), warnings: Vec::new() }
    } else {
        change(ctx, (repository, signing), (now, Anew::Nothing), |draft| {
            draft.open_channel(&request.channel, request.channel_key);
            let targets: Vec<String> = read.iter().map(|(_, vouched)| vouched.path()).collect();
            for (path, vouched) in read {
                add(draft, request, (path, vouched))?;
            }
            for target in targets {
                deltas::add(ctx, repository, draft, (&target, request.deltas))?;
            }
            Ok(())
        })?
    };
    if let Some(image) = &request.usb {
        stick::write_stick(ctx, repository, &request.channel, image)?;
    }
    Ok(changed)
}

/// A bundle that is good from beginning to end, and signed by keys of the newest root.
fn read_bundle(ctx: &Context, place: &Path, chain: &Chain, now: u64) -> Result<(PathBuf, Vouched)> {
    let path = if place.is_dir() { place.join(FILE_NAME) } else { place.to_owned() };
    if !path.exists() {
        return Err(Error::new(Kind::NotFound, format!("there is no {}", path.display()))
            .hint("coracle build MANIFEST --bundle --keys DIR makes one"));
    }
    let newest = chain.documents.last().map(Vec::as_slice).unwrap_or_default();
    let (digest, length) =
        File::open(&path).and_then(|mut file| Digest::of_reader(&mut file)).doing("read", &path)?;
    let opened = Opened::open(&path)?;
    let (verified, index) = opened.verify(newest, Some(now)).map_err(|error| {
        error.hint("a bundle is published by the keys that signed it; after a rotation, build it again")
    })?;
    let vouched = Vouched {
        length,
        sha256: digest.0,
        index_length: verified.index_length,
        index_sha256: verified.index_sha256,
        id: index.boot.sha256,
        release: verified.release,
        deltas: Vec::new(),
    };
    opened.check_parts(ctx, &index)?;
    Ok((path, vouched))
}

fn policy(message: String) -> Error {
    Error::new(Kind::Policy, message)
}

/// Adds one release, if the rules of releases allow it.
fn add(draft: &mut Draft, request: &Request, (bundle, mut vouched): (PathBuf, Vouched)) -> Result<()> {
    let (target, version) = (vouched.path(), vouched.release.version);
    vouched.release.replaces = request.replaces.or(vouched.release.replaces);
    if let Some(replaces) = request.replaces.filter(|replaces| *replaces <= version) {
        let message = format!("version {version} needs no exception to replace version {replaces}");
        return Err(Error::new(Kind::Usage, message));
    }
    if let Some(minimum) = request.minimum.filter(|minimum| *minimum >= version) {
        let message = format!("version {version} is never installed over version {minimum}");
        return Err(Error::new(Kind::Usage, message).hint("--minimum names a version before it"));
    }
    if let Some(known) = draft.vouched(&target) {
        if known.index_sha256 != vouched.index_sha256 {
            let message = format!("{target} is published already, with other contents");
            return Err(policy(message).hint("machines may have it: give the new one a higher version"));
        }
        if known.release.epoch != vouched.release.epoch {
            let message =
                format!("{target} is published already, with security epoch {}", known.release.epoch);
            return Err(policy(message).hint("a release keeps its epoch: give the new one a higher version"));
        }
        if request.replaces.is_none() {
            vouched.release.replaces = known.release.replaces.or(vouched.release.replaces);
        }
    }
    let replaces = vouched.release.replaces;
    let offered = Offered {
        version,
        target,
        state: State::Active,
        minimum: request.minimum,
        waves: request.waves.first(),
        seed: seed(&request.channel, &vouched),
    };
    let release = vouched.release.clone();
    draft.vouch(bundle, vouched);
    let rollout = rollout(draft, &request.channel, &release)?;
    offer(rollout, offered, (replaces, &request.waves))
}

/// Puts a release into a channel's document, or changes what is said of one that is there.
pub(crate) fn offer(
    rollout: &mut Rollout,
    offered: Offered,
    (replaces, waves): (Option<Version>, &Waves),
) -> Result<()> {
    let (version, channel) = (offered.version, rollout.channel.clone());
    if let Some(known) = rollout.releases.iter_mut().find(|known| known.version == version) {
        if matches!(known.state, State::Withdrawn { .. }) {
            return Err(policy(format!(
                "{version} was withdrawn from channel {channel}, and does not come back"
            ))
            .hint("publish a higher version"));
        }
        known.waves = waves.after(&known.waves);
        known.minimum = offered.minimum.or(known.minimum);
        return Ok(());
    }
    let newest = rollout.releases.last().map(|newest| newest.version);
    let before =
        newest.filter(|newest| *newest > version && replaces.is_none_or(|replaces| replaces < *newest));
    if let Some(newest) = before {
        let message = format!("channel {channel} has version {newest}, which is newer than {version}");
        return Err(policy(message).hint(format!(
            "machines do not go back: publish a higher version, or allow it with --replaces {newest}"
        )));
    }
    let at = rollout.releases.partition_point(|known| known.version < version);
    rollout.releases.insert(at, offered);
    make_room(rollout)
}

/// Drops the oldest release that no machine needs, if there are too many: neither a step on the way to a newer one nor
/// where machines go from a withdrawn one.
fn make_room(rollout: &mut Rollout) -> Result<()> {
    while rollout.releases.len() > RELEASES_MAX {
        let needed = |version: Version| {
            rollout.releases.iter().any(|other| {
                let is_step =
                    other.version > version && other.minimum.is_some_and(|minimum| minimum <= version);
                is_step || other.state == State::Withdrawn { instead: Some(version) }
            })
        };
        let last = rollout.releases.len() - 1;
        let at = rollout.releases[..last].iter().position(|release| !needed(release.version)).ok_or_else(
            || {
                Error::new(Kind::TooLarge, format!("channel {} has {RELEASES_MAX} releases", rollout.channel))
                    .hint("open another channel")
            },
        )?;
        rollout.releases.remove(at);
    }
    Ok(())
}

/// The document of a channel for an image, made if there is none.
pub(crate) fn rollout<'a>(
    draft: &'a mut Draft,
    channel: &str,
    release: &coracle_trust::Release,
) -> Result<&'a mut Rollout> {
    let unknown = || Error::new(Kind::NotFound, format!("there is no channel {channel}"));
    let rollouts = draft.state.channels.get_mut(channel).ok_or_else(unknown)?;
    let is_own = |rollout: &Rollout| rollout.image == release.name && rollout.arch == release.arch;
    if !rollouts.iter().any(is_own) {
        rollouts.push(Rollout {
            channel: channel.to_owned(),
            image: release.name.clone(),
            arch: release.arch,
            releases: Vec::new(),
        });
        rollouts.sort_by_key(|rollout| (rollout.image.clone(), rollout.arch.name()));
    }
    rollouts.iter_mut().find(|rollout| is_own(rollout)).ok_or_else(unknown)
}

/// Another order of machines for every release and channel. It is no secret: everybody can read the document.
pub(crate) fn seed(channel: &str, vouched: &Vouched) -> Seed {
    let mut hasher = crate::digest::Hasher::default();
    for field in [&b"coracle rollout"[..], channel.as_bytes(), &vouched.index_sha256] {
        hasher.field(field);
    }
    let digest = hasher.digest().0;
    let mut seed = [0; 16];
    seed.copy_from_slice(&digest[..16]);
    Seed(seed)
}

/// What [`publish`] does to a draft.
#[cfg(test)]
pub(super) fn tests_add(
    ctx: &Context,
    draft: &mut Draft,
    request: &Request,
    keys: &crate::keys::KeyDir,
) -> Result<()> {
    let chain = Chain::of(keys.chain()?)?;
    draft.open_channel(&request.channel, None);
    add(draft, request, read_bundle(ctx, &request.bundles[0], &chain, draft.now)?)
}
