//! The one door to crun. Commands run as children that the supervisor waits for; nothing here blocks on them.

use super::prepare::{Paths, failed};
use crate::ServiceError;
use coracle_format::device::Container;
use rustix::process::{Pid, Signal};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

const PROGRAM: &str = "/usr/bin/crun";
/// Where crun keeps its records.
const RECORDS: &str = "/run/crun";
/// To keep a container from writing to it, crun copies itself into memory and starts again from there, unless it is told
/// that it runs from a read-only file system and finds that to be so. Ours is, and verified too.
const ALREADY_PROTECTED: (&str, &str) = ("_LIBCONTAINER_CLONED_BINARY", "1");
/// Most that is read back of crun's own messages.
const MESSAGE_BYTES: u64 = 1024;
/// No process id has more digits.
const PID_BYTES: u64 = 20;

/// Where a container's output goes.
#[derive(Debug)]
pub(super) struct Outputs {
    /// Standard output.
    pub(super) stdout: Stdio,
    /// Standard error.
    pub(super) stderr: Stdio,
}

/// Starts `crun run`.
pub(super) fn run(container: &Container, paths: &Paths, outputs: Outputs) -> Result<Pid, ServiceError> {
    let mut command = command(paths);
    command
        .args(["run", "--detach", "--bundle", &container.bundle, "--pid-file"])
        .arg(&paths.pid)
        .arg(&container.name)
        .stdout(outputs.stdout)
        .stderr(outputs.stderr);
    spawn(&mut command)
}

/// Starts `crun delete --force`.
pub(super) fn delete(name: &str, paths: &Paths) -> Result<Pid, ServiceError> {
    spawn(command(paths).args(["delete", "--force", name]))
}

/// Sends a signal to a container's first process, which is our child and not yet waited for. Signals without a name of
/// their own (`SIGRTMIN+3`) are sent by a crun that nobody waits for.
pub(super) fn signal(name: &str, pid: Pid, number: u8, paths: &Paths) -> Result<(), ServiceError> {
    match Signal::from_named_raw(number.into()) {
        Some(signal) => rustix::process::kill_process(pid, signal)
            .map_err(|error| ServiceError::System { action: "signal a container", source: error.into() }),
        None => spawn(command(paths).args(["kill", name, &number.to_string()])).map(drop),
    }
}

/// Whether crun has a record of a container of that name.
pub(super) fn has_record(name: &str) -> bool {
    Path::new(RECORDS).join(name).exists()
}

/// The process id that a `crun run` left.
pub(super) fn read_pid(paths: &Paths) -> Result<Pid, ServiceError> {
    let unusable = || io::Error::other("it has no process id");
    let mut text = String::new();
    File::open(&paths.pid)
        .and_then(|file| file.take(PID_BYTES).read_to_string(&mut text))
        .and_then(|_| text.trim().parse().ok().and_then(Pid::from_raw).ok_or_else(unusable))
        .map_err(|error| failed("read", &paths.pid, error))
}

/// What crun said last, on one line; empty if it said nothing.
pub(super) fn last_message(paths: &Paths) -> String {
    let mut bytes = Vec::new();
    let read = File::open(&paths.log).and_then(|mut file| {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(MESSAGE_BYTES)))?;
        file.take(MESSAGE_BYTES).read_to_end(&mut bytes)
    });
    match read {
        Ok(_) => one_line(&bytes),
        Err(_) => String::new(),
    }
}

fn one_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("; ")
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that makes a command; the program and its arguments are fixed"
)]
fn command(paths: &Paths) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .args(["--cgroup-manager=cgroupfs", "--root", RECORDS, "--log"])
        .arg(&paths.log)
        .env_clear()
        .env(ALREADY_PROTECTED.0, ALREADY_PROTECTED.1)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/")
        .process_group(0);
    command
}

fn spawn(command: &mut Command) -> Result<Pid, ServiceError> {
    let child = command.spawn().map_err(|error| failed("run", Path::new(PROGRAM), error))?;
    i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| failed("run", Path::new(PROGRAM), io::Error::other("its process id is out of range")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_crun_become_one_line() {
        assert_eq!(one_line(b"a: b\n\n  c: \xff\n"), "a: b; c: \u{fffd}");
        assert_eq!(one_line(b""), "");
    }
}
