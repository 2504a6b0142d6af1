//! Dead children: being told of them, and taking their status without ever waiting.

use super::machine::Exit;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::process::{Pid, WaitOptions, WaitStatus};
use std::io;

/// Signals that a child died; blocks SIGCHLD so that it is only seen there. crun lifts the block for what it starts.
pub(super) fn watch_children() -> io::Result<SignalFd> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block()?;
    Ok(SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

/// How a child ended, if it has. A container that has just been made may still be the child of the crun process that
/// made it; one that is nobody's child any more ended in a way that nobody will learn.
pub(super) fn reap(pid: Pid) -> Option<Exit> {
    match rustix::process::waitpid(Some(pid), WaitOptions::NOHANG) {
        Ok(Some((_, status))) => exit(status),
        Ok(None) => None,
        Err(_) => rustix::process::test_kill_process(pid).is_err().then_some(Exit::Unknown),
    }
}

/// Any child that has ended.
pub(super) fn reap_any() -> Option<(Pid, Exit)> {
    let (pid, status) = rustix::process::wait(WaitOptions::NOHANG).ok()??;
    Some((pid, exit(status)?))
}

fn exit(status: WaitStatus) -> Option<Exit> {
    status.exit_status().map(Exit::Code).or_else(|| status.terminating_signal().map(Exit::Signal))
}
