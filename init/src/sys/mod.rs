//! The kernel's doors that have no safe wrapper, each behind a function that has.
//!
//! `unsafe` stands in [`ioctl`] and [`memory`] only; the siblings are the safe calls that belong with it.

pub mod dm;
pub mod ioctl;
pub mod memory;
pub mod random;
pub mod spawn;
pub mod uevents;
pub mod wait;
pub mod watchdog;
