//! Settings of the kernel: clock floor, sysctl, a first host name.

use crate::fault::{Attempt, Fault};
use crate::kmsg::{self, Level};
use coracle_format::device::DeviceConfig;
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};
use std::fs::OpenOptions;
use std::io::Write;

/// Sets the clock to the floor if it shows less: no release runs before it was made.
pub(super) fn raise_clock(floor: u64) -> Result<(), Fault> {
    let floor = i64::try_from(floor).attempt("set", "the clock")?;
    if clock_gettime(ClockId::Realtime).tv_sec >= floor {
        return Ok(());
    }
    kmsg::log(Level::Notice, "the clock was behind the newest date in the image: set to that");
    clock_settime(ClockId::Realtime, Timespec { tv_sec: floor, tv_nsec: 0 }).attempt("set", "the clock")
}

/// Applies all settings, and fails at the end if one of them failed.
pub(super) fn apply_sysctl(settings: &[(String, String)]) -> Result<(), Fault> {
    let mut result = Ok(());
    for (key, value) in settings {
        if let Err(fault) = apply(key, value) {
            kmsg::log(Level::Warning, &fault.line());
            result = Err(fault);
        }
    }
    result
}

fn apply(key: &str, value: &str) -> Result<(), Fault> {
    let path = sysctl_path(key).ok_or("it is not a path below /proc/sys").attempt("set", key)?;
    let mut file = OpenOptions::new().write(true).open(path).attempt("set", key)?;
    file.write_all(value.as_bytes()).attempt("set", key)
}

fn sysctl_path(key: &str) -> Option<String> {
    let fine = key.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    fine.then(|| format!("/proc/sys/{key}"))
}

/// The configured host name, or the image's until the machine id is known.
pub(super) fn first_hostname(config: &DeviceConfig) -> Result<(), Fault> {
    let name = if config.hostname.is_empty() { &config.image_name } else { &config.hostname };
    nix::unistd::sethostname(name).attempt("set the host name to", name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_cannot_leave_its_directory() {
        assert_eq!(sysctl_path("net/ipv4/ip_forward").as_deref(), Some("/proc/sys/net/ipv4/ip_forward"));
        assert_eq!(sysctl_path("../sysrq-trigger"), None);
        assert_eq!(sysctl_path("/etc/passwd"), None);
        assert_eq!(sysctl_path("kernel/./x"), None);
    }
}
