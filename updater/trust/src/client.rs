//! The client of a channel: from a trusted root to what a repository vouches for now.
//!
//! No transport, no files, no clock: bytes come through [`Fetch`], what was accepted is remembered through [`Store`], and
//! the time is given. Every document is compared with what vouches for it, byte for byte, before it is parsed; its
//! signatures are verified before anything else that it says is used.
//!
//! ```text
//! chain     from the trusted root to the newest
//! refresh   timestamp, snapshot and targets, in this order
//! listed    what a document says about another
//! search    which document speaks of a path
//! pattern   which paths a role may speak of
//! name      file names, which are ours and never theirs
//! ```

mod chain;
mod error;
mod listed;
mod name;
mod pattern;
mod refresh;
mod search;
#[cfg(test)]
mod tests;

pub use error::{ClientError, FetchError, StoreError};
pub use listed::Listed;
pub use refresh::refresh;
pub use search::Target;

use crate::{
    TrustError, Verified, Vouched, document::Document, error::Role, json::Value, key::Kinds, root::Root,
};

/// Bytes of a root at most.
pub const ROOT_BYTES_MAX: u64 = 128 << 10;
/// Bytes of a timestamp at most.
pub const TIMESTAMP_BYTES_MAX: u64 = 16 << 10;
/// Bytes of a snapshot at most.
pub const SNAPSHOT_BYTES_MAX: u64 = 256 << 10;
/// Bytes of a targets document at most, delegated or not.
pub const TARGETS_BYTES_MAX: u64 = 1 << 20;
/// Roots that one refresh fetches at most.
pub const ROOTS_MAX: u32 = 256;
/// Roots that are read from the store at most.
pub const STORED_ROOTS_MAX: u32 = 1024;
/// Delegated roles that are asked about one path at most.
pub const ROLES_MAX: usize = 32;

/// Where a refresh begins.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// The root that is trusted without proof: the one in the verified root image.
    pub trusted_root: &'a [u8],
    /// What was accepted before, from a place that outlives the store.
    pub floors: Floors,
    /// Seconds since 1970, or `None` if the clock is not trusted.
    pub now: Option<u64>,
    /// Kinds of keys that count.
    pub kinds: Kinds,
}

/// What must not be gone back behind. 0 says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Floors {
    /// Version of the newest root.
    pub root_version: u32,
    /// Version of the newest timestamp.
    pub timestamp_version: u32,
    /// The newest date that a timestamp said it was issued at, seconds since 1970.
    pub issued: u64,
}

/// A repository's metadata directory.
pub trait Fetch {
    /// The bytes of a file; `None` if the repository has no such file. `file` is a name of ours, safe as a name on disk
    /// and as the last part of an address: `timestamp.json`, `3.root.json`, `7.stable.json`. More than `limit` bytes
    /// must not be fetched.
    fn metadata(&mut self, file: &str, limit: u64) -> Result<Option<Vec<u8>>, FetchError>;
}

/// What remembers the documents that were accepted. It is not trusted: what comes out of it is verified anew, and what
/// cannot be verified counts as absent.
pub trait Store {
    /// What was saved last under this name, if that can be read. `file` is a name of ours, safe as a name on disk.
    fn load(&mut self, file: &str) -> Option<Vec<u8>>;
    /// Replaces what is saved under this name; whole or not at all, and for good.
    fn save(&mut self, file: &str, bytes: &[u8]) -> Result<(), StoreError>;
    /// Forgets what is saved under this name; no error if nothing is.
    fn remove(&mut self, file: &str) -> Result<(), StoreError>;
}

/// What a repository vouches for, verified from the root down.
#[derive(Clone, Debug)]
pub struct Trusted {
    root: Root,
    root_bytes: Vec<u8>,
    recovered: bool,
    floors: Floors,
    now: u64,
    timestamp: Timestamp,
    snapshot: Snapshot,
    targets: Document,
}

/// A verified timestamp.
#[derive(Clone, Debug)]
struct Timestamp {
    version: u32,
    expires: u64,
    issued: Option<u64>,
    snapshot: Listed,
}

/// A verified snapshot.
#[derive(Clone, Debug)]
struct Snapshot {
    version: u32,
    expires: u64,
    /// By file name, in order.
    meta: Vec<(String, Listed)>,
}

impl Snapshot {
    fn get(&self, file: &str) -> Option<&Listed> {
        let found = self.meta.binary_search_by(|(name, _)| name.as_str().cmp(file)).ok()?;
        self.meta.get(found).map(|(_, listed)| listed)
    }
}

impl Trusted {
    /// The newest root.
    pub const fn root(&self) -> &Root {
        &self.root
    }

    /// Its bytes.
    pub fn root_bytes(&self) -> &[u8] {
        &self.root_bytes
    }

    /// Version of the timestamp.
    pub const fn timestamp_version(&self) -> u32 {
        self.timestamp.version
    }

    /// When the timestamp says it was issued, seconds since 1970.
    pub const fn issued(&self) -> Option<u64> {
        self.timestamp.issued
    }

    /// When the timestamp expires, seconds since 1970.
    pub const fn expires(&self) -> u64 {
        self.timestamp.expires
    }

    /// Version of the snapshot.
    pub const fn snapshot_version(&self) -> u32 {
        self.snapshot.version
    }

    /// What the snapshot says about the newest document of a targets role: `targets` or a delegated one.
    pub fn listed(&self, role: &str) -> Option<&Listed> {
        self.snapshot.get(&format!("{role}.json"))
    }

    /// The floors that hold from now on. Never below those at the start, unless keys were replaced: see
    /// [`Trusted::is_recovered`].
    pub fn floors(&self) -> Floors {
        let before = if self.recovered { Floors::default() } else { self.floors };
        Floors {
            root_version: self.root.version().max(self.floors.root_version),
            timestamp_version: self.timestamp.version.max(before.timestamp_version),
            issued: self.timestamp.issued.unwrap_or_default().max(before.issued),
        }
    }

    /// Whether a newer root than that of the floors takes a timestamp key away. Then the versions and dates that this
    /// key has signed do not count: floors may go down to [`Trusted::floors`], and must be recorded together.
    pub const fn is_recovered(&self) -> bool {
        self.recovered
    }

    /// Every release that the top-level targets document vouches for. Other targets are passed over.
    pub fn releases(&self) -> Vec<Vouched> {
        let targets = self.targets.field("targets").ok().and_then(Value::map).unwrap_or_default();
        targets.iter().filter_map(|(path, target)| Vouched::read(path, target).ok()).collect()
    }

    /// The release behind a path, if the top-level targets document itself vouches for it. Delegated roles are never
    /// asked: they choose among releases and make none.
    pub fn release(&self, path: &str) -> Result<Option<Vouched>, TrustError> {
        let targets = self.targets.field("targets")?;
        targets.get(path).map(|target| Vouched::read(path, target)).transpose()
    }

    /// The release as the metadata of a bundle would vouch for it.
    pub fn verified(&self, vouched: &Vouched) -> Verified {
        Verified {
            index_length: vouched.index_length,
            index_sha256: vouched.index_sha256,
            release: vouched.release.clone(),
            root_version: self.root.version(),
            root: self.root_bytes.clone(),
        }
    }

    /// The newest file behind a path, whoever may speak of it: the top-level targets document, or the roles that it
    /// delegates to, in the order of the specification.
    pub fn target(
        &mut self,
        path: &str,
        fetch: &mut dyn Fetch,
        store: &mut dyn Store,
    ) -> Result<Option<Target>, ClientError> {
        search::target(self, path, fetch, store)
    }
}

/// A document is good until the second it expires in.
fn check_time(file: &str, role: Role, expires: u64, now: u64) -> Result<(), ClientError> {
    if expires <= now {
        return Err(ClientError::Untrusted {
            file: file.to_owned(),
            why: TrustError::Expired { role, expires },
        });
    }
    Ok(())
}
