//! Who starts QEMU, and starts it again: a machine whose kernel the host chooses comes back from a reset with what the
//! selector chooses then. One console and one [`super::Vm`] stand for all its starts.

use super::{
    console::Pump,
    memory::Memory,
    qmp::Qmp,
    selection::{self, Surroundings},
    spec::{Boot, Host, Spec, Time},
    watchdog::{Ended, Watchdog},
    write_log::WriteLog,
};
use crate::{
    context::Context,
    error::{Doing as _, Error, Kind, Result},
    tool::{Running, Stdin, Stdout, Tool, Waited},
    toolroot::ToolRoot,
};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    process::{ChildStdout, ExitStatus},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How often something is looked at that does not tell when it changes.
pub(super) const GLANCE: Duration = Duration::from_millis(20);
/// What the console says of a machine that its watchdog has reset.
const RESET: &str = "coracle: the watchdog has reset the machine";
/// Ends what it is told to when its input does: when the process that holds the other end is gone, however it went.
const WATCH: &str = "while read -r _; do :; done; kill -s KILL -- \"-$1\"";

/// What keeper and [`super::Vm`] know of the machine together.
#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// The QEMU of this start, or of the last.
    pub(super) qemu: Option<Running>,
    /// No further start.
    pub(super) stopping: bool,
    /// How often QEMU was started.
    pub(super) starts: u32,
    /// How the machine ended.
    pub(super) end: Option<End>,
}

/// How a machine ended.
#[derive(Debug)]
pub(super) enum End {
    /// QEMU ended.
    Exited(ExitStatus),
    /// It could not be started again.
    Failed(Option<Error>),
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that panicked has left nothing half done that matters more than ending QEMU.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells everybody who waits.
    pub(super) fn tell(&self) {
        self.changed.notify_all();
    }

    /// Waits until something changes, at most `limit`.
    pub(super) fn wait<'g>(&self, guard: MutexGuard<'g, State>, limit: Duration) -> MutexGuard<'g, State> {
        self.changed.wait_timeout(guard, limit).unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Starts the machine.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) ctx: Context,
    pub(super) tools: ToolRoot,
    pub(super) spec: Spec,
    /// Where QEMU's own messages go.
    pub(super) log: PathBuf,
    /// The directory of the monitors' sockets.
    pub(super) sockets: PathBuf,
    pub(super) shared: Arc<Shared>,
    pub(super) pump: Pump,
    memory: Option<Memory>,
    // Held while the machine is there.
    disk: Option<Flock<File>>,
}

/// A started QEMU.
struct Started {
    console: ChildStdout,
    // Held for its input: QEMU is ended when this process is gone.
    _watch: Running,
    watchdog: Watchdog,
    ended: Option<JoinHandle<Ended>>,
    over: Arc<AtomicBool>,
}

impl Keeper {
    /// A keeper of a machine that was not started yet.
    pub(super) fn new(
        (ctx, tools): (&Context, &ToolRoot),
        spec: &Spec,
        log: PathBuf,
        sockets: &Path,
        pump: Pump,
    ) -> Result<Self> {
        let memory = match spec.boot {
            Boot::Selected(_) => Some(Memory::new(spec.memory_mib)?),
            Boot::Uefi { .. } | Boot::Direct(_) => None,
        };
        if let Some(path) = &spec.write_log {
            WriteLog::create(path)?;
        }
        Ok(Self {
            ctx: ctx.clone(),
            tools: tools.clone(),
            spec: spec.clone(),
            log,
            sockets: sockets.to_owned(),
            shared: Arc::default(),
            pump,
            memory,
            disk: spec.disk.as_deref().map(claim).transpose()?,
        })
    }

    /// Runs the machine to its end, in a thread of its own.
    pub(super) fn run(mut self) -> Result<JoinHandle<()>> {
        let first = match self.spec.boot {
            // What the selector says is for the console, and it may take its time.
            Boot::Selected(_) => None,
            Boot::Uefi { .. } | Boot::Direct(_) => self.start()?,
        };
        let keep = move || {
            let end = match self.keep(first) {
                Ok(status) => End::Exited(status),
                Err(error) => {
                    error.render().lines().for_each(|line| self.pump.say(line));
                    End::Failed(Some(error))
                }
            };
            // Whoever hears of the end may start the next machine over this disk.
            drop(self.disk.take());
            self.shared.lock().end = Some(end);
            self.shared.tell();
        };
        thread::Builder::new().name("machine".to_owned()).spawn(keep).doing("watch", Path::new("QEMU"))
    }

    fn keep(&mut self, mut started: Option<Started>) -> Result<ExitStatus> {
        loop {
            let Some(qemu) = started.take().map_or_else(|| self.start(), |first| Ok(Some(first)))? else {
                return Err(crate::context::interrupted());
            };
            self.pump.read(qemu.console, |line| qemu.watchdog.hear(line));
            qemu.over.store(true, Ordering::Relaxed);
            let ended = qemu.ended.map_or(Ended::Off, |ended| ended.join().unwrap_or(Ended::Off));
            let status = self.reap()?;
            if ended == Ended::Off || self.shared.lock().stopping {
                return Ok(status);
            }
            if ended == Ended::Watchdog {
                self.pump.say(RESET);
            }
        }
    }

    /// The status of a QEMU that has closed its console.
    fn reap(&self) -> Result<ExitStatus> {
        let mut state = self.shared.lock();
        loop {
            match state.qemu.as_mut().map(Running::poll).transpose()? {
                Some(Waited::Exited(status)) => return Ok(status),
                Some(Waited::Running) => state = self.shared.wait(state, GLANCE),
                None => return Err(crate::context::interrupted()),
            }
        }
    }

    /// `None`: the machine is to stop.
    fn start(&mut self) -> Result<Option<Started>> {
        let Some((spec, limit)) = self.chosen()? else {
            return Ok(None);
        };
        let (monitor, keeper) = (self.sockets.join("qmp"), self.sockets.join("keeper"));
        let memory = self.memory.as_ref().map(Memory::path);
        let mut state = self.shared.lock();
        if state.stopping {
            return Ok(None);
        }
        let host = Host {
            monitor: Some(&monitor),
            keeper: memory.is_some().then_some(keeper.as_path()),
            memory: memory.as_deref(),
        };
        let mut qemu = Tool::new(&self.tools, spec.program())
            .args(spec.args(&host))
            .stdin(Stdin::Closed)
            .stdout(Stdout::Piped)
            .log_to(&self.log)
            .spawn(&self.ctx)?;
        let console = qemu
            .take_stdout()
            .ok_or_else(|| Error::new(Kind::Internal, "QEMU was started without a console"))?;
        let watch = Tool::host("sh")
            .args(["-c", WATCH, "watch", &qemu.id().to_string()])
            .stdin(Stdin::Piped)
            .stdout(Stdout::Log)
            .log("watch")
            .spawn(&self.ctx)?;
        state.qemu = Some(qemu);
        state.starts = state.starts.saturating_add(1);
        drop(state);
        self.shared.tell();
        let over = Arc::new(AtomicBool::new(false));
        let watchdog = Watchdog::new(limit);
        let ended = memory.is_some().then(|| self.listen(keeper, &over, watchdog.clone())).transpose()?;
        Ok(Some(Started { console, _watch: watch, watchdog, ended, over }))
    }

    /// The machine with the parts that the selector chooses, which is asked until it starts something; and when the
    /// watchdog resets it.
    fn chosen(&mut self) -> Result<Option<(Spec, Option<Duration>)>> {
        let Boot::Selected(selection) = &self.spec.boot else {
            return Ok(Some((self.spec.clone(), None)));
        };
        let disk = self.spec.disk.as_deref().unwrap_or_else(|| Path::new("/dev/null"));
        let write_log = self.spec.write_log.as_deref();
        let mut surroundings = Console { pump: &mut self.pump, shared: &self.shared };
        while !surroundings.stopping() {
            if let Some(chosen) = selection::choose(selection, (disk, write_log), &mut surroundings)? {
                // The host's clock says nothing about a machine that counts instructions.
                let watched = chosen.watched && self.spec.time == Time::Host;
                let spec = Spec { boot: Boot::Direct(chosen.parts), ..self.spec.clone() };
                return Ok(Some((spec, watched.then_some(selection.watchdog))));
            }
        }
        Ok(None)
    }

    /// Waits, in a thread of its own, for the machine's shutdown, tells QEMU to end, and says what it was.
    fn listen(
        &self,
        socket: PathBuf,
        over: &Arc<AtomicBool>,
        watchdog: Watchdog,
    ) -> Result<JoinHandle<Ended>> {
        let (over, shared) = (Arc::clone(over), Arc::clone(&self.shared));
        let listen = move || {
            let Some(mut qmp) = connect(&socket, &shared, || over.load(Ordering::Relaxed)) else {
                return Ended::Off;
            };
            let ended = watchdog.guard(&mut qmp).unwrap_or(Ended::Off);
            // It may be gone already.
            drop(qmp.quit());
            ended
        };
        thread::Builder::new().name("monitor".to_owned()).spawn(listen).doing("watch", Path::new("QEMU"))
    }
}

/// Makes sure that no other machine writes the disk, neither its QEMU nor its selector.
fn claim(disk: &Path) -> Result<Flock<File>> {
    let file = File::open(disk).doing("open disk", disk)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| {
        let message = format!("cannot start a machine over {}", disk.display());
        let error = Error::new(Kind::Machine, message).because(io::Error::from(errno));
        if errno == Errno::EWOULDBLOCK {
            error.hint("another machine runs on this disk: end it first")
        } else {
            error
        }
    })
}

/// A connection to a monitor that may not be there yet; `None` once `over` says that there will be none.
pub(super) fn connect(socket: &Path, shared: &Shared, over: impl Fn() -> bool) -> Option<Qmp> {
    while !over() {
        if let Ok(qmp) = Qmp::connect(socket) {
            return Some(qmp);
        }
        drop(shared.wait(shared.lock(), GLANCE));
    }
    None
}

/// The selector's console and clock.
struct Console<'a> {
    pump: &'a mut Pump,
    shared: &'a Shared,
}

impl Surroundings for Console<'_> {
    fn say(&mut self, line: &str) {
        self.pump.say(line);
    }

    fn pause(&mut self, duration: Duration) {
        let end = Instant::now() + duration;
        let mut state = self.shared.lock();
        while !state.stopping && Instant::now() < end {
            state = self.shared.wait(state, end.saturating_duration_since(Instant::now()));
        }
    }

    fn stopping(&self) -> bool {
        self.shared.lock().stopping
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cache::Cache, report::Report};

    #[test]
    fn a_machine_ends_with_the_process_that_started_it() {
        let dir = tempfile::tempdir().unwrap();
        let ctx = Context::new(Cache::open(dir.path()).unwrap(), Report::silent());
        let mut machine = Tool::host("sleep").arg("600").stdout(Stdout::Log).spawn(&ctx).unwrap();
        let id = machine.id().to_string();
        // Its input has ended already, as that of a watcher whose process was killed.
        Tool::host("sh").args(["-c", WATCH, "watch", &id]).run(&ctx).unwrap();
        let Waited::Exited(status) = machine.wait(Duration::from_secs(20)).unwrap() else {
            panic!("it still runs");
        };
        assert!(!status.success());
    }

    #[test]
    fn two_machines_never_have_one_disk() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.raw");
        File::create(&path).unwrap();
        let first = claim(&path).unwrap();
        assert!(claim(&path).unwrap_err().hint_text().unwrap().contains("another machine"));
        drop(first);
        claim(&path).unwrap();
    }
}
