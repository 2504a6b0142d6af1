//! The one shared, content-addressed cache. Everything in it appears whole (temporary name, then rename) and is named
//! by a digest, so an interrupted run leaves it good and several runs can share it.
//!
//! ```text
//! objects/<sha256>      bytes by their digest
//! steps/<key>/          output directory of a build step, by the digest of everything that went into it
//! tools/<key>/          unpacked tool roots
//! index/                signed package indexes
//! locks/<key>           one file per step being made
//! tmp/                  work in progress
//! ```

use crate::{
    digest::{Digest, Hasher},
    error::{Doing, Error, Kind, Result},
};
use nix::fcntl::{Flock, FlockArg};
use std::{
    env, fs,
    fs::File,
    io::{Read, Write},
    path::{Path, PathBuf},
};

/// The cache directory.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The cache at `root`, made if missing.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        for name in ["objects", "steps", "tools", "index", "locks", "tmp"] {
            let path = root.join(name);
            fs::create_dir_all(&path).doing("create cache directory", &path)?;
        }
        let root = root.canonicalize().doing("resolve cache directory", &root)?;
        Ok(Self { root })
    }

    /// The directory that `CORACLE_CACHE`, `XDG_CACHE_HOME` or `HOME` names, in this order.
    pub fn default_root() -> Result<PathBuf> {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        set("CORACLE_CACHE")
            .or_else(|| set("XDG_CACHE_HOME").map(|dir| dir.join("coracle")))
            .or_else(|| set("HOME").map(|dir| dir.join(".cache/coracle")))
            .ok_or_else(|| {
                Error::new(Kind::Usage, "cannot find a cache directory: HOME is not set")
                    .hint("set CORACLE_CACHE=DIR")
            })
    }

    /// Its directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the object with this digest is or would be.
    pub fn object_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("objects").join(digest.to_string())
    }

    /// The object with this digest, if the cache has it. Objects were verified when they were put in.
    pub fn object(&self, digest: &Digest) -> Option<PathBuf> {
        let path = self.object_path(digest);
        path.is_file().then_some(path)
    }

    /// Stores what `reader` yields, at most `limit` bytes, and returns its digest.
    pub fn insert(&self, reader: &mut dyn Read, limit: u64) -> Result<Digest> {
        let mut file = self.temp_file()?;
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let n = reader.read(&mut buffer).doing("read into cache", file.path())?;
            if n == 0 {
                break;
            }
            hasher.update(&buffer[..n]);
            if hasher.bytes() > limit {
                return Err(Error::new(
                    Kind::Hostile,
                    format!("input is larger than its limit of {limit} bytes"),
                ));
            }
            let path = file.path().to_owned();
            file.write_all(&buffer[..n]).doing("write", &path)?;
        }
        let digest = hasher.digest();
        self.keep(file, &digest)?;
        Ok(digest)
    }

    /// A temporary file on the cache's own file system; gone when dropped.
    pub fn temp_file(&self) -> Result<tempfile::NamedTempFile> {
        let dir = self.root.join("tmp");
        tempfile::NamedTempFile::new_in(&dir).doing("create temporary file in", &dir)
    }

    /// A temporary directory on the cache's own file system; gone when dropped.
    pub fn temp_dir(&self) -> Result<tempfile::TempDir> {
        let dir = self.root.join("tmp");
        tempfile::TempDir::new_in(&dir).doing("create temporary directory in", &dir)
    }

    /// Makes a verified temporary file the object `digest`. The caller vouches that the bytes have that digest.
    pub fn keep(&self, file: tempfile::NamedTempFile, digest: &Digest) -> Result<PathBuf> {
        let path = self.object_path(digest);
        file.as_file().sync_all().doing("sync", file.path())?;
        file.persist(&path).map_err(|error| error.error).doing("store", &path)?;
        Ok(path)
    }

    /// The output directory of the step `key`: made by `make` in a fresh directory the first time, kept afterwards.
    /// Concurrent runs wait for each other. Returns the directory and whether it was there already.
    pub fn step(&self, key: &Digest, make: impl FnOnce(&Path) -> Result<()>) -> Result<(PathBuf, Origin)> {
        self.keyed("steps", key, make)
    }

    /// As [`Cache::step`], below `tools/`.
    pub fn tools(&self, key: &Digest, make: impl FnOnce(&Path) -> Result<()>) -> Result<(PathBuf, Origin)> {
        self.keyed("tools", key, make)
    }

    fn keyed(
        &self,
        area: &str,
        key: &Digest,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<(PathBuf, Origin)> {
        let path = self.root.join(area).join(key.to_string());
        if path.is_dir() {
            return Ok((path, Origin::Cached));
        }
        let _lock = self.lock(&format!("{area}-{key}"))?;
        if path.is_dir() {
            return Ok((path, Origin::Cached));
        }
        let work = self.temp_dir()?;
        make(work.path())?;
        fs::rename(work.keep(), &path).doing("store step output", &path)?;
        Ok((path, Origin::Made))
    }

    /// Holds the named lock until dropped; waits for another process that holds it.
    pub fn lock(&self, name: &str) -> Result<Flock<File>> {
        let path = self.root.join("locks").join(name);
        let file = File::create(&path).doing("create lock", &path)?;
        Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, errno)| std::io::Error::from(errno))
            .doing("lock", &path)
    }
}

/// Whether a step's output was there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was there.
    Cached,
    /// It was made now.
    Made,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_leaves_nothing_and_the_next_try_works() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let key = Digest::of(b"key");
        let failed = cache.step(&key, |out| {
            fs::File::create(out.join("half")).unwrap();
            Err(Error::new(Kind::Tool, "broken"))
        });
        assert_eq!(failed.unwrap_err().kind(), Kind::Tool);
        assert_eq!(fs::read_dir(dir.path().join("steps")).unwrap().count(), 0);
        assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
        let (path, origin) = cache.step(&key, |_| Ok(())).unwrap();
        assert_eq!((origin, fs::read_dir(path).unwrap().count()), (Origin::Made, 0));
        assert_eq!(cache.step(&key, |_| panic!("made twice")).unwrap().1, Origin::Cached);
    }

    #[test]
    fn an_input_over_its_limit_is_refused_and_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let error = cache.insert(&mut &[0_u8; 11][..], 10).unwrap_err();
        assert_eq!(error.kind(), Kind::Hostile);
        let digest = cache.insert(&mut &b"abc"[..], 10).unwrap();
        assert_eq!(fs::read(cache.object(&digest).unwrap()).unwrap(), b"abc");
        assert_eq!(fs::read_dir(dir.path().join("objects")).unwrap().count(), 1);
    }
}
