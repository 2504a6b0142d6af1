//! The trial of the running release, as the record on its disk has it.

use super::klog;
use super::service::Trial;
use crate::error::{Error, Kind, Result};
use crate::executor::{Executor, Failure};
use coracle_block::Access;
use coracle_slots::{SlotState, Verdict};
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;

/// What last words call the part of the boot that the gate is.
const STAGE: &str = "health";

/// The trial of the release that runs.
#[derive(Debug)]
pub(super) struct Running<'a, O> {
    open: O,
    reader: Option<Executor>,
    kmsg: &'a Path,
}

impl<'a, O: Fn(Access) -> Result<Executor>> Running<'a, O> {
    /// The trial on the disk that `open` opens.
    pub(super) const fn new(open: O, kmsg: &'a Path) -> Self {
        Self { open, reader: None, kmsg }
    }
}

impl<O: Fn(Access) -> Result<Executor>> Trial for Running<'_, O> {
    /// A record that cannot be read says nothing.
    fn is_committed(&mut self) -> bool {
        if self.reader.is_none() {
            self.reader = (self.open)(Access::Read).ok();
        }
        self.reader.as_ref().is_some_and(|executor| {
            executor.record().is_ok_and(|record| record.state(executor.running()) == SlotState::Good)
        })
    }

    fn commit(&mut self) -> Result<()> {
        (self.open)(Access::Write)?.commit().map(drop)
    }

    fn fail(&mut self, reason: &str, at_ms: u64) -> Result<()> {
        let log = klog::tail(self.kmsg);
        let failure =
            Failure { verdict: Verdict::Unhealthy, stage: STAGE, reason, boot_ms: at_ms, log: &log };
        (self.open)(Access::Write)?.fail_with(&failure).map(drop)
    }

    fn reboot(&mut self) -> Result<()> {
        kill_process(Pid::INIT, Signal::INT)
            .map_err(|error| Error::new(Kind::Io, "cannot ask PID 1 for a reboot").because(error))
    }
}
