//! Where a container's root file system comes from: Debian packages, an OCI layout or `docker save` archive, or a root
//! file system made elsewhere.

mod base;
mod blobs;
mod debian;
mod docker;
mod document;
mod oci;
mod rootfs;

pub use debian::{PRUNED, from_packages};
pub use document::ImageConfig;
pub(super) use document::platform_name;
pub use oci::{Wanted, from_image};
pub use rootfs::from_rootfs;

use crate::{digest::Digest, tree::Tree};

/// A root file system and how its program is run.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// The root file system.
    pub tree: Tree,
    /// How its program is run, as far as the source says.
    pub config: ImageConfig,
    /// What identifies it, for locks and reports: the manifest's digest, or that of the archive. Packages have their own.
    pub digest: Option<Digest>,
    /// What a person should know about it, a line each.
    pub notes: Vec<String>,
}

#[cfg(test)]
mod tests;
