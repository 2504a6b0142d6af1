//! The kernel log, shared by the threads.

use crate::status::Log;
use std::sync::{Arc, Mutex, PoisonError};

/// Lines `coracle-control: …`; cheap to clone.
#[derive(Clone, Debug)]
pub struct Journal(Arc<Mutex<Log>>);

impl Journal {
    /// Opens the kernel log.
    pub fn open() -> Self {
        Self(Arc::new(Mutex::new(Log::open("control"))))
    }

    /// Writes to standard error instead: for a service tried by hand.
    pub fn to_stderr() -> Self {
        Self(Arc::new(Mutex::new(Log::to_stderr("control"))))
    }

    /// Worth knowing.
    pub(super) fn notice(&self, text: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).notice(text);
    }

    /// Something is odd but handled.
    pub(super) fn warning(&self, text: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).warning(text);
    }
}
