//! What vouches for an update: TUF 1.0 metadata. Verified on the device and written by the builder with one model.
//!
//! `docs/formats/trust.md` has the fields.
#![forbid(unsafe_code)]

mod error;

pub use error::{Fault, Role, TrustError};

use coracle_format::{bundle::Index, slot::Arch, version::Version};

/// What the signed metadata says about a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// `[image] name`.
    pub name: String,
    /// Architecture.
    pub arch: Arch,
    /// `[image] version`.
    pub version: Version,
    /// Security epoch: a release of a lower one is never installed again, whatever its version.
    pub epoch: u32,
    /// Date of the release, seconds since 1970: time is never earlier than that.
    pub released: u64,
    /// Downgrade exception: the release may replace versions up to this one, though it is older.
    pub replaces: Option<Version>,
}

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
    pub fn index(&self, _bytes: &[u8]) -> Result<Index, TrustError> {
        Err(TrustError::Index)
    }
}

/// Verifies the metadata of a bundle against a trusted root.
///
/// `now` is the time in seconds since 1970, or `None` if the clock is not trusted: nothing expires then.
/// `floor_root_version` is the newest root version that this machine has trusted.
pub fn verify_bundle(
    _trusted_root: &[u8],
    _metadata: &[u8],
    _now: Option<u64>,
    _floor_root_version: u32,
) -> Result<Verified, TrustError> {
    Err(TrustError::Document { role: Role::Root, why: Fault::TooLarge })
}
