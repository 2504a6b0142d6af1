//! Output files that appear whole or not at all.

use crate::error::{Doing as _, Result};
use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

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
