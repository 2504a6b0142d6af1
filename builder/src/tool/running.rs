//! A program that has been started.

use super::failure::{Log, ending, failure};
use crate::{
    context::Context,
    error::{Doing, Error, Kind, Result},
};
use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill, killpg},
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::Pid,
};
use std::{
    io,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, ExitStatus},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

/// How soon a user who wants to stop is heard.
const CANCEL_POLL: Duration = Duration::from_millis(50);

/// Whether the program leads a process group of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    /// It does, and its group ends with it.
    Own,
    /// It stays in this process's group, to use the terminal.
    Shared,
}

/// What waiting came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// The program ended.
    Exited(ExitStatus),
    /// It still runs.
    Running,
}

/// A program under way. Dropping it kills it, with its process group.
#[derive(Debug)]
pub struct Running {
    child: Child,
    pid: Pid,
    name: String,
    shown: String,
    group: Group,
    log: Log,
    ended: Receiver<()>,
    status: Option<ExitStatus>,
    cancel: Arc<AtomicBool>,
}

impl Running {
    pub(super) fn new(
        child: Child,
        (name, shown): (String, String),
        group: Group,
        log: Log,
        ctx: &Context,
    ) -> Result<Self> {
        let number = i32::try_from(child.id())
            .map_err(|source| Error::new(Kind::Internal, "no such process id").because(source))?;
        let pid = Pid::from_raw(number);
        let (tell, ended) = mpsc::channel();
        // Waits without reaping: the process id stays taken, so signals cannot hit another process.
        let watch = move || {
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
            while waitid(Id::Pid(pid), flags) == Err(Errno::EINTR) {}
            drop(tell);
        };
        let running = Self {
            child,
            pid,
            name,
            shown,
            group,
            log,
            ended,
            status: None,
            cancel: Arc::clone(&ctx.cancel),
        };
        let thread = thread::Builder::new().name("tool".into()).spawn(watch);
        thread.doing("watch", Path::new(&running.name))?;
        Ok(running)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its standard input, once, if it was asked for as a pipe.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Its standard output, once, if it was asked for as a pipe.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Waits until it ended, at most `limit`. What is left of its group then ends too. An error if the user wants to
    /// stop; the program still runs then.
    pub fn wait(&mut self, limit: Duration) -> Result<Waited> {
        self.wait_for(limit, Cancel::Heard)
    }

    /// Whether it ended.
    pub fn poll(&mut self) -> Result<Waited> {
        self.wait_for(Duration::ZERO, Cancel::Ignored)
    }

    fn wait_for(&mut self, limit: Duration, cancel: Cancel) -> Result<Waited> {
        if let Some(status) = self.status {
            return Ok(Waited::Exited(status));
        }
        let begun = Instant::now();
        loop {
            let left = limit.saturating_sub(begun.elapsed());
            match self.ended.recv_timeout(left.min(CANCEL_POLL)) {
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return self.reap().map(Waited::Exited),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if cancel == Cancel::Heard && self.cancel.load(Ordering::Relaxed) {
                return Err(Error::new(Kind::Interrupted, "interrupted")
                    .hint("run it again: what was finished is cached"));
            }
            if begun.elapsed() >= limit {
                return Ok(Waited::Running);
            }
        }
    }

    fn reap(&mut self) -> Result<ExitStatus> {
        if self.group == Group::Own {
            self.signal(Signal::SIGKILL);
        }
        let status = self.child.wait().doing("wait for", Path::new(&self.name))?;
        self.status = Some(status);
        Ok(status)
    }

    fn signal(&self, signal: Signal) {
        let sent = match self.group {
            Group::Own => killpg(self.pid, signal),
            Group::Shared => kill(self.pid, signal),
        };
        // The only fault there can be is that nobody is left: the process is ours and not reaped yet.
        debug_assert!(matches!(sent, Ok(()) | Err(Errno::ESRCH | Errno::EPERM)));
    }

    /// Asks it to end (SIGTERM), and kills it when it has not after `grace`.
    pub fn terminate(&mut self, grace: Duration) -> Result<ExitStatus> {
        if self.status.is_none() {
            self.signal(Signal::SIGTERM);
        }
        match self.wait_for(grace, Cancel::Ignored)? {
            Waited::Exited(status) => Ok(status),
            Waited::Running => {
                self.signal(Signal::SIGKILL);
                self.until_dead()
            }
        }
    }

    /// Kills it and its group, and waits until it is gone.
    pub fn kill(&mut self) {
        if self.status.is_none() {
            self.signal(Signal::SIGKILL);
            if self.until_dead().is_err() {
                // It is gone all the same: the watching thread saw it end.
            }
        }
    }

    fn until_dead(&mut self) -> Result<ExitStatus> {
        // Nothing is ever sent: the channel closes when the process has ended.
        if self.ended.recv().is_err() {
            return self.reap();
        }
        self.reap()
    }

    /// An error if `status` is not 0. `stdout` is what was captured of its output.
    pub fn judge(&mut self, status: ExitStatus, stdout: &[u8]) -> Result<()> {
        if status.success() {
            return Ok(());
        }
        self.log.append(stdout)?;
        Err(failure(&self.shown, &ending(status), &mut self.log))
    }

    /// The error of a program that took too long.
    pub(super) fn timed_out(&mut self, limit: Duration, stdout: &[u8]) -> Error {
        let how = format!("did not end within {} s and was killed", limit.as_secs());
        match self.log.append(stdout) {
            Ok(()) => failure(&self.shown, &how, &mut self.log),
            Err(error) => error,
        }
    }

    /// The error of a pipe that could not be read.
    pub(super) fn pipe_broke(&self, source: io::Error) -> Error {
        Error::new(Kind::Io, format!("cannot read the output of {}", self.name)).because(source)
    }
}

/// Whether waiting ends when the user wants to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cancel {
    Heard,
    Ignored,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}
