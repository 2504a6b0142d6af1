//! The hardware watchdog.

use super::ioctl;
use crate::fault::{Attempt, Fault};
use crate::kmsg::{self, Level};
use std::fs::{File, OpenOptions};
use std::io::Write;

const DEVICE: &str = "/dev/watchdog0";

/// An armed watchdog. It is never disarmed: closing it without a magic byte leaves it running.
#[derive(Debug)]
pub struct Watchdog {
    file: File,
}

impl Watchdog {
    /// Arms the watchdog, if the machine has one.
    pub fn arm(seconds: u16) -> Result<Option<Self>, Fault> {
        let file = match OpenOptions::new().write(true).open(DEVICE) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Fault::new("open", DEVICE, error)),
        };
        let this = Self { file };
        this.set_timeout(seconds)?;
        Ok(Some(this))
    }

    /// Sets the timeout; 0 leaves it alone. Hardware that cannot be set keeps its own.
    pub fn set_timeout(&self, seconds: u16) -> Result<(), Fault> {
        if seconds == 0 {
            return Ok(());
        }
        match ioctl::set_watchdog_timeout(&self.file, i32::from(seconds)) {
            Ok(taken) if taken == i32::from(seconds) => {}
            Ok(taken) => kmsg::log(Level::Warning, &format!("the watchdog took {taken} s for {seconds} s")),
            Err(error) if error.raw_os_error() == Some(nix::libc::EOPNOTSUPP) => {
                kmsg::log(Level::Warning, "the watchdog's timeout cannot be set");
            }
            Err(error) => return Err(error).attempt("set the timeout of", DEVICE),
        }
        Ok(())
    }

    /// Gives the machine another timeout to live.
    pub fn feed(&self) {
        if let Err(error) = (&self.file).write_all(&[0]) {
            kmsg::log(Level::Error, &format!("cannot feed the watchdog: {error}"));
        }
    }
}
