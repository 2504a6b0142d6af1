//! Waiting, always with a deadline.

use crate::fault::{Attempt, Fault};
use crate::kmsg::now_ms;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use std::os::fd::{AsFd, BorrowedFd};

/// Waits until a descriptor is readable or the clock shows `until_ms`. Returns whether it is readable.
pub fn readable(fd: BorrowedFd<'_>, until_ms: u64) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    while until_ms > now_ms() {
        match poll(&mut fds, timeout(until_ms.saturating_sub(now_ms()))) {
            Ok(0) | Err(_) => {}
            Ok(_) => return true,
        }
    }
    false
}

/// Lets the given time pass.
pub fn pause(milliseconds: u64) {
    let until = now_ms().saturating_add(milliseconds);
    while until > now_ms() {
        if poll(&mut [], timeout(until.saturating_sub(now_ms()))).is_err() {
            // Interrupted by a signal: the loop looks at the clock again.
        }
    }
}

/// A number of milliseconds for poll, which takes at most about three weeks.
pub fn timeout(milliseconds: u64) -> PollTimeout {
    PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX)
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this status.
    Status(i32),
    /// By this signal.
    Signal(i32),
    /// It had to be killed at the deadline.
    Deadline,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(status) => write!(f, "it ended with status {status}"),
            Self::Signal(signal) => write!(f, "it was ended by signal {signal}"),
            Self::Deadline => f.write_str("it was killed at its deadline"),
        }
    }
}

/// Waits for a child, and kills its process group at the deadline. Not for PID 1's loop, which reaps by itself.
pub fn child(pid: Pid, within_ms: u64) -> Result<Ended, Fault> {
    const CHILD: &str = "a child process";
    let until = now_ms().saturating_add(within_ms);
    let raw = rustix::process::Pid::from_raw(pid.as_raw()).ok_or("it has no id").attempt("watch", CHILD)?;
    let handle =
        rustix::process::pidfd_open(raw, rustix::process::PidfdFlags::empty()).attempt("watch", CHILD)?;
    let in_time = readable(handle.as_fd(), until);
    if !in_time {
        killpg(pid, Signal::SIGKILL).attempt("kill", CHILD)?;
    }
    loop {
        match waitpid(pid, None) {
            Ok(_) if !in_time => return Ok(Ended::Deadline),
            Ok(status) => {
                if let Some(ended) = ended(status) {
                    return Ok(ended);
                }
            }
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(Fault::new("wait for", CHILD, error)),
        }
    }
}

/// How a process ended, if that is what the status says.
#[expect(clippy::wildcard_enum_match_arm, reason = "stops and traces of a child are of no interest here")]
pub fn ended(status: WaitStatus) -> Option<Ended> {
    match status {
        WaitStatus::Exited(_, code) => Some(Ended::Status(code)),
        WaitStatus::Signaled(_, signal, _) => Some(Ended::Signal(i32::from(SignalNumber(signal)))),
        _ => None,
    }
}

struct SignalNumber(Signal);

impl From<SignalNumber> for i32 {
    #[expect(clippy::as_conversions, reason = "the only way from a C enum to its number")]
    fn from(signal: SignalNumber) -> Self {
        signal.0 as Self
    }
}
