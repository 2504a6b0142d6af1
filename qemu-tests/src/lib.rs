//! The harness of the QEMU tests: builds real images once, boots them in real machines, talks to their ports.
//!
//! A test boots a [`Guest`], waits for events with deadlines and never sleeps. The console of every machine is kept in
//! `target/qemu-tests/<image>/<test>.log`.

pub mod campaign;
mod channel;
pub mod conformance;
pub mod deltas;
pub mod fleet;
mod guest;
mod http;
mod images;
pub mod operator;
mod packages;
pub mod parsers;
pub mod powercut;
mod programs;
pub mod releases;
mod server;
pub mod signing;
pub mod spoil;
mod state;
mod two_slots;
pub mod voyage;

pub use channel::Shop;
pub use guest::{Guest, Setup};
pub use http::get;
pub use images::{context, image, image_from, image_of, scratch, workspace};
pub use operator::Operator;
pub use packages::{busybox, filesystem_tools, nginx, python_tuf};
pub use releases::{Release, Variant};
pub use server::{Asked, Faults, Server};
pub use spoil::Spoil;
pub use state::StateDisk;
pub use two_slots::TwoSlots;
pub use voyage::Voyage;

use std::time::Duration;

/// How long a machine may take for its next milestone. Generous: machines are emulated, and tests share two cores.
pub const MILESTONE: Duration = Duration::from_mins(4);
/// How long an ordered stop may take.
pub const STOP: Duration = Duration::from_mins(2);
