//! The status file, written when something has changed and not too often: a crash loop must not keep the machine busy.

use crate::ServiceError;
use crate::status::{Lines, Status};
use core::time::Duration;

/// The file is not written more often.
const PAUSE: Duration = Duration::from_millis(250);

/// Whether a change may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// It may.
    Later,
    /// There will be no other occasion.
    Now,
}

/// The status file and what is to be written to it.
#[derive(Debug, Default)]
pub(super) struct Board {
    status: Option<Status>,
    shown: Lines,
    is_stale: bool,
    due: Duration,
}

impl Board {
    /// Makes ready to write.
    pub(super) fn open(&mut self) -> Result<(), ServiceError> {
        self.status = Some(Status::new("containers")?);
        Ok(())
    }

    /// When a change that waits should be published.
    pub(super) fn wait_limit(&self, now: Duration) -> Option<Duration> {
        self.is_stale.then(|| self.due.saturating_sub(now))
    }

    /// Shows these lines, at once or when it is time.
    pub(super) fn publish(&mut self, lines: Lines, due: Due, now: Duration) -> Result<(), ServiceError> {
        self.is_stale = lines != self.shown;
        if !self.is_stale || (due == Due::Later && now < self.due) {
            return Ok(());
        }
        self.due = now + PAUSE;
        // A status that cannot be written is not written again before it changes.
        self.is_stale = false;
        self.shown = lines.clone();
        match &mut self.status {
            Some(status) => status.publish(lines),
            None => Ok(()),
        }
    }
}
