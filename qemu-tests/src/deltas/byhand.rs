//! B2: what somebody gets by hand with general tools, who unpacks the kernel and takes the better of two tools for every
//! file. Names, owners, and where files are in the file system are not even counted.

use super::{contents::Files, tools::Tools};
use anyhow::{Context as _, Result};
use coracle::{digest::Digest, parallel};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Write as _,
    path::Path,
    sync::{Mutex, PoisonError},
};

/// What precedes the release in the path of a kernel module.
const MODULES: &str = "lib/modules/";

/// A file that the old release has not, or has otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change<'a> {
    /// Its path in the new release.
    pub(super) path: &'a str,
    /// Its bytes before; `None` if nothing was there.
    pub(super) old: Option<&'a [u8]>,
    /// Its bytes.
    pub(super) new: &'a [u8],
}

/// What bsdiff takes, if there was a file before, and what zstd does.
type Taken = (Option<u64>, u64);

/// What was measured before: a kernel that several pairs have in common is compared only once. Found by the
/// digests of both files.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<BTreeMap<(Digest, Digest), Taken>>);

impl Known {
    fn of(&self, change: &Change<'_>, measure: impl FnOnce() -> Result<Taken>) -> Result<Cost> {
        // No file and an empty one are the same here.
        let key = (Digest::of(change.old.unwrap_or_default()), Digest::of(change.new));
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lock().get(&key).copied();
        let (bsdiff, zstd) = match known {
            Some(known) => known,
            None => measure()?,
        };
        lock().insert(key, (bsdiff, zstd));
        Ok(Cost { path: change.path.to_owned(), bsdiff, zstd })
    }
}

/// What a change takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cost {
    /// The path.
    pub(super) path: String,
    /// What bsdiff makes of it, if there was a file before.
    pub(super) bsdiff: Option<u64>,
    /// What zstd does.
    pub(super) zstd: u64,
}

impl Cost {
    /// The better one.
    pub(super) fn best(&self) -> u64 {
        self.bsdiff.map_or(self.zstd, |bytes| bytes.min(self.zstd))
    }
}

/// The path by which a file finds its partner: that of a kernel module without the kernel's release.
pub(super) fn place(path: &str) -> String {
    let Some((before, rest)) = path.split_once(MODULES) else { return path.to_owned() };
    match rest.split_once('/') {
        Some((_, rest)) => format!("{before}{MODULES}{rest}"),
        None => path.to_owned(),
    }
}

/// The same path in the other part: what is in memory in one release may be on the image in the next.
fn elsewhere(place: &str) -> Option<String> {
    match place.split_once('/')? {
        ("root", rest) => Some(format!("memory/{rest}")),
        ("memory", rest) => Some(format!("root/{rest}")),
        _ => None,
    }
}

/// What changed, the largest first. Equal changes are one: nobody sends them twice.
pub(super) fn changes<'a>(old: &'a Files, new: &'a Files) -> Vec<Change<'a>> {
    let before: BTreeMap<String, &[u8]> =
        old.iter().map(|(path, bytes)| (place(path), bytes.as_slice())).collect();
    let known: BTreeSet<&[u8]> = old.values().map(Vec::as_slice).collect();
    let mut seen = BTreeSet::new();
    let mut changes = Vec::new();
    for (path, bytes) in new {
        let new = bytes.as_slice();
        let place = place(path);
        let partner = before.get(&place).or_else(|| before.get(&elsewhere(&place)?)).copied();
        // A file that has only moved is sent by nobody.
        if !known.contains(new) && seen.insert((partner, new)) {
            changes.push(Change { path, old: partner.filter(|old| !old.is_empty()), new });
        }
    }
    changes.sort_by_key(|change| std::cmp::Reverse(change.new.len()));
    changes
}

/// What each of them takes, measured in as many threads as there are processors; files are written to `dir` for it.
pub(super) fn costs(
    tools: &Tools<'_>,
    known: &Known,
    changes: &[Change<'_>],
    dir: &Path,
) -> Result<Vec<Cost>> {
    let work = |change: &Change<'_>| -> Result<Cost> {
        let place = tempfile::tempdir_in(dir)?;
        let (old, new) = (place.path().join("old"), place.path().join("new"));
        known
            .of(change, || measure(tools, change, &old, &new))
            .with_context(|| format!("cannot measure the change of {}", change.path))
    };
    let mut costs = Vec::with_capacity(changes.len());
    parallel::in_order(parallel::threads(changes.len()), changes, work, |cost| {
        costs.push(cost);
        Ok(())
    })?;
    Ok(costs)
}

fn measure(tools: &Tools<'_>, change: &Change<'_>, old: &Path, new: &Path) -> Result<Taken> {
    File::create(new)?.write_all(change.new)?;
    let Some(before) = change.old else { return Ok((None, tools.compressed(new)?)) };
    File::create(old)?.write_all(before)?;
    Ok((Some(tools.bsdiff(old, new)?), tools.zstd(old, new)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn the_same_change_is_measured_once_whatever_its_path() {
        let known = Known::default();
        let change = |path, new| Change { path, old: Some(b"old"), new };
        let first = known.of(&change("a", b"new"), || Ok((Some(7), 8))).unwrap();
        let again = known.of(&change("b", b"new"), || Err(anyhow!("measured again"))).unwrap();
        assert_eq!(again, Cost { path: "b".to_owned(), ..first });
        known.of(&change("a", b"other"), || Err(anyhow!("not known"))).unwrap_err();
    }
}
