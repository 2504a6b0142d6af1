//! Durable block I/O: disks and partitions by role, positioned reads and writes, atomic file replacement.
//!
//! Everything that must survive a power cut is written through this crate, so that the order "write, sync, only then
//! say so" is kept in one place. See `docs/formats/disk.md` for what is on a disk.
#![forbid(unsafe_code)]

pub mod devices;
pub mod disk;
pub mod error;
pub mod file;
pub mod medium;
pub mod meta;
#[cfg(any(test, feature = "model"))]
pub mod model;

pub use devices::{Devices, Origin};
pub use disk::{Access, Disk, Partition};
pub use error::{Doing, PathError};
pub use file::{read_limited, replace_file};
pub use medium::Medium;
