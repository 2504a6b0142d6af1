//! Child processes.

use crate::fault::{Attempt, Fault};
use nix::fcntl::OFlag;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;

/// The whole environment of every child.
const ENVIRONMENT: [&CStr; 2] = [c"PATH=/usr/sbin:/usr/bin", c"LC_ALL=C"];

/// A program to start.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// Path of the file.
    pub path: &'a str,
    /// All arguments, the program's name first.
    pub arguments: &'a [&'a str],
    /// A descriptor of ours that becomes the child's descriptor of this number.
    pub pass: Option<(BorrowedFd<'a>, i32)>,
    /// Where its output goes; without it, to where ours goes.
    pub output: Option<&'a Path>,
}

/// Starts a program in a process group of its own, with no input, default signals and nothing else of ours.
pub fn spawn(program: Program<'_>) -> Result<Pid, Fault> {
    start(program).attempt("start", program.path)
}

fn start(program: Program<'_>) -> nix::Result<Pid> {
    let arguments: Vec<CString> = program
        .arguments
        .iter()
        .map(|argument| CString::new(*argument))
        .collect::<Result<_, _>>()
        .map_err(|_nul_inside| nix::Error::EINVAL)?;
    let mut actions = PosixSpawnFileActions::init()?;
    if let Some((ours, theirs)) = program.pass {
        actions.add_dup2(ours.as_raw_fd(), theirs)?;
    }
    actions.add_open(0, "/dev/null", OFlag::O_RDONLY, Mode::empty())?;
    if let Some(path) = program.output {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC;
        actions.add_open(1, path, flags, Mode::from_bits_truncate(0o600))?;
        actions.add_dup2(1, 2)?;
    }
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_flags(
        PosixSpawnFlags::POSIX_SPAWN_SETPGROUP
            | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF
            | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK,
    )?;
    attributes.set_pgroup(Pid::from_raw(0))?;
    attributes.set_sigmask(&SigSet::empty())?;
    let mut defaults = SigSet::empty();
    // The standard library ignores it in us; children must not inherit that.
    defaults.add(Signal::SIGPIPE);
    attributes.set_sigdefault(&defaults)?;
    posix_spawn(program.path, &actions, &attributes, &arguments, &ENVIRONMENT)
}
