//! A running virtual machine.

use super::{
    Console, Spec,
    console::{Polled, qemu_log},
    keeper::{self, End, GLANCE, Keeper, Shared},
    qmp::Qmp,
};
use crate::{
    context::{Context, interrupted},
    error::{Doing as _, Error, Kind, Result},
    tool::Running,
    toolroot::ToolRoot,
};
use coracle_format::slot::Arch;
use std::{
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// How long a pressed power button may go unheard before it is pressed again.
const PRESS_AGAIN: Duration = Duration::from_secs(3);
/// What a machine's console says when it has heard its power button.
const HEARD: &str = "coracle: powering off";
/// How long QEMU may take to open its monitor, and the selector to choose before that.
const MONITOR: Duration = Duration::from_secs(20);

/// A running machine with its console. Dropping it ends QEMU.
///
/// A machine whose kernel the host chooses is another process after every reset; that shows nowhere but in
/// [`Vm::starts`].
#[derive(Debug)]
pub struct Vm {
    shared: Arc<Shared>,
    keeper: Option<JoinHandle<()>>,
    monitor: PathBuf,
    arch: Arch,
    disk: Option<PathBuf>,
    cancel: Arc<AtomicBool>,
    /// What it prints.
    pub console: Console,
    // Held for the monitor's socket: a short path, since socket names have room for 107 bytes.
    _dir: tempfile::TempDir,
}

impl Vm {
    /// Starts the machine; its console is copied to `log`, QEMU's own messages to `log` with `.qemu` appended.
    pub fn start(ctx: &Context, tools: &ToolRoot, spec: &Spec, log: &Path) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("coracle-vm")
            .tempdir()
            .doing("create a directory for the machine's monitor in", &std::env::temp_dir())?;
        let (console, pump) = Console::open(log)?;
        let keeper = Keeper::new((ctx, tools), spec, qemu_log(log), dir.path(), pump)?;
        Ok(Self {
            shared: Arc::clone(&keeper.shared),
            keeper: Some(keeper.run()?),
            monitor: dir.path().join("qmp"),
            arch: spec.arch,
            disk: spec.disk.clone(),
            cancel: Arc::clone(&ctx.cancel),
            console,
            _dir: dir,
        })
    }

    /// The disk it writes.
    pub fn disk(&self) -> Option<&Path> {
        self.disk.as_deref()
    }

    /// How often QEMU was started for it.
    pub fn starts(&self) -> u32 {
        self.shared.lock().starts
    }

    /// A connection to its monitor. A machine that is just being started is waited for.
    pub fn qmp(&self) -> Result<Qmp> {
        let end = Instant::now() + MONITOR;
        let over = || self.shared.lock().end.is_some() || Instant::now() >= end;
        keeper::connect(&self.monitor, &self.shared, over)
            .ok_or_else(|| Error::new(Kind::Machine, "the machine is off: it has no monitor"))
    }

    /// Presses the reset button.
    pub fn reset(&self) -> Result<()> {
        self.qmp()?.reset()
    }

    /// Presses the power button, once.
    pub fn press_power(&self) -> Result<()> {
        self.press(&mut self.qmp()?)
    }

    /// Ends QEMU as its monitor does: everything that the machine has written is in the disk's file.
    pub fn quit(&mut self) -> Result<ExitStatus> {
        self.shared.lock().stopping = true;
        self.shared.tell();
        self.qmp()?.quit()?;
        self.wait(MONITOR)
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if self.cancel.load(Ordering::Relaxed) {
                return Err(interrupted());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let message = format!("the machine did not power off within {} s", limit.as_secs());
                return Err(Error::new(Kind::Machine, message));
            }
            drop(self.shared.wait(self.shared.lock(), left.min(GLANCE)));
        }
    }

    /// Whether it has ended, and how.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        match &mut self.shared.lock().end {
            None => Ok(None),
            Some(End::Exited(status)) => Ok(Some(*status)),
            Some(End::Failed(error)) => Err(error
                .take()
                .unwrap_or_else(|| Error::new(Kind::Machine, "the machine could not be started again"))),
        }
    }

    /// An error with QEMU's own last words if it ended badly.
    pub fn judge(&mut self, status: ExitStatus) -> Result<()> {
        self.shared.lock().qemu.as_mut().map_or(Ok(()), |qemu| qemu.judge(status, &[]))
    }

    /// Presses the power button and hands every further console line to `line`. QEMU is ended if the machine is not off
    /// within `limit`, or if the user asks to stop meanwhile.
    pub fn power_off(&mut self, limit: Duration, mut line: impl FnMut(&str)) -> Result<Stopped> {
        let deadline = Instant::now() + limit;
        let Ok(mut qmp) = self.qmp() else {
            return self.off(deadline);
        };
        let mut heard = false;
        while Instant::now() < deadline && !self.cancel.load(Ordering::Relaxed) {
            // A machine that has just started may not listen to its button yet: it is pressed until it answers.
            if !heard && self.press(&mut qmp).is_err() {
                // QEMU is gone, or about to go.
                return self.off(deadline);
            }
            let glance = Instant::now() + PRESS_AGAIN;
            while let Some(left) = glance.checked_duration_since(Instant::now()) {
                match self.console.poll(left) {
                    Polled::Line(text) => {
                        heard |= text.contains(HEARD);
                        line(&text);
                    }
                    Polled::Silent => break,
                    Polled::End => return self.off(deadline),
                }
            }
        }
        self.off(deadline)
    }

    fn press(&self, qmp: &mut Qmp) -> Result<()> {
        qmp.powerdown()?;
        match self.arch {
            Arch::X86_64 => Ok(()),
            Arch::Aarch64 => qmp.power_key(),
        }
    }

    /// Whether the machine is off; ended if it is not within seconds.
    fn off(&mut self, deadline: Instant) -> Result<Stopped> {
        if Instant::now() < deadline && self.ended()?.is_some() {
            return Ok(Stopped::ByItself);
        }
        let rest = deadline.saturating_duration_since(Instant::now()).min(Duration::from_secs(5));
        if self.wait(rest).is_ok() {
            return Ok(Stopped::ByItself);
        }
        self.cut_power();
        Ok(Stopped::Killed)
    }

    /// Ends QEMU at once: a power cut.
    pub fn cut_power(&mut self) {
        let mut state = self.shared.lock();
        state.stopping = true;
        if let Some(qemu) = state.qemu.as_mut() {
            Running::kill(qemu);
        }
        drop(state);
        self.shared.tell();
        if let Some(keeper) = self.keeper.take() {
            // It has nothing to say that the console did not.
            drop(keeper.join());
        }
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.cut_power();
    }
}

/// How a machine came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It powered itself off.
    ByItself,
    /// It did not within the limit, and was ended.
    Killed,
}
