//! An update channel: a TUF repository of static files. See `docs/formats/channel.md`.
//!
//! Every change is made the same way: read and verify what is there ([`State`]), change it in memory, work out the files
//! that are new, verify the outcome as a machine would, write the new files beside the old ones, and replace
//! `timestamp.json` last. Whoever looks sees the old state or the new one.
//!
//! Reading order: [`publish`] (with [`deltas`]) → `state` (what is there) → `change` (from one state to the next) → `files` (the order of
//! writing) → `accept` (what machines make of it) → `signing` (who signs) → `stick` (the same without a network).

mod accept;
mod change;
pub mod deltas;
mod files;
mod release;
mod signing;
mod state;
mod stick;
#[cfg(test)]
pub(crate) mod tests;
mod waves;

pub use accept::{Client, refused_by_client};
pub use change::{Anew, Changed, Draft, change};
pub use release::{Request, publish};
pub(crate) use release::{offer, rollout, seed};
pub use signing::{Days, Keys, Signing};
pub(crate) use state::Found;
pub use state::{Chain, Standing, State, Stated};
pub use stick::write_stick;
pub use waves::{Waves, share, waves};

use crate::{
    error::{Doing as _, Error, Kind, Result},
    keys,
};
use nix::fcntl::{Flock, FlockArg};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

/// The directory of metadata in a repository.
pub const METADATA: &str = "metadata";
/// The directory of releases and rollout documents.
pub const TARGETS: &str = "targets";
const LOCK: &str = ".lock";

/// A repository: a directory of static files.
#[derive(Clone, Debug)]
pub struct Repository {
    dir: PathBuf,
}

impl Repository {
    /// The one in a directory; it is read when something is asked of it.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where a metadata file is. The name is one of ours.
    pub fn metadata(&self, file: &str) -> PathBuf {
        self.dir.join(METADATA).join(file)
    }

    /// Where a target is: its digest stands before the last part of its path, which is checked already.
    pub fn target(&self, path: &str, sha256: &[u8; 32]) -> PathBuf {
        self.dir.join(TARGETS).join(target_file(path, sha256))
    }

    /// Keeps other publishers out, for as long as the answer lives.
    fn lock(&self) -> Result<Flock<File>> {
        fs::create_dir_all(&self.dir).doing("create directory", &self.dir)?;
        let path = self.dir.join(LOCK);
        let file =
            File::options().create(true).truncate(false).write(true).open(&path).doing("open", &path)?;
        Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| {
            Error::new(Kind::Io, format!("cannot lock {}: another publisher is at work", self.dir.display()))
                .because(errno)
                .hint("wait until it has finished")
        })
    }
}

/// The name of a target below the directory of targets.
pub(crate) fn target_file(path: &str, sha256: &[u8; 32]) -> String {
    let digest = keys::hex(sha256);
    match path.rsplit_once('/') {
        Some((directory, name)) => format!("{directory}/{digest}.{name}"),
        None => format!("{digest}.{path}"),
    }
}
