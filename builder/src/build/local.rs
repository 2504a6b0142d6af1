//! Local files that a manifest names: which they are, and what the lock says of them.

use crate::{
    digest::Digest,
    error::{Doing as _, Error, Kind, Result},
};
use coracle_format::control::{KEY_BYTES, parse_key};
use coracle_manifests::{
    Manifest,
    lock::LockedFile,
    manifest::{Control, ControlKey, FileContent, InputPath, KernelSource, SeccompProfile, Source},
};
use std::{
    fs::{self, File},
    io,
    path::Path,
};

/// The largest file of operators' keys.
const KEY_FILE_BYTES_MAX: u64 = 64 << 10;
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
    out.extend(manifest.update.iter().map(|update| &update.root));
    out.extend(manifest.control.iter().flat_map(|control| &control.keys).filter_map(|key| match key {
        ControlKey::File(input) => Some(input),
        ControlKey::Key(_) => None,
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

/// The operators' keys, those in files among them: one a line, `#` begins a comment.
pub(super) fn keys(control: &Control) -> Result<Vec<[u8; KEY_BYTES]>> {
    let mut out = Vec::new();
    for key in &control.keys {
        match key {
            ControlKey::Key(key) => out.push(*key),
            ControlKey::File(input) => out.extend(keys_in(&input.path)?),
        }
    }
    out.sort_unstable();
    out.dedup();
    Ok(out)
}

fn keys_in(path: &Path) -> Result<Vec<[u8; KEY_BYTES]>> {
    let bad = |why: String| {
        let message = format!("{} has no operator's key: {why}", path.display());
        Error::new(Kind::Usage, message).hint("a public key is a line of ed25519: and 64 hexadecimal digits")
    };
    if fs::metadata(path).doing("inspect", path)?.len() > KEY_FILE_BYTES_MAX {
        return Err(bad(format!("it has more than {KEY_FILE_BYTES_MAX} bytes")));
    }
    let text = fs::read_to_string(path).doing("read", path)?;
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.split('#').next().unwrap_or(line)));
    let keys = lines.filter(|(_, line)| !line.trim().is_empty()).map(|(number, line)| {
        let word = line.split_whitespace().next().unwrap_or(line);
        parse_key(word).ok_or_else(|| bad(format!("line {number} is something else")))
    });
    let keys: Vec<_> = keys.collect::<Result<_>>()?;
    if keys.is_empty() { Err(bad("it is empty".to_owned())) } else { Ok(keys) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_has_keys_and_comments_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("operator.pub");
        let key = format!("ed25519:{}", "0a".repeat(32));
        let read = |text: &str| {
            crate::files::replace(&path, text.as_bytes()).unwrap();
            keys_in(&path)
        };
        assert_eq!(read(&format!("# operators\n\n{key} # at night\n")).unwrap(), [[10; KEY_BYTES]]);
        for text in ["", "# none\n", "-----BEGIN PRIVATE KEY-----\n", &key[..71]] {
            assert_eq!(read(text).unwrap_err().kind(), Kind::Usage, "{text}");
        }
    }
}
