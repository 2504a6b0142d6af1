//! Power cuts, from a recording of every write that a machine made to its disk.
//!
//! QEMU's `blklogwrites` driver records what reaches the disk and in which order: writes, discards, flushes. A disk has
//! a volatile cache: what was written since the last flush may be there after a power cut or not, in any combination,
//! and a write of several sectors may arrive in part. What was flushed, or written with forced unit access, is there.
//! This module reads such a recording ([`Log`]), chooses moments to cut ([`plan`]) and makes the disks that a cut there
//! may leave ([`Replay`]). Nothing here starts a machine.
//!
//! A model all the same: a write that was under way while a flush ran counts as flushed, since the recording does not
//! tell when a write began. Random cuts of the same writes without the flush cover what that leaves out.

mod content;
mod cut;
mod log;
mod plan;
mod random;
mod replay;
mod store;
#[cfg(test)]
mod tests;

pub use cut::{Cut, Kept, Point};
pub use log::{End, Entry, Log, Operation, recorded};
pub use plan::{Epochs, Mode, Plan, plan};
pub use replay::Replay;
pub use store::{Image, Memory, Store};
