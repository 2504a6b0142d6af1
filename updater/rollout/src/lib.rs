//! Which release of a channel a machine takes, and when. Pure: no clock, no files, no network.
//!
//! Reading order: [`document`] (what the channel's key has signed) → [`place`] (where a machine stands among all of them)
//! → [`decide()`] (which release, now or later) → [`windows`] (when a machine may restart) → [`schedule`] (when it looks
//! again). The fields are in `docs/formats/channel.md`, the reasons in `docs/explanation/rollouts.md`.
#![forbid(unsafe_code)]

mod decide;
pub mod document;
mod error;
pub mod place;
pub mod schedule;
pub mod windows;

pub use decide::{Decision, Machine, Reason, Times, Wait, Waves, decide};
pub use document::{Offered, Rollout, State, Wave};
pub use error::RolloutFault;
pub use place::{MachineId, Seed};
