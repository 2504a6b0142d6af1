//! A whole repository, verified as machines would: metadata, rollout documents, and every bundle to its last byte.

use crate::{
    bundle::Opened,
    context::Context,
    delta,
    error::{Doing as _, Error, Kind, Result},
    publish::{Client, Repository, TARGETS, refused_by_client},
};
use coracle_rollout::{Rollout, document};
use coracle_trust::{Vouched, client::Trusted};
use std::{
    fs::{self, File},
    io::Read as _,
    path::Path,
};

/// What was found good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Version of the newest root.
    pub root: u32,
    /// Version of the timestamp.
    pub timestamp: u32,
    /// How many releases are vouched for.
    pub releases: usize,
    /// The rollout documents: `<channel>/<image>-<arch>.json`.
    pub rollouts: Vec<String>,
}

/// Verifies a repository for machines that trust `root`, or the repository's first root, at `now`.
pub fn check(ctx: &Context, repository: &Repository, root: Option<&Path>, now: u64) -> Result<Checked> {
    let own = repository.metadata("1.root.json");
    let (trusted_root, _) = crate::keys::read_root(root.unwrap_or(&own))?;
    let mut client = Client::new(repository);
    let believed = |why| {
        let message = format!("machines do not believe {}", repository.dir().display());
        refused_by_client(message, why)
    };
    let step = ctx.report.step("check metadata");
    let mut trusted = client.refresh(&trusted_root, now).map_err(believed)?;
    let mut checked = Checked {
        root: trusted.root().version(),
        timestamp: trusted.timestamp_version(),
        releases: trusted.releases().len(),
        rollouts: Vec::new(),
    };
    for path in rollouts(repository)? {
        let found = client.target(&mut trusted, &path).map_err(believed)?;
        // A file that nothing vouches for any more is only old.
        let Some(target) = found else { continue };
        let file = repository.dir().join(TARGETS).join(target.file());
        let bytes = fs::read(&file).doing("read", &file)?;
        if !target.is(&bytes) {
            return Err(Error::new(Kind::Digest, format!("{} does not match its digest", file.display())));
        }
        let rollout = Rollout::parse(&bytes).map_err(|why| {
            Error::new(Kind::Hostile, format!("cannot read {}", file.display())).because(why)
        })?;
        agrees(&trusted, &rollout, &path)?;
        checked.rollouts.push(path);
    }
    step.done(format!(
        "root {}, timestamp {}, {} rollout documents",
        checked.root,
        checked.timestamp,
        checked.rollouts.len()
    ));
    for vouched in trusted.releases() {
        bundle(ctx, repository, &trusted, &vouched)?;
    }
    Ok(checked)
}

/// The paths of the rollout documents that are there, whether vouched for or not.
fn rollouts(repository: &Repository) -> Result<Vec<String>> {
    let targets = repository.dir().join(TARGETS);
    let mut paths = Vec::new();
    for channel in fs::read_dir(&targets).doing("list", &targets)? {
        let channel = channel.doing("list", &targets)?;
        let Ok(name) = channel.file_name().into_string() else { continue };
        if !document::is_channel(&name) || !channel.path().is_dir() {
            continue;
        }
        for file in fs::read_dir(channel.path()).doing("list", &channel.path())? {
            let file = file.doing("list", &channel.path())?.file_name();
            if let Some((_, own)) = file.to_str().and_then(|file| file.split_once('.')) {
                paths.push(format!("{name}/{own}"));
            }
        }
    }
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// A document speaks of itself, and of releases that are vouched for.
fn agrees(trusted: &Trusted, rollout: &Rollout, path: &str) -> Result<()> {
    if document::path(&rollout.channel, &rollout.image, rollout.arch) != path {
        return Err(Error::new(Kind::Hostile, format!("{path} speaks of another channel or image")));
    }
    for release in &rollout.releases {
        let vouched = trusted.release(&release.target).ok().flatten();
        let same = vouched.is_some_and(|vouched| {
            let own = vouched.release;
            own.version == release.version && own.name == rollout.image && own.arch == rollout.arch
        });
        if !same {
            let message = format!("{path} offers {}, which nothing vouches for", release.target);
            return Err(Error::new(Kind::Hostile, message));
        }
    }
    Ok(())
}

fn bundle(ctx: &Context, repository: &Repository, trusted: &Trusted, vouched: &Vouched) -> Result<()> {
    let path = repository.target(&vouched.path(), &vouched.sha256);
    let damaged = || not_the_file(&path);
    is_whole(&path, (vouched.length, &vouched.sha256))?;
    let opened = Opened::open(&path)?;
    let index = trusted.verified(vouched).index(&opened.index).map_err(|why| damaged().because(why))?;
    if index.boot.sha256 != vouched.id {
        return Err(damaged());
    }
    opened.check_parts(ctx, &index)?;
    for delta in &vouched.deltas {
        let path = repository.dir().join(TARGETS).join(vouched.delta_file(delta));
        is_whole(&path, (delta.length, &delta.sha256))?;
        let opened = delta::Opened::open(&path)?;
        if opened.header.base != delta.from || opened.index != index {
            return Err(not_the_file(&path));
        }
    }
    Ok(())
}

/// Whether a file has this length and digest.
fn is_whole(path: &Path, (length, sha256): (u64, &[u8; 32])) -> Result<()> {
    let found = fs::metadata(path).doing("inspect", path)?.len();
    let mut file = File::open(path).doing("open", path)?;
    let (digest, _) = crate::digest::Digest::of_reader(&mut file.by_ref().take(found)).doing("read", path)?;
    if found == length && digest.0 == *sha256 { Ok(()) } else { Err(not_the_file(path)) }
}

fn not_the_file(path: &Path) -> Error {
    Error::new(Kind::Digest, format!("{} is not the file that is vouched for", path.display()))
}
