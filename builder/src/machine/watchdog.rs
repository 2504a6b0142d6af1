//! A model of the watchdog that the selector starts before the kernel (`coracle.watchdog=` on the command line), for
//! machines that the host starts without firmware: nobody there could start the device, so the host looks at the console.
//!
//! It differs from the device in that the host's clock counts, and in that a kernel whose driver has taken the device over
//! has to say so: a console that shows no phases looks like a machine that hangs.

use super::{Phase, qmp::Qmp};
use crate::error::Result;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// The phase in which the machine's own watchdog is armed.
const TAKEN_OVER: &str = "watchdog";

/// The watchdog of one start.
#[derive(Clone, Debug)]
pub(super) struct Watchdog {
    limit: Option<Duration>,
    deadline: Option<Instant>,
    taken_over: Arc<AtomicBool>,
}

/// Who ended a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The machine was reset, by whomever.
    Reset,
    /// This watchdog reset it.
    Watchdog,
    /// It is off.
    Off,
}

impl Watchdog {
    /// One that resets the machine after `limit`; `None`: never.
    pub(super) fn new(limit: Option<Duration>) -> Self {
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        Self { limit, deadline, taken_over: Arc::default() }
    }

    /// Hears what the machine says.
    pub(super) fn hear(&self, line: &str) {
        if Phase::parse(line).is_some_and(|phase| phase.name == TAKEN_OVER && phase.failed.is_none()) {
            self.taken_over.store(true, Ordering::Relaxed);
        }
    }

    /// How long to wait before the next look; `None`: for ever.
    fn left(&self) -> Option<Duration> {
        let deadline = self.deadline.filter(|_| !self.taken_over.load(Ordering::Relaxed))?;
        Some(deadline.saturating_duration_since(Instant::now()))
    }

    /// Waits for the end of a machine that ends instead of resetting, and resets it when its time is over.
    pub(super) fn guard(mut self, qmp: &mut Qmp) -> Result<Ended> {
        let mut by = Ended::Reset;
        loop {
            let left = self.left();
            if let Some(reason) = qmp.shutdown(left)? {
                return Ok(if reason.ends_with("reset") { by } else { Ended::Off });
            }
            if self.left() != Some(Duration::ZERO) {
                continue;
            }
            if qmp.is_running()? {
                (by, self.deadline) = (Ended::Watchdog, None);
                qmp.reset()?;
            } else {
                // The clock of a machine that its monitor has stopped stands still.
                self.deadline = self.limit.map(|limit| Instant::now() + limit);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_machines_own_armed_watchdog_ends_it() {
        let watchdog = Watchdog::new(Some(Duration::ZERO));
        for line in [
            "phase=watchdog ok",
            "coracle: phase=system ok ms=1 at=2",
            "coracle: phase=watchdog failed ms=1 at=2",
        ] {
            watchdog.hear(line);
            assert_eq!(watchdog.left(), Some(Duration::ZERO), "{line}");
        }
        watchdog.hear("[    4.000000] coracle: phase=watchdog ok ms=0 at=4000");
        assert_eq!(watchdog.left(), None);
    }

    #[test]
    fn a_release_that_does_not_ask_for_it_is_not_watched() {
        assert_eq!(Watchdog::new(None).left(), None);
    }
}
