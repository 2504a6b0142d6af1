//! What vouches for an update: TUF 1.0 metadata. Verified on the device and written by the builder with one model.
//!
//! Reading order: [`json`] (the bytes that are signed) → [`document`] (signatures) → [`root`] (who may sign) →
//! [`verify_bundle`] (a file) and [`client`] (a channel). The fields are in `docs/formats/trust.md`.
#![forbid(unsafe_code)]

pub mod client;
pub mod date;
pub mod document;
mod error;
mod hex;
pub mod json;
mod key;
#[cfg(any(test, feature = "publish"))]
pub mod publish;
mod release;
pub mod root;
#[cfg(test)]
mod tests;
mod verify;

pub use error::{Fault, Role, TrustError};
pub use key::{Key, Kinds};
pub use release::{DELTAS_MAX, Delta, Vouched};
pub use verify::{Verified, verify_bundle};

use coracle_format::{slot::Arch, version::Version};

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
