//! Output files that appear whole or not at all, and input files kept as they were read.

use crate::{
    cache::Cache,
    digest::Digest,
    error::{Doing as _, Result},
    tree::Content,
};
use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

/// Largest single file taken from the building machine.
const INPUT_BYTES_MAX: u64 = 32 << 30;

/// A temporary file beside `path`, on the same file system; gone when dropped, kept by [`commit`].
pub fn beside(path: &Path) -> Result<tempfile::NamedTempFile> {
    let dir = directory_of(path);
    fs::create_dir_all(&dir).doing("create directory", &dir)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".coracle-").permissions(fs::Permissions::from_mode(0o644));
    builder.tempfile_in(&dir).doing("create a file in", &dir)
}

/// Puts a finished temporary file at `path`, replacing what was there.
pub fn commit(file: tempfile::NamedTempFile, path: &Path) -> Result<()> {
    file.as_file().sync_data().doing("sync", path)?;
    file.persist(path).map(drop).map_err(|error| error.error).doing("write", path)
}

/// Writes a whole file: whoever reads `path` sees the old bytes or the new ones.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = beside(path)?;
    file.write_all(bytes).doing("write", path)?;
    commit(file, path)
}

/// The bytes of a file of the building machine, kept as a cache object: what was read is what is built.
pub fn keep(cache: &Cache, path: &Path) -> Result<Content> {
    let mut file = fs::File::open(path).doing("open", path)?;
    let (digest, bytes) = Digest::of_reader(&mut file).doing("read", path)?;
    if let Some(object) = cache.object(&digest) {
        return Ok(Content::file(&object, bytes, digest));
    }
    let mut file = fs::File::open(path).doing("open", path)?;
    let digest = cache.insert(&mut file, INPUT_BYTES_MAX)?;
    let object = cache.object_path(&digest);
    let bytes = fs::metadata(&object).doing("inspect", &object)?.len();
    Ok(Content::file(&object, bytes, digest))
}

/// The path with something behind its last name: `disk.raw` and `.part` make `disk.raw.part`.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_has_the_new_bytes_and_leaves_no_temporary() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/lock");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
