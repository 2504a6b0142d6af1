//! The trial of the running release, as the record on its disk has it.

use super::service::Trial;
use crate::error::{Error, Kind, Result};
use crate::executor::Executor;
use coracle_block::Access;
use coracle_slots::{SlotState, Verdict};
use rustix::process::{Pid, Signal, kill_process};

/// The trial of the release that runs.
#[derive(Debug, Default)]
pub(super) struct Running {
    reader: Option<Executor>,
}

impl Trial for Running {
    fn is_committed(&mut self) -> bool {
        if self.reader.is_none() {
            self.reader = Executor::open_running(Access::Read).ok();
        }
        self.reader.as_ref().is_some_and(is_committed)
    }

    fn commit(&mut self) -> Result<()> {
        Executor::open_running(Access::Write)?.commit().map(drop)
    }

    fn fail(&mut self, _reason: &str, _at_ms: u64) -> Result<()> {
        Executor::open_running(Access::Write)?.fail(Verdict::Unhealthy).map(drop)
    }

    fn reboot(&mut self) -> Result<()> {
        kill_process(Pid::INIT, Signal::INT)
            .map_err(|error| Error::new(Kind::Io, "cannot ask PID 1 for a reboot").because(error))
    }
}

/// Whether the record says that the running release is good. A record that cannot be read says nothing.
fn is_committed(executor: &Executor) -> bool {
    executor.record().is_ok_and(|record| record.state(executor.running()) == SlotState::Good)
}
