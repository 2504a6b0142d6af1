//! Bytes that outlive a process: disk layout, slot contents, device configuration.
//!
//! No I/O and no clock: everything here turns bytes into types and back. The byte tables are in `docs/formats/`.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod bundle;
mod checksum;
pub mod control;
pub mod delta;
pub mod device;
pub mod gpt;
pub mod guid;
pub mod ipc;
pub mod kmsg;
pub mod layout;
pub mod slot;
pub mod verity;
pub mod version;
