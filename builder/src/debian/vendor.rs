//! A directory that serves as a mirror later: `dists/` and `pool/` with just what a lock names.

use super::{Archive, Package, mirror::Mirrors, package::fetch_all};
use crate::{
    context::Context,
    digest::Digest,
    error::{Doing, Error, Kind, Result},
    report::Unit,
    tree::TreePath,
};
use std::{
    fs::{self, File},
    path::Path,
};

/// Puts the packages into `dir`, in the places where a mirror has them, fetching what is missing. Files that are there
/// already and right are left alone. Everything is verified again when `dir` is used as a mirror.
pub fn vendor_packages(ctx: &Context, mirrors: &Mirrors, packages: &[Package], dir: &Path) -> Result<()> {
    fetch_all(ctx, mirrors, packages)?;
    let step = ctx.report.step(format!("copy packages to {}", dir.display()));
    for (done, package) in (0..).zip(packages) {
        step.progress(done, count(packages.len()), Unit::Items);
        place(ctx, &package.sha256, dir, &package.filename)?;
    }
    step.done(format!("{} packages", packages.len()));
    Ok(())
}

/// Puts the archive's signed lists and its package lists for `arch` into `dir`, so that packages can be resolved from
/// there too.
pub fn vendor_indexes(ctx: &Context, archive: &Archive, arch: &str, dir: &Path) -> Result<()> {
    for (path, sha256) in archive.documents(ctx, arch)? {
        place(ctx, &sha256, dir, &path)?;
    }
    Ok(())
}

/// Copies a cache object to `path` below `dir`: whole or not at all.
fn place(ctx: &Context, sha256: &Digest, dir: &Path, path: &str) -> Result<()> {
    ctx.check()?;
    let to = dir.join(TreePath::new(path)?.as_str());
    if is_right(&to, sha256)? {
        return Ok(());
    }
    let from = ctx.cache.object(sha256).ok_or_else(|| {
        let text = format!("{path} is not in the cache");
        Error::new(Kind::NotFound, text)
    })?;
    let parent = to.parent().unwrap_or(dir);
    fs::create_dir_all(parent).doing("create directory", parent)?;
    let mut temp = tempfile::NamedTempFile::new_in(parent).doing("create file in", parent)?;
    let mut source = File::open(&from).doing("open", &from)?;
    std::io::copy(&mut source, &mut temp).doing("copy to", &to)?;
    temp.as_file().sync_all().doing("sync", &to)?;
    // A mirror may be served by another user.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    temp.as_file().set_permissions(mode).doing("set the mode of", &to)?;
    temp.persist(&to).map_err(|error| error.error).doing("store", &to)?;
    Ok(())
}

fn is_right(path: &Path, sha256: &Digest) -> Result<bool> {
    if !path.is_file() {
        return Ok(false);
    }
    let mut file = File::open(path).doing("open", path)?;
    let (found, _) = Digest::of_reader(&mut file).doing("read", path)?;
    Ok(found == *sha256)
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
