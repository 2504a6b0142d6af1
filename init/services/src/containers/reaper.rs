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

/// How a child ended, if it has.
pub(super) fn reap(pid: Pid) -> Option<Exit> {
    match rustix::process::waitpid(Some(pid), WaitOptions::NOHANG) {
        Ok(Some((_, status))) => exit(status),
        Ok(None) => None,
        // It is not ours (any more), so nothing more will be heard of it.
        Err(_) => Some(Exit::Code(-1)),
    }
}

/// Any child that has ended.
pub(super) fn reap_any() -> Option<(Pid, Exit)> {
    let (pid, status) = rustix::process::wait(WaitOptions::NOHANG).ok()??;
    Some((pid, exit(status)?))
}

/// Whether that process is a child of ours, dead or alive.
pub(super) fn is_child(pid: Pid) -> bool {
    let options = rustix::process::WaitIdOptions::EXITED
        | rustix::process::WaitIdOptions::NOHANG
        | rustix::process::WaitIdOptions::NOWAIT;
    rustix::process::waitid(rustix::process::WaitId::Pid(pid), options).is_ok()
}

fn exit(status: WaitStatus) -> Option<Exit> {
    status.exit_status().map(Exit::Code).or_else(|| status.terminating_signal().map(Exit::Signal))
}
