//! What has arrived of a file so far, kept between attempts and between runs.

use super::Wanted;
use crate::{
    cache::Cache,
    digest::{Digest, Hasher},
    error::{Doing, Result},
};
use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, Write},
    path::PathBuf,
};

/// A file under `tmp/` that is named by the digest it shall have once complete. The caller holds its lock.
pub(super) struct Partial {
    path: PathBuf,
    file: File,
    hasher: Hasher,
}

impl Partial {
    /// Takes up what an earlier run has left, if it can be a part of what is wanted.
    pub(super) fn open(cache: &Cache, wanted: &Wanted<'_>) -> Result<Self> {
        let path = cache.root().join("tmp").join(format!("{}.part", wanted.sha256));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .doing("open partial download", &path)?;
        let mut partial = Self { path, file, hasher: Hasher::default() };
        let length = partial.file.metadata().doing("inspect", &partial.path)?.len();
        if length > wanted.bytes {
            partial.restart()?;
        } else {
            partial.take_up()?;
        }
        Ok(partial)
    }

    fn take_up(&mut self) -> Result<()> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = self.file.read(&mut buffer).doing("read partial download", &self.path)?;
            if count == 0 {
                return Ok(());
            }
            self.hasher.update(&buffer[..count]);
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.hasher.bytes()
    }

    pub(super) fn digest(&self) -> Digest {
        self.hasher.digest()
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).doing("write", &self.path)?;
        self.hasher.update(bytes);
        Ok(())
    }

    /// Back to nothing.
    pub(super) fn restart(&mut self) -> Result<()> {
        self.hasher = Hasher::default();
        self.file.set_len(0).doing("truncate", &self.path)?;
        self.file.rewind().doing("rewind", &self.path)
    }

    /// Removes it: what it holds is of no use. That it is gone already is as good.
    pub(super) fn discard(&self) {
        drop(fs::remove_file(&self.path));
    }

    /// Makes it the cache object it was meant to be; the caller has compared the digest.
    pub(super) fn keep(self, cache: &Cache, digest: &Digest) -> Result<PathBuf> {
        let path = cache.object_path(digest);
        self.file.sync_all().doing("sync", &self.path)?;
        fs::rename(&self.path, &path).doing("store", &path)?;
        Ok(path)
    }
}
