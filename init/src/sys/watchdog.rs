//! The hardware watchdog.

use super::ioctl;
use crate::fault::{Attempt, Fault};
use crate::kmsg::{self, Level};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

const DEVICE: &str = "/dev/watchdog0";
/// What happens shortly before the timeout.
const GOVERNOR: &str = "/sys/class/watchdog/watchdog0/pretimeout_governor";
/// How long before.
const WARNING_SECONDS: i32 = 5;

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

    /// Has the kernel panic [`WARNING_SECONDS`] before the timeout, if it can.
    pub fn panic_first(&self) -> Result<(), Fault> {
        if !Path::new(GOVERNOR).exists() {
            return Ok(());
        }
        let governor = OpenOptions::new().write(true).open(GOVERNOR);
        governor.and_then(|mut file| file.write_all(b"panic")).attempt("choose in", GOVERNOR)?;
        ioctl::set_watchdog_pretimeout(&self.file, WARNING_SECONDS)
            .attempt("set the warning time of", DEVICE)?;
        Ok(())
    }

    /// Gives the machine another timeout to live.
    pub fn feed(&self) {
        if let Err(error) = (&self.file).write_all(&[0]) {
            kmsg::log(Level::Error, &format!("cannot feed the watchdog: {error}"));
        }
    }
}
