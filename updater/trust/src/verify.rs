//! From a trusted root to what a bundle's metadata vouches for.

use crate::{
    Release,
    document::Document,
    error::{Role, TrustError},
    release,
    root::Root,
};
use coracle_format::bundle::{Index, Metadata};
use sha2::{Digest as _, Sha256};

/// What verified metadata vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Bytes of the index.
    pub index_length: u64,
    /// SHA-256 of the index.
    pub index_sha256: [u8; 32],
    /// The release.
    pub release: Release,
    /// Version of the newest root.
    pub root_version: u32,
    /// The newest root: what is trusted from now on.
    pub root: Vec<u8>,
}

impl Verified {
    /// Parses the index if it is the signed one and speaks of the signed release.
    pub fn index(&self, bytes: &[u8]) -> Result<Index, TrustError> {
        let right_length = u64::try_from(bytes.len()) == Ok(self.index_length);
        if !right_length || Sha256::digest(bytes)[..] != self.index_sha256 {
            return Err(TrustError::Index);
        }
        let index = Index::parse(bytes)?;
        let release = &self.release;
        if index.name.as_str() != release.name {
            return Err(TrustError::Disagree("name"));
        }
        if index.arch != release.arch {
            return Err(TrustError::Disagree("architecture"));
        }
        if index.version_number() != release.version {
            return Err(TrustError::Disagree("version"));
        }
        Ok(index)
    }
}

/// Verifies the metadata of a bundle against a trusted root.
///
/// `now` is the time in seconds since 1970, or `None` if the clock is not trusted: nothing expires then. Only ask with a
/// time before an update starts: what was verified once is not undone by the clock.
/// `floor_root_version` is the newest root version that this machine has trusted.
pub fn verify_bundle(
    trusted_root: &[u8],
    metadata: &[u8],
    now: Option<u64>,
    floor_root_version: u32,
) -> Result<Verified, TrustError> {
    let metadata = Metadata::parse(metadata)?;
    let (root, newest) = newest_root(trusted_root, &metadata.roots)?;
    if root.version() < floor_root_version {
        return Err(TrustError::RootTooOld { found: root.version(), floor: floor_root_version });
    }
    check_time(Role::Root, root.expires(), now)?;
    let targets = Document::parse(Role::Targets, metadata.targets)?;
    targets.verify(root.authority(Role::Targets), root.version())?;
    targets.version()?;
    check_time(Role::Targets, targets.expires()?, now)?;
    let (index_length, index_sha256, release) = release::read(&targets)?;
    Ok(Verified { index_length, index_sha256, release, root_version: root.version(), root: newest.to_vec() })
}

/// Walks the chain. Roots that are not newer than the trusted one are passed over: whoever has seen more needs less.
fn newest_root<'a>(trusted: &'a [u8], chain: &[&'a [u8]]) -> Result<(Root, &'a [u8]), TrustError> {
    let mut root = Root::read(trusted)?;
    let mut newest = trusted;
    let mut before = None;
    for bytes in chain {
        let document = Document::parse(Role::Root, bytes)?;
        let version = document.version()?;
        if before.is_some_and(|before: u32| before.checked_add(1) != Some(version)) {
            return Err(TrustError::Chain { trusted: root.version(), found: version });
        }
        before = Some(version);
        if version > root.version() {
            root = root.followed_by(&document)?;
            newest = bytes;
        }
    }
    Ok((root, newest))
}

/// A document is good until the second it expires in.
fn check_time(role: Role, expires: u64, now: Option<u64>) -> Result<(), TrustError> {
    match now {
        Some(now) if expires <= now => Err(TrustError::Expired { role, expires }),
        Some(_) | None => Ok(()),
    }
}
