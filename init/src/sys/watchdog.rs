//! The hardware watchdog.

use super::ioctl;
use crate::fault::{Attempt, Fault};
use crate::kmsg::{self, Level};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;

const DEVICE: &str = "/dev/watchdog0";
/// Environment variable that carries the descriptor's number over the switch to the root.
pub const VARIABLE: &str = "WATCHDOG_FD";

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

    /// Takes over the watchdog that the initramfs armed.
    pub fn inherited() -> Option<Self> {
        let number = std::env::var(VARIABLE).ok()?.parse().ok()?;
        Some(Self { file: File::from(ioctl::inherit(number)?) })
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

    /// Lets the descriptor live on in the next program of this process; returns the setting that tells it.
    pub fn hand_over(&self) -> Result<String, Fault> {
        fcntl(&self.file, FcntlArg::F_SETFD(FdFlag::empty())).attempt("hand over", DEVICE)?;
        Ok(format!("{VARIABLE}={}", self.file.as_raw_fd()))
    }
}
