//! Who takes the baseline: a process of its own, started before the writer leaves the network, because checks reach
//! containers over it. It sees no byte of the update but the digest it is told.

use crate::error::{Error, Exit, Kind, Result};
use crate::own;
use coracle_block::{Doing, PathError};
use coracle_format::device::DeviceConfig;
use coracle_slots::Release;
use std::cell::RefCell;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Stdio};

/// Its hidden command.
pub const COMMAND: &str = "survey";

/// The process. It ends without a trace when it is not asked.
#[derive(Debug)]
pub struct Surveyor(RefCell<Child>);

impl Surveyor {
    /// Starts it.
    pub fn start() -> Result<Self> {
        let child = own::start(Path::new(own::PROGRAM), &[COMMAND], Stdio::null()).map_err(|error| {
            Error::new(Kind::Internal, "cannot start the process that takes the baseline").because(error)
        })?;
        Ok(Self(RefCell::new(child)))
    }

    /// Has the baseline taken for the trial of `release`. Once.
    pub fn take(&self, release: &Release) -> Result<(), PathError> {
        self.ask(release).doing("take the baseline in", Path::new(super::PATH))
    }

    fn ask(&self, release: &Release) -> io::Result<()> {
        let mut child = self.0.borrow_mut();
        let mut line = child.stdin.take().ok_or_else(|| io::Error::other("it was taken already"))?;
        line.write_all(release)?;
        drop(line);
        let status = child.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!("the survey ended with {status}")))
        }
    }
}

impl Drop for Surveyor {
    fn drop(&mut self) {
        let child = self.0.get_mut();
        // The end of its input is the end of its work, if it was not asked for any.
        drop(child.stdin.take());
        drop(child.wait());
    }
}

/// Runs as that process: waits for a release, then looks at the machine.
pub fn run(config: &DeviceConfig) -> Result<Exit> {
    let mut release: Release = [0; 32];
    if io::stdin().lock().read_exact(&mut release).is_err() {
        // No release came: there is nothing to be armed.
        return Ok(Exit::Done);
    }
    super::take(config, &release)?;
    Ok(Exit::Done)
}
