//! Updates from a channel: a repository of static, signed files that says which release a machine takes, and when.
//!
//! ```text
//! store       what was verified before
//! archive     a repository on a stick
//! repository  where a channel's files come from
//! look        what it offers this machine now
//! poll        a look, and what follows from it
//! follow      when to look; a service of PID 1
//! sticks      what is plugged in
//! status      what the last look came to
//! ```

pub mod archive;
pub mod follow;
pub mod look;
pub mod poll;
pub mod repository;
pub mod status;
pub mod sticks;
pub mod store;
