//! Updates on the device: a pure engine, one executor that knows the order of syncs, and the sources bytes come from.
#![forbid(unsafe_code)]

pub mod baseline;
pub mod channel;
pub mod cli;
pub mod engine;
pub mod error;
pub mod executor;
pub mod fetch;
pub mod gate;
pub mod isolation;
mod own;
pub mod pace;
pub mod report;
pub mod source;

pub use error::{Error, Exit, Kind, Result};
