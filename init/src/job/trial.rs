//! Watches the record of a release on trial. It is a process of its own, so that a disk that hangs cannot block PID 1.

use super::code;
use crate::fault::{Attempt, Fault};
use crate::running::{Opened, Running};
use crate::sys::wait;
use coracle_slots::SlotState;

/// How often the record is read.
const PAUSE_MS: u64 = 1_000;
/// How long whoever wrote a verdict has for last words and an ordered stop of their own.
const GRACE_MS: u64 = 10_000;

/// Returns when the release is committed on the disk, or has failed.
pub(super) fn run() -> Result<u8, Fault> {
    let running = Running::read()?;
    let opened = running.open()?;
    loop {
        match opened.record(running.slot)?.state(running.slot) {
            SlotState::Trial { .. } => wait::pause(PAUSE_MS),
            SlotState::Good => {
                // It was seen in memory: whoever wrote it may have been stopped before it was on the disk.
                sync(&opened)?;
                return Ok(code::COMMITTED);
            }
            SlotState::Failed(_) | SlotState::Damaged | SlotState::Empty | SlotState::Written => {
                sync(&opened)?;
                wait::pause(GRACE_MS);
                return Ok(code::FAILED);
            }
        }
    }
}

fn sync(opened: &Opened) -> Result<(), Fault> {
    opened.disk.sync().attempt("keep", "the slot record")
}
