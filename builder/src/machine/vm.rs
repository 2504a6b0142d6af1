//! A running virtual machine.

use super::{Console, Spec, console::Polled, qmp::Qmp};
use crate::{
    context::Context,
    error::{Doing as _, Error, Kind, Result},
    tool::{Running, Stdin, Stdout, Tool, Waited},
    toolroot::ToolRoot,
};
use coracle_format::slot::Arch;
use std::{
    fs::File,
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// How long a pressed power button may go unheard before it is pressed again.
const PRESS_AGAIN: Duration = Duration::from_secs(3);
/// What a machine's console says when it has heard its power button.
const HEARD: &str = "coracle: powering off";

/// A running machine with its console. Dropping it ends QEMU.
#[derive(Debug)]
pub struct Vm {
    qemu: Running,
    monitor: PathBuf,
    arch: Arch,
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
        let monitor = dir.path().join("qmp");
        let copy = File::create(log).doing("create console log", log)?;
        let mut qemu_log = log.as_os_str().to_owned();
        qemu_log.push(".qemu");
        let mut qemu = Tool::new(tools, spec.program())
            .args(spec.args(&monitor))
            .stdin(Stdin::Closed)
            .stdout(Stdout::Piped)
            .log_to(qemu_log)
            .spawn(ctx)?;
        let stdout = qemu
            .take_stdout()
            .ok_or_else(|| Error::new(Kind::Internal, "QEMU was started without a console"))?;
        Ok(Self {
            qemu,
            monitor,
            arch: spec.arch,
            cancel: Arc::clone(&ctx.cancel),
            console: Console::new(stdout, log, copy)?,
            _dir: dir,
        })
    }

    /// A connection to its monitor.
    pub fn qmp(&self) -> Result<Qmp> {
        Qmp::connect(&self.monitor)
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        match self.qemu.wait(limit)? {
            Waited::Exited(status) => Ok(status),
            Waited::Running => Err(Error::new(
                Kind::Machine,
                format!("the machine did not power off within {} s", limit.as_secs()),
            )),
        }
    }

    /// Whether it has ended, and how.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(match self.qemu.poll()? {
            Waited::Exited(status) => Some(status),
            Waited::Running => None,
        })
    }

    /// An error with QEMU's own last words if it ended badly.
    pub fn judge(&mut self, status: ExitStatus) -> Result<()> {
        self.qemu.judge(status, &[])
    }

    /// Presses the power button and hands every further console line to `line`. QEMU is ended if the machine is not off
    /// within `limit`, or if the user asks to stop meanwhile.
    pub fn power_off(&mut self, limit: Duration, mut line: impl FnMut(&str)) -> Result<Stopped> {
        let deadline = Instant::now() + limit;
        let mut qmp = self.qmp()?;
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
        if Instant::now() < deadline && self.qemu.poll()? != Waited::Running {
            return Ok(Stopped::ByItself);
        }
        let rest = deadline.saturating_duration_since(Instant::now()).min(Duration::from_secs(5));
        if let Ok(Waited::Exited(_)) = self.qemu.wait(rest) {
            return Ok(Stopped::ByItself);
        }
        self.qemu.kill();
        Ok(Stopped::Killed)
    }

    /// Ends QEMU at once: a power cut.
    pub fn cut_power(&mut self) {
        self.qemu.kill();
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
