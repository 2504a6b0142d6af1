//! The files that an image comes in: a directory, or the members of an archive.

use super::document::{self, Descriptor};
use crate::{
    archive::{self, Compression, EntryKind, Reader},
    cache::Cache,
    digest::{Digest, Hasher},
    error::{Doing, Error, Kind, Result},
    tree::TreePath,
};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

/// Largest archive of an image after its own compression is taken off.
const ARCHIVE_BYTES_MAX: u64 = 64 << 30;
/// Links inside an archive from one member to another.
const ALIASES_MAX: usize = 8;

/// Where the files are.
#[derive(Debug)]
pub(super) struct Blobs {
    /// As the user named it, for messages.
    pub(super) name: PathBuf,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Dir(PathBuf),
    Archive { file: PathBuf, members: BTreeMap<String, Member> },
}

#[derive(Debug)]
enum Member {
    Bytes { offset: u64, bytes: u64 },
    Alias(String),
}

/// One file, open.
pub(super) struct Blob {
    pub(super) reader: Box<dyn Read>,
    pub(super) bytes: u64,
}

impl Blobs {
    /// Opens a directory or archive. A compressed archive is unpacked into the cache.
    pub(super) fn open(cache: &Cache, path: &Path) -> Result<Self> {
        let kind = fs::metadata(path).doing("find image", path)?;
        if kind.is_dir() {
            return Ok(Self { name: path.to_owned(), place: Place::Dir(path.to_owned()) });
        }
        let file = plain_archive(cache, path)?;
        let mut members = BTreeMap::new();
        for entry in Reader::open(&file)? {
            let entry = entry?;
            let name = TreePath::new(&entry.path)?;
            let member = match entry.kind {
                EntryKind::File { offset, bytes } => Member::Bytes { offset, bytes },
                EntryKind::Symlink(target) => Member::Alias(beside(&name, &target)?),
                EntryKind::HardLink(target) => Member::Alias(TreePath::new(&target)?.as_str().to_owned()),
                EntryKind::Dir => continue,
                EntryKind::CharDevice { .. } | EntryKind::BlockDevice | EntryKind::Fifo => {
                    return Err(Error::new(
                        Kind::Hostile,
                        format!("image archive holds a device node, {name}"),
                    ));
                }
            };
            members.insert(name.as_str().to_owned(), member);
        }
        Ok(Self { name: path.to_owned(), place: Place::Archive { file, members } })
    }

    /// The file `name`, if there is one.
    pub(super) fn find(&self, name: &TreePath) -> Result<Option<Blob>> {
        match &self.place {
            Place::Dir(dir) => {
                let path = dir.join(name.as_str());
                let Ok(found) = fs::metadata(&path) else {
                    return Ok(None);
                };
                if !found.is_file() {
                    return Ok(None);
                }
                let file = File::open(&path).doing("open", &path)?;
                Ok(Some(Blob { reader: Box::new(file), bytes: found.len() }))
            }
            Place::Archive { file, members } => {
                let mut member = members.get(name.as_str());
                for _ in 0..ALIASES_MAX {
                    let Some(Member::Alias(target)) = member else { break };
                    member = members.get(target);
                }
                let Some(Member::Bytes { offset, bytes }) = member else {
                    return Ok(None);
                };
                let mut handle = File::open(file).doing("open", file)?;
                handle.seek(SeekFrom::Start(*offset)).doing("seek in", file)?;
                Ok(Some(Blob { reader: Box::new(handle.take(*bytes)), bytes: *bytes }))
            }
        }
    }

    /// The file `name`, or an error that says what is missing.
    pub(super) fn get(&self, name: &TreePath) -> Result<Blob> {
        self.find(name)?.ok_or_else(|| {
            Error::new(Kind::NotFound, format!("image {} lacks its file {name}", self.name.display()))
                .hint("the image is not whole: export it again")
        })
    }

    /// A whole small file.
    pub(super) fn document(&self, name: &TreePath) -> Result<Vec<u8>> {
        let blob = self.get(name)?;
        if blob.bytes > document::DOCUMENT_BYTES_MAX {
            return Err(too_large(name, document::DOCUMENT_BYTES_MAX));
        }
        let mut bytes = Vec::new();
        let path = self.name.join(name.as_str());
        blob.reader.take(document::DOCUMENT_BYTES_MAX).read_to_end(&mut bytes).doing("read", &path)?;
        Ok(bytes)
    }

    /// A whole small blob whose bytes have the digest that its descriptor says.
    pub(super) fn verified(&self, descriptor: &Descriptor) -> Result<(Digest, Vec<u8>)> {
        let digest = descriptor.sha256()?;
        let bytes = self.document(&blob_path(&digest)?)?;
        if Digest::of(&bytes) != digest || u64::try_from(bytes.len()) != Ok(descriptor.size) {
            return Err(self.damaged(&digest));
        }
        Ok((digest, bytes))
    }

    /// Checks that the blob `digest` is what it says, reading all of it.
    pub(super) fn verify(&self, digest: &Digest, bytes: u64, limit: u64) -> Result<()> {
        let path = blob_path(digest)?;
        let mut blob = self.get(&path)?;
        if blob.bytes > limit {
            return Err(too_large(&path, limit));
        }
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match blob.reader.read(&mut buffer).doing("read", &self.name.join(path.as_str()))? {
                0 => break,
                n => hasher.update(&buffer[..n]),
            }
        }
        if hasher.digest() != *digest || hasher.bytes() != bytes {
            return Err(self.damaged(digest));
        }
        Ok(())
    }

    fn damaged(&self, digest: &Digest) -> Error {
        let text = format!("image {}: blob {digest} does not match its digest", self.name.display());
        Error::new(Kind::Digest, text).hint("the image is damaged: export it again")
    }
}

/// `blobs/sha256/<digest>`.
pub(super) fn blob_path(digest: &Digest) -> Result<TreePath> {
    TreePath::new(&format!("blobs/sha256/{digest}"))
}

fn too_large(name: &TreePath, limit: u64) -> Error {
    Error::new(Kind::Hostile, format!("image file {name} is larger than its limit of {limit} bytes"))
}

/// The archive itself, or its unpacked form in the cache.
pub(super) fn plain_archive(cache: &Cache, path: &Path) -> Result<PathBuf> {
    let mut file = File::open(path).doing("open", path)?;
    let packed = file.metadata().doing("inspect", path)?.len();
    let mut start = [0; 6];
    let got = read_start(&mut file, &mut start).doing("read", path)?;
    if Compression::detect(&start[..got]) == Compression::Plain {
        return Ok(path.to_owned());
    }
    file.rewind().doing("read", path)?;
    let limit = archive::unpacked_limit(packed, ARCHIVE_BYTES_MAX);
    Ok(cache.object_path(&archive::unpack(cache, file, path, limit)?))
}

fn read_start(file: &mut File, start: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < start.len() {
        match file.read(&mut start[got..])? {
            0 => break,
            n => got += n,
        }
    }
    Ok(got)
}

/// What a link beside `name` means, inside the archive only.
fn beside(name: &TreePath, target: &str) -> Result<String> {
    let mut at = name.parent().unwrap_or_default();
    for component in target.split('/') {
        at = match component {
            "" | "." => at,
            ".." => at.parent().unwrap_or_default(),
            component => at.join(&TreePath::new(component)?),
        };
    }
    Ok(at.as_str().to_owned())
}
