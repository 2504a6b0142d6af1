//! A program inside a running container, with a deadline that kills it.

use super::tcp::Deadline;
use super::view::one_line;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};
use std::fs;
use std::io::{self, Read as _};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::Duration;

/// Where crun keeps its records.
const RECORDS: &str = "/run/crun";
/// crun need not copy itself into memory: it runs from a verified, read-only file system.
const ALREADY_PROTECTED: (&str, &str) = ("_LIBCONTAINER_CLONED_BINARY", "1");
/// What is kept of the last words of a program.
const WORDS_BYTES: usize = 200;
/// How long crun may take to end once the program in the container was killed.
const LINGER: Duration = Duration::from_secs(1);

/// A container runtime and a place for its files.
#[derive(Clone, Debug)]
pub(super) struct Runtime {
    /// crun.
    pub(super) program: PathBuf,
    /// A directory for process ids.
    pub(super) directory: PathBuf,
}

/// Whether the program ends with status 0 in time. What it says last on standard error is the reason if it does not.
pub(super) fn run(
    runtime: &Runtime,
    (check, container): (&str, &str),
    args: &[String],
    deadline: Deadline,
) -> Result<(), String> {
    let pid_file = runtime.directory.join(format!("{check}.pid"));
    let failed = |error: io::Error| format!("cannot run crun: {error}");
    remove(&pid_file).map_err(failed)?;
    let mut child = command(runtime, &pid_file, container, args).spawn().map_err(failed)?;
    let mut words = Words::new(child.stderr.take());
    let ended = watch(&mut child, &mut words, deadline);
    let result = match ended {
        Ok(Some(status)) => judge(status, &words),
        Ok(None) => {
            kill(&mut child, &pid_file);
            Err("it takes too long and was killed".to_owned())
        }
        Err(error) => {
            kill(&mut child, &pid_file);
            Err(format!("cannot watch crun: {error}"))
        }
    };
    remove(&pid_file).map_err(failed)?;
    result
}

/// An id that an earlier attempt has left must never be taken for one of this attempt.
fn remove(pid_file: &Path) -> io::Result<()> {
    match fs::remove_file(pid_file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place of the updater that runs a program; it is killed at its deadline"
)]
fn command(runtime: &Runtime, pid_file: &Path, container: &str, args: &[String]) -> Command {
    let mut command = Command::new(&runtime.program);
    command
        .args(["--cgroup-manager=cgroupfs", "--root", RECORDS, "exec", "--pid-file"])
        .arg(pid_file)
        .arg(container)
        .args(args)
        .env_clear()
        .env(ALREADY_PROTECTED.0, ALREADY_PROTECTED.1)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .current_dir("/")
        .process_group(0);
    command
}

/// Waits for the child's end while it takes its words. `None` when the deadline has passed.
fn watch(child: &mut Child, words: &mut Words, deadline: Deadline) -> io::Result<Option<ExitStatus>> {
    let process = pidfd_open(pid_of(child)?, PidfdFlags::empty())?;
    loop {
        let Ok(left) = deadline.left() else {
            return Ok(None);
        };
        let mut fds = vec![PollFd::new(&process, PollFlags::IN)];
        fds.extend(words.pipe.as_ref().map(|pipe| PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN)));
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let has_ended = !fds[0].revents().is_empty();
        let has_words = fds.get(1).is_some_and(|fd| !fd.revents().is_empty());
        drop(fds);
        // A descendant may hold the pipe open for ever: only what is there already is taken after the end.
        if has_words {
            words.take();
        }
        if has_ended {
            return child.wait().map(Some);
        }
    }
}

/// Kills the program in the container, whose process id crun has left, with everything in its session, and then crun if
/// it does not end by that.
fn kill(child: &mut Child, pid_file: &Path) {
    let inside = fs::read_to_string(pid_file).ok().and_then(|text| text.trim().parse().ok());
    let crun = pid_of(child).ok();
    let process = crun.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let has_ended = |limit: Duration| {
        let mut fds: Vec<_> = process.iter().map(|process| PollFd::new(process, PollFlags::IN)).collect();
        let limit = Timespec::try_from(limit).ok();
        poll(&mut fds, limit.as_ref()).is_ok_and(|count| count > 0)
    };
    // As long as crun has not ended it has not taken the status of its child, so the id is still that child's.
    if let Some(pid) = inside.and_then(Pid::from_raw)
        && !has_ended(Duration::ZERO)
    {
        signal_all(pid);
        has_ended(LINGER);
    }
    // Nobody has taken crun's own status yet, so its id is still its own, whether it has ended or not.
    if let Some(pid) = crun {
        signal_all(pid);
    }
    match child.wait() {
        Ok(_) | Err(_) => {}
    }
}

/// Kills a process and its group. That they are gone already is what is wanted.
fn signal_all(pid: Pid) {
    for killed in [kill_process_group(pid, Signal::KILL), kill_process(pid, Signal::KILL)] {
        match killed {
            Ok(()) | Err(_) => {}
        }
    }
}

fn pid_of(child: &Child) -> io::Result<Pid> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| io::Error::other("its process id is out of range"))
}

fn judge(status: ExitStatus, words: &Words) -> Result<(), String> {
    let how = match (status.code(), status.signal()) {
        (Some(0), _) => return Ok(()),
        (Some(code), _) => format!("it ended with status {code}"),
        (None, Some(signal)) => format!("it ended by signal {signal}"),
        (None, None) => "it ended in an unknown way".to_owned(),
    };
    match words.text() {
        text if text.is_empty() => Err(how),
        text => Err(format!("{how}: {text}")),
    }
}

/// The last bytes that a program wrote to standard error.
struct Words {
    pipe: Option<ChildStderr>,
    last: Vec<u8>,
}

impl Words {
    const fn new(pipe: Option<ChildStderr>) -> Self {
        Self { pipe, last: Vec::new() }
    }

    /// Takes what is there; the end of it closes the pipe.
    fn take(&mut self) {
        let mut buffer = [0; 4096];
        match self.pipe.as_mut().map(|pipe| pipe.read(&mut buffer)) {
            Some(Ok(count)) if count > 0 => {
                self.last.extend_from_slice(&buffer[..count]);
                let surplus = self.last.len().saturating_sub(WORDS_BYTES);
                self.last.drain(..surplus);
            }
            Some(Ok(_) | Err(_)) | None => self.pipe = None,
        }
    }

    /// Its last line with something in it.
    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.last);
        let line = text.lines().map(str::trim).rfind(|line| !line.is_empty());
        one_line(line.unwrap_or_default())
    }
}
