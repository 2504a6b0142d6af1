//! Whole files: read with a limit, replaced whole and durably.

use crate::error::{Doing, PathError, invalid};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Reads a file of at most `limit` bytes; a longer one is an error before it is read whole.
pub fn read_limited(path: &Path, limit: usize) -> Result<Vec<u8>, PathError> {
    let file = File::open(path).doing("open", path)?;
    let ceiling = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    file.take(ceiling).read_to_end(&mut bytes).doing("read", path)?;
    if bytes.len() > limit {
        return Err(invalid(format!("larger than {limit} bytes"))).doing("read", path);
    }
    Ok(bytes)
}

/// Replaces `path` by a file with these contents and this mode: readers see the old or the new file, never a part, and
/// the new one is on the disk when this returns. Leaves nothing behind when it fails.
pub fn replace_file(path: &Path, contents: &[u8], mode: u32) -> Result<(), PathError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    let temporary = Temporary::create(temporary_name(path), mode)?;
    let mut file = &temporary.file;
    file.write_all(contents).doing("write", &temporary.path)?;
    file.sync_all().doing("sync", &temporary.path)?;
    temporary.rename(path)?;
    // The new name is durable only when the directory is.
    File::open(directory).and_then(|directory| directory.sync_all()).doing("sync", directory)
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    path.with_file_name(name)
}

/// A file that is removed again unless it got its final name.
#[derive(Debug)]
struct Temporary {
    path: PathBuf,
    file: File,
    keep: bool,
}

impl Temporary {
    fn create(path: PathBuf, mode: u32) -> Result<Self, PathError> {
        let open = || OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
        // A leftover of a process that died with our id: nobody else uses the name.
        let file = match open() {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                std::fs::remove_file(&path).doing("remove", &path)?;
                open()
            }
            other => other,
        }
        .doing("create", &path)?;
        let this = Self { path, file, keep: false };
        // The umask must not leak into durable files.
        rustix::fs::fchmod(&this.file, rustix::fs::Mode::from_raw_mode(mode))
            .doing("set the mode of", &this.path)?;
        Ok(this)
    }

    fn rename(mut self, to: &Path) -> Result<(), PathError> {
        std::fs::rename(&self.path, to).doing("replace", to)?;
        self.keep = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.keep && std::fs::remove_file(&self.path).is_err() {
            // Already reported by the failure that brought us here; the next replacement removes it.
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_replaced_file_has_the_new_contents_and_exactly_the_given_mode() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("id");
        replace_file(&path, b"old", 0o600).unwrap();
        replace_file(&path, b"new", 0o666).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o666);
    }

    #[test]
    fn a_failed_replacement_leaves_the_old_file_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("taken");
        std::fs::create_dir(&path).unwrap();
        let error = replace_file(&path, b"new", 0o600).unwrap_err();
        assert_eq!(error.action, "replace");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_leftover_of_an_interrupted_replacement_is_no_obstacle() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("id");
        std::fs::File::create(temporary_name(&path)).unwrap();
        replace_file(&path, b"new", 0o600).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn a_file_over_the_limit_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("big");
        replace_file(&path, &[0; 11], 0o600).unwrap();
        assert_eq!(read_limited(&path, 11).unwrap().len(), 11);
        let error = read_limited(&path, 10).unwrap_err();
        assert_eq!(error.source.to_string(), "larger than 10 bytes");
    }
}
