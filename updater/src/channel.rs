//! Updates from a channel: a repository of static, signed files that says which release a machine takes, and when.
//!
//! ```text
//! store       what was verified before
//! archive     a repository on a stick
//! repository  where a channel's files come from
//! ```

pub mod archive;
pub mod repository;
pub mod store;
