//! The health gate of a release on trial: waits until everything declared is healthy, then commits.

use crate::error::{Error, Exit, Kind, Result};

/// Runs as a supervised service until it has committed.
pub fn run() -> Result<Exit> {
    Err(Error::new(Kind::Usage, "the gate is started by PID 1 on a trial"))
}
