//! The byte formats of an image. None of them knows the manifest, and each gives the same bytes for the same input.
//!
//! [`tar`], [`cpio`] and [`ext4`] write a [`crate::tree::Tree`]; [`verity`] hashes the root file system; [`uki`] makes the
//! boot artefact; [`slot`] and [`disk`] put all of it into one disk; [`inspect`] reads it back.

pub mod cpio;
pub mod disk;
mod entries;
pub mod esp;
pub mod ext4;
pub mod id;
pub mod inspect;
pub mod slot;
pub mod sparse;
pub mod tar;
pub mod uki;
pub mod verity;
