//! The files of a change, and the order in which they are written.

use super::{METADATA, Repository};
use crate::{
    digest::{Digest, Hasher},
    error::{Doing as _, Error, Kind, Result},
    files,
};
use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

/// The file that makes a change visible.
pub(super) const TIMESTAMP: &str = "timestamp.json";

/// A file that a change adds.
#[derive(Clone, Debug)]
pub(super) struct New {
    /// Its place below the repository's directory.
    pub(super) place: String,
    pub(super) content: Content,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A copy of a file with this digest.
    Copy(PathBuf, Digest),
}

/// What a change writes: files that nobody looks for yet, then the timestamp.
#[derive(Clone, Debug, Default)]
pub(super) struct Writes {
    pub(super) new: Vec<New>,
    pub(super) timestamp: Vec<u8>,
}

impl Writes {
    pub(super) fn add(&mut self, place: String, bytes: Vec<u8>) {
        self.new.push(New { place, content: Content::Bytes(bytes) });
    }

    /// The bytes that a metadata file will have, if the change writes it.
    pub(super) fn metadata(&self, file: &str) -> Option<&[u8]> {
        if file == TIMESTAMP {
            return Some(&self.timestamp);
        }
        let place = format!("{METADATA}/{file}");
        self.new.iter().find(|new| new.place == place).and_then(|new| match &new.content {
            Content::Bytes(bytes) => Some(&bytes[..]),
            Content::Copy(..) => None,
        })
    }

    /// Writes everything; the timestamp last, when all else is durable. `before` is asked before each file, which is
    /// named by its place.
    pub(super) fn apply(
        &self,
        repository: &Repository,
        before: &mut dyn FnMut(&str) -> Result<()>,
    ) -> Result<()> {
        for new in &self.new {
            before(&new.place)?;
            new.write(repository)?;
        }
        self.settle(repository)?;
        before(TIMESTAMP)?;
        let path = repository.metadata(TIMESTAMP);
        files::replace(&path, &self.timestamp)?;
        sync_directory(&repository.dir().join(METADATA))
    }

    /// The names of the new files are durable too.
    fn settle(&self, repository: &Repository) -> Result<()> {
        let mut directories: Vec<PathBuf> = Vec::new();
        for new in &self.new {
            let path = repository.dir().join(&new.place);
            // The directories above may be new as well.
            for directory in path.ancestors().skip(1).take_while(|above| above.starts_with(repository.dir()))
            {
                if !directories.iter().any(|known| known == directory) {
                    directories.push(directory.to_owned());
                }
            }
        }
        directories.iter().try_for_each(|directory| sync_directory(directory))
    }
}

impl New {
    fn write(&self, repository: &Repository) -> Result<()> {
        let path = repository.dir().join(&self.place);
        match &self.content {
            Content::Bytes(bytes) => files::replace(&path, bytes),
            Content::Copy(from, digest) => copy(from, &path, digest),
        }
    }
}

fn copy(from: &Path, to: &Path, digest: &Digest) -> Result<()> {
    let mut source = File::open(from).doing("open", from)?;
    let mut target = files::beside(to)?;
    let (mut buffer, mut hasher) = (vec![0; 1 << 20], Hasher::default());
    loop {
        let count = source.read(&mut buffer).doing("read", from)?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        target.write_all(&buffer[..count]).doing("write", to)?;
    }
    if hasher.digest() != *digest {
        return Err(Error::new(Kind::Digest, format!("{} has changed while it was read", from.display())));
    }
    files::commit(target, to)
}

fn sync_directory(path: &Path) -> Result<()> {
    File::open(path).and_then(|directory| directory.sync_all()).doing("sync", path)
}

/// A whole file of at most so many bytes; `None` if there is none.
pub(super) fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file
            .and_then(|file| file.take(limit.saturating_add(1)).read_to_end(&mut bytes))
            .doing("read", path)?,
    };
    if u64::try_from(bytes.len()).is_ok_and(|length| length > limit) {
        return Err(Error::new(Kind::Hostile, format!("{} is larger than {limit} bytes", path.display())));
    }
    Ok(Some(bytes))
}

/// The highest version of a role's document that has ever been written here: an interrupted run may have left one that
/// nothing leads to, and no name is used twice.
pub(super) fn highest(repository: &Repository, role: &str) -> Result<u32> {
    let dir = repository.dir().join(METADATA);
    let names = match fs::read_dir(&dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        names => names.doing("list", &dir)?,
    };
    let mut highest = 0;
    for name in names {
        let name = name.doing("list", &dir)?.file_name();
        let version = name.to_str().and_then(|name| name.strip_suffix(&format!(".{role}.json")));
        highest = highest.max(version.and_then(|version| version.parse().ok()).unwrap_or(0));
    }
    Ok(highest)
}
