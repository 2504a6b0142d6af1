//! Progress over several downloads, and one way to end them all.

use crate::{
    context::Context,
    error::{Error, Kind, Result},
    report::{Step, Unit},
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Counts bytes over several files that are fetched at the same time, and shows them on one step.
#[derive(Debug)]
pub struct Meter<'a> {
    step: &'a Step,
    total: u64,
    done: AtomicU64,
    stopped: AtomicBool,
}

impl<'a> Meter<'a> {
    /// A meter that goes to `total` bytes; 0 if that is not known.
    pub fn new(step: &'a Step, total: u64) -> Self {
        Self { step, total, done: AtomicU64::new(0), stopped: AtomicBool::new(false) }
    }

    /// `bytes` more are there.
    pub fn add(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.step.progress(done, self.total, Unit::Bytes);
    }

    pub(super) fn take_back(&self, bytes: u64) {
        self.done.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Ends every download on this meter: one of them has failed for good.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub(super) fn check(&self, ctx: &Context) -> Result<()> {
        ctx.check()?;
        if self.stopped.load(Ordering::Relaxed) {
            return Err(Error::new(Kind::Interrupted, "stopped: another download has failed"));
        }
        Ok(())
    }
}
