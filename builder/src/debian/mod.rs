//! Debian packages: from an archive's signature down to a file tree, every step verified.
//!
//! ```text
//! mirror    where the archive is
//! openpgp   keys, and the clear-signed text under a good signature
//! release   InRelease: which indexes belong to a suite, and when it was signed
//! archive   a suite with its updates and security pockets, as fetched and verified
//! index     Packages: what there is
//! resolve   the dependency closure of a request
//! package   fetching packages into the cache
//! deb       ar and compression: one package's files as a tar archive
//! unpack    the tar archive as a [`crate::tree::Tree`]
//! vendor    a directory that serves as a mirror later
//! ```
//!
//! A typical use:
//!
//! ```ignore
//! let mirrors = Mirrors::find(&[flag, from_manifest])?;
//! let archive = Archive::open(ctx, &ArchiveOptions::new(mirrors, "trixie"))?;
//! let packages = archive.index(ctx, "amd64")?.resolve(&Request::closure_of(["crun"]))?;
//! fetch_all(ctx, archive.mirrors(), &packages)?;
//! let tree = unpack(ctx, &packages[0])?;
//! ```

pub mod apt;
pub mod archive;
pub mod deb;
pub mod deb822;
#[cfg(test)]
pub(crate) mod fixture;
pub mod index;
pub mod mirror;
pub mod openpgp;
pub mod package;
pub mod relation;
pub mod release;
pub mod resolve;
pub mod unpack;
pub mod vendor;
pub mod version;

pub use archive::{Archive, ArchiveOptions};
pub use index::Index;
pub use mirror::{Mirrors, Wish};
pub use package::fetch_all;
pub use unpack::{merge_usr, unpack, unpack_all};
pub use vendor::{vendor_indexes, vendor_packages};

use crate::digest::Digest;
use std::fmt;

/// A package as the archive's index describes it: everything needed to fetch it, and to lock it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Name: `crun`.
    pub name: String,
    /// Debian version: `1.21-1`.
    pub version: String,
    /// Debian architecture: `amd64`, `arm64` or `all`.
    pub arch: String,
    /// Which pocket of the suite it is in.
    pub pocket: Pocket,
    /// Its path below the mirror's base: `pool/main/c/crun/crun_1.21-1_amd64.deb`.
    pub filename: String,
    /// Size of the .deb, bytes.
    pub size: u64,
    /// Digest of the .deb.
    pub sha256: Digest,
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.name, self.version, self.arch)
    }
}

/// The parts a suite is published in. Order is the order of precedence among equal versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pocket {
    /// The suite itself.
    Main,
    /// `SUITE-updates`.
    Updates,
    /// `SUITE-security`, on the security mirror.
    Security,
}

impl Pocket {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Main, Self::Updates, Self::Security];

    /// The word used in locks: `main`, `updates`, `security`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Updates => "updates",
            Self::Security => "security",
        }
    }

    /// The pocket with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|pocket| pocket.word() == word)
    }

    /// The name below `dists/`: `trixie-security`.
    pub fn dist(self, suite: &str) -> String {
        match self {
            Self::Main => suite.to_owned(),
            Self::Updates | Self::Security => format!("{suite}-{}", self.word()),
        }
    }
}

/// Whether a request takes along what its packages depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closure {
    /// Depends and Pre-Depends, and theirs.
    Full,
    /// The named packages alone.
    None,
}

/// What is wanted from an index.
#[derive(Clone, Debug)]
pub struct Request {
    /// Package names.
    pub packages: Vec<String>,
    /// Names that are never taken; a dependency on one counts as met.
    pub exclude: Vec<String>,
    /// Whether dependencies are taken along.
    pub closure: Closure,
}

impl Request {
    /// These packages and all they depend on.
    pub fn closure_of<S: Into<String>>(packages: impl IntoIterator<Item = S>) -> Self {
        Self {
            packages: packages.into_iter().map(Into::into).collect(),
            exclude: Vec::new(),
            closure: Closure::Full,
        }
    }

    /// These packages alone.
    pub fn only<S: Into<String>>(packages: impl IntoIterator<Item = S>) -> Self {
        Self { closure: Closure::None, ..Self::closure_of(packages) }
    }

    /// Without these.
    pub fn without<S: Into<String>>(mut self, exclude: impl IntoIterator<Item = S>) -> Self {
        self.exclude.extend(exclude.into_iter().map(Into::into));
        self
    }
}

/// Whether dates in signed documents are enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Expired or rolled-back documents are refused.
    Enforced,
    /// They are accepted: for old releases kept in a vendored mirror.
    Ignored,
}

/// One verified InRelease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedRelease {
    /// The pocket it describes.
    pub pocket: Pocket,
    /// The name below `dists/`.
    pub dist: String,
    /// Its Date, seconds since 1970.
    pub date: u64,
    /// Digest of the InRelease file.
    pub sha256: Digest,
}
