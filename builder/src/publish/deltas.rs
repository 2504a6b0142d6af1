//! Deltas to a new release, from those that machines most likely run.

use super::{Draft, Repository};
use crate::{
    bundle::FILE_NAME,
    cache::Origin,
    context::Context,
    delta::{self, Release},
    digest::{Digest, Hasher},
    error::{Doing as _, Error, Kind, Result},
    show,
};
use coracle_format::delta::DELTA_VERSION;
use coracle_trust::{DELTAS_MAX, Delta, Vouched};
use std::{
    fs::File,
    path::{Path, PathBuf},
};

/// Changes whenever the same releases would give another delta.
const STEPS_VERSION: &[u8] = b"coracle delta steps 2";
/// The delta in its step of the cache.
const FILE: &str = "delta";
/// What stands there instead if none is worth its place.
const NONE: &str = "none";

/// How many earlier releases get a delta if nobody says.
pub const DEFAULT: u8 = 3;
/// How many can get one.
pub const MAX: u8 = 16;

/// Adds deltas to a release of the draft that is not published yet, from the newest `count` releases of its image before
/// it. That one cannot be made is a warning: machines take the bundle.
pub(super) fn add(
    ctx: &Context,
    repository: &Repository,
    draft: &mut Draft,
    (target, count): (&str, u8),
) -> Result<()> {
    let Some((bundle, new)) = draft.new_bundle(target) else {
        return Ok(());
    };
    let mut before: Vec<Vouched> =
        draft.state.releases.iter().filter(|old| is_before(old, &new)).cloned().collect();
    before.sort_by_key(|old| std::cmp::Reverse(old.release.version));
    let mut opened = None;
    for old in before.into_iter().take(usize::from(count).min(DELTAS_MAX)) {
        let path = draft
            .new_bundle(&old.path())
            .map_or_else(|| repository.target(&old.path(), &old.sha256), |(path, _)| path);
        let made = make(ctx, (&path, &old), (&bundle, &new), &mut opened);
        match made {
            Ok(Some((path, delta))) => draft.add_delta(target, path, delta),
            Ok(None) => {}
            Err(error) if error.kind() == Kind::Interrupted => return Err(error),
            Err(error) => ctx.report.warn(format!(
                "there is no delta from {} to {}: {error}",
                old.release.version, new.release.version
            )),
        }
    }
    Ok(())
}

fn is_before(old: &Vouched, new: &Vouched) -> bool {
    let (a, b) = (&old.release, &new.release);
    a.name == b.name && a.arch == b.arch && a.version < b.version && old.id != new.id
}

/// The delta between two bundles, kept in the cache; `None` if it saves too little.
fn make(
    ctx: &Context,
    (old_path, old): (&Path, &Vouched),
    (new_path, new): (&Path, &Vouched),
    opened: &mut Option<Release>,
) -> Result<Option<(PathBuf, Delta)>> {
    if !old_path.exists() {
        return Err(Error::new(Kind::NotFound, format!("there is no {}", old_path.display())));
    }
    let mut hasher = Hasher::default();
    for field in [STEPS_VERSION, &DELTA_VERSION.to_le_bytes(), &old.id, &new.sha256] {
        hasher.field(field);
    }
    let (dir, origin) = ctx.cache.step(&hasher.digest(), |dir| {
        let old = Release::open(ctx, old_path)?;
        let new = match opened {
            Some(new) => new,
            None => opened.insert(Release::open(ctx, new_path)?),
        };
        match delta::make_between(ctx, (&old, new), &dir.join(FILE)) {
            Ok(written) => {
                written.tell(&ctx.report);
                Ok(())
            }
            Err(error) if error.kind() == Kind::Policy => {
                crate::files::replace(&dir.join(NONE), error.to_string().as_bytes())
            }
            Err(error) => Err(error),
        }
    })?;
    let versions = format!("{} → {}", old.release.version, new.release.version);
    let path = dir.join(FILE);
    if !path.exists() {
        ctx.report.info(format!("delta {versions}: none, it would hardly be smaller than the {FILE_NAME}"));
        return Ok(None);
    }
    let (sha256, length): (Digest, u64) =
        File::open(&path).and_then(|mut file| Digest::of_reader(&mut file)).doing("read", &path)?;
    let cached = if origin == Origin::Cached { " (cached)" } else { "" };
    let full = show::bytes(new.length);
    ctx.report.info(format!("delta {versions}: {} instead of {full}{cached}", show::bytes(length)));
    Ok(Some((path, Delta { from: old.id, length, sha256: sha256.0 })))
}
