//! What the device programs are made of, as one digest: so that cargo need not be asked whether anything changed.

use crate::{
    digest::{Digest, Hasher},
    error::{Doing, Error, Kind, Result},
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Directories with the programs' crates, and with every crate of the workspace that these depend on.
pub(super) const SOURCE_DIRS: [&str; 2] = ["init", "updater"];
/// Files that decide how they are compiled. The last one is usually not there.
const BUILD_FILES: [&str; 4] = ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", ".cargo/config.toml"];
/// Directories that do not go into a program.
const LEFT_OUT: [&str; 4] = ["target", "tests", "benches", "fuzz"];
/// Most source files, and the largest.
const FILES_MAX: usize = 10_000;
const FILE_LIMIT_BYTES: u64 = 16 << 20;

/// The digest of the names and contents of everything that goes into the programs.
pub(super) fn of_sources(root: &Path) -> Result<Digest> {
    let mut files: Vec<PathBuf> = BUILD_FILES.map(PathBuf::from).into();
    for dir in SOURCE_DIRS {
        list(root, Path::new(dir), &mut files)?;
    }
    files.sort_unstable();
    let mut hasher = Hasher::default();
    for file in files {
        let path = root.join(&file);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            read => read.doing("read source", &path)?,
        };
        hasher.field(file.as_os_str().as_encoded_bytes());
        hasher.field(&bytes);
    }
    Ok(hasher.digest())
}

fn list(root: &Path, dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let at = root.join(dir);
    for entry in fs::read_dir(&at).doing("list sources in", &at)? {
        let entry = entry.doing("list sources in", &at)?;
        let name = entry.file_name();
        let hidden = name.as_encoded_bytes().starts_with(b".");
        let kind = entry.file_type().doing("inspect", &entry.path())?;
        if kind.is_dir() && !hidden && !LEFT_OUT.iter().any(|left| *left == name) {
            list(root, &dir.join(&name), files)?;
        } else if kind.is_file() && !hidden {
            let bytes = entry.metadata().doing("inspect", &entry.path())?.len();
            if bytes > FILE_LIMIT_BYTES || files.len() >= FILES_MAX {
                let message =
                    format!("{} does not look like sources: too many or too large files", at.display());
                return Err(Error::new(Kind::TooLarge, message));
            }
            files.push(dir.join(&name));
        }
    }
    Ok(())
}
