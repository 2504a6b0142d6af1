//! Local files that a manifest names: which they are, and what the lock says of them.

use crate::{
    digest::Digest,
    error::{Doing as _, Error, Kind, Result},
    tree::Content,
};
use coracle_manifests::{
    Manifest,
    lock::LockedFile,
    manifest::{FileContent, InputPath, KernelSource, SeccompProfile, Source},
};
use std::{
    fs::{self, File},
    io,
    path::Path,
};

/// Files up to this size are held in memory; larger ones are read again when the image is written.
const IN_MEMORY_BYTES: u64 = 1 << 20;
/// How deep a named directory of inputs may be.
const DEPTH_MAX: usize = 64;

/// Every file and directory that the manifest names.
pub(super) fn named(manifest: &Manifest) -> Vec<&InputPath> {
    let mut out = Vec::new();
    if let KernelSource::Own { image, modules } = &manifest.kernel.source {
        out.push(image);
        out.extend(modules);
    }
    let mut files: Vec<_> = manifest.files.iter().collect();
    for container in &manifest.containers {
        match &container.source {
            Source::Packages(_) => {}
            Source::Oci { path, .. } | Source::Rootfs(path) => out.push(path),
        }
        if let SeccompProfile::File(input) = &container.seccomp {
            out.push(input);
        }
        files.extend(&container.files);
    }
    out.extend(files.into_iter().filter_map(|file| match &file.content {
        FileContent::Source(input) => Some(input),
        FileContent::Text(_) => None,
    }));
    out
}

/// What a lock says of them: every file by its digest, in the order of their paths.
pub(super) fn locked(manifest: &Manifest) -> Result<Vec<LockedFile>> {
    let mut out = Vec::new();
    for input in named(manifest) {
        walk(&input.path, &input.written, 0, &mut |path, written| {
            // Links are part of a tree, not inputs of their own: what they lead to is not read through them.
            if !path.is_file() {
                return Ok(());
            }
            let mut file = File::open(path).doing("open", path)?;
            let (digest, size) = Digest::of_reader(&mut file).doing("read", path)?;
            out.push(LockedFile { path: written.to_owned(), size, sha256: digest.to_string() });
            Ok(())
        })?;
    }
    out.sort();
    out.dedup();
    Ok(out)
}

/// Calls `each` with everything at and below `path`, in order, and the name it has in a lock.
pub(super) fn walk(
    path: &Path,
    written: &str,
    depth: usize,
    each: &mut dyn FnMut(&Path, &str) -> Result<()>,
) -> Result<()> {
    each(path, written)?;
    if !path.is_dir() || (depth > 0 && path.is_symlink()) {
        return Ok(());
    }
    if depth >= DEPTH_MAX {
        let message = format!("{} is more than {DEPTH_MAX} directories deep", path.display());
        return Err(Error::new(Kind::Hostile, message));
    }
    let mut entries: Vec<_> = fs::read_dir(path)
        .and_then(|dir| dir.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>())
        .doing("list", path)?;
    entries.sort();
    for entry in entries {
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        walk(&entry, &format!("{written}/{name}"), depth + 1, each)?;
    }
    Ok(())
}

/// The content of a local file, identified by its bytes.
pub(super) fn file(path: &Path) -> Result<Content> {
    let mut handle = File::open(path).doing("open", path)?;
    let bytes = handle.metadata().doing("inspect", path)?.len();
    if bytes <= IN_MEMORY_BYTES {
        return Ok(Content::from(std::fs::read(path).doing("read", path)?));
    }
    let (digest, bytes) = Digest::of_reader(&mut handle).doing("read", path)?;
    Ok(Content::file(path, bytes, digest))
}
