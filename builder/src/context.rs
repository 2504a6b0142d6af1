//! What every step of a run needs: cache, report, network policy, and whether the user has asked to stop.

use crate::{
    cache::Cache,
    error::{Error, Kind, Result},
    report::Report,
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Whether the network may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Missing inputs are fetched.
    Online,
    /// Missing inputs are an error (`--offline`).
    Offline,
}

/// The surroundings of a run. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Context {
    /// The shared cache.
    pub cache: Cache,
    /// Where progress goes.
    pub report: Report,
    /// Whether the network may be used.
    pub network: Network,
    /// Set when the user has asked to stop.
    pub cancel: Arc<AtomicBool>,
}

impl Context {
    /// A context over `cache` that may use the network.
    pub fn new(cache: Cache, report: Report) -> Self {
        Self { cache, report, network: Network::Online, cancel: Arc::default() }
    }

    /// An error once the user has asked to stop; long loops call this.
    pub fn check(&self) -> Result<()> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(interrupted());
        }
        Ok(())
    }
}

/// What an interrupted run ends with.
pub(crate) fn interrupted() -> Error {
    Error::new(Kind::Interrupted, "interrupted").hint("run it again: what was finished is cached")
}
