//! `coracle`: from one TOML manifest to a bootable image.
//!
//! Reading order: [`cli`] → [`plan`] → [`build`] (the steps of an image, in order) → [`image`] (its byte formats).
#![forbid(unsafe_code)]

pub mod archive;
pub mod bench;
pub mod build;
pub mod bundle;
pub mod cache;
pub mod channel;
pub mod chart;
pub mod cli;
pub mod container;
pub mod context;
pub mod ctl;
pub mod debian;
pub mod delta;
pub mod device;
pub mod digest;
pub mod error;
pub mod fetch;
pub mod files;
pub mod floor;
pub mod image;
pub mod inspection;
pub mod kernel;
pub mod keys;
pub mod launch;
pub mod machine;
pub mod parallel;
pub mod publish;
pub mod report;
pub mod secure_boot;
pub mod show;
pub mod signer;
pub mod svg;
pub mod tool;
pub mod toolroot;
pub mod tree;
pub mod treemap;
