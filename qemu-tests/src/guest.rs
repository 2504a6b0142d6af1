//! A machine under test.

use crate::{MILESTONE, STOP, context, scratch};
use anyhow::{Context as _, Result, ensure};
use coracle::{
    build::{Built, SourceOptions},
    launch,
    machine::{Accel, Firmware, Forward, Outside, Phase, Protocol, Vm, vm::Stopped},
};
use serde_json::json;
use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    time::Duration,
};

/// What a test wants of its machine.
#[derive(Debug)]
pub struct Setup {
    /// How it starts.
    pub firmware: Firmware,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Bytes of its disk.
    pub disk_bytes: u64,
    /// Ports of the machine to reach.
    pub ports: Vec<u16>,
    /// A disk that an earlier machine has left; `None`: a fresh copy of the image.
    pub disk: Option<PathBuf>,
    /// Processors.
    pub cpus: u8,
    /// What its network reaches beside the ports.
    pub outside: Outside,
    /// Where everything that it writes to its disk is recorded.
    pub write_log: Option<PathBuf>,
    /// A second disk.
    pub second_disk: Option<PathBuf>,
    /// Whether a disk can be plugged in while it runs.
    pub has_port: bool,
    /// Added to the kernel's command line of a machine that starts directly.
    pub cmdline: String,
    /// How long the host waits for the watchdog of a machine that starts directly.
    pub watchdog: Duration,
    /// Where its console goes; `None`: the usual place.
    pub log: Option<PathBuf>,
    /// What its UEFI firmware knows at first; `None`: nothing.
    pub vars: Option<PathBuf>,
    /// Where the parts of a machine that starts directly are put; `None`: beside the disk.
    pub dir: Option<PathBuf>,
}

impl Setup {
    /// A small machine with these ports.
    pub fn new(firmware: Firmware, ports: &[u16]) -> Self {
        Self {
            firmware,
            memory_mib: 512,
            disk_bytes: 1 << 30,
            ports: ports.to_vec(),
            disk: None,
            cpus: 2,
            outside: Outside::Isolated,
            write_log: None,
            second_disk: None,
            has_port: false,
            cmdline: String::new(),
            watchdog: launch::WATCHDOG,
            log: None,
            vars: None,
            dir: None,
        }
    }
}

/// A running machine. Its network reaches nothing but the forwarded ports unless the set-up says otherwise.
#[derive(Debug)]
pub struct Guest {
    vm: Vm,
    forwards: Vec<Forward>,
    disk: PathBuf,
    control: PathBuf,
    // Held for the control socket: a short path, since socket names have room for 107 bytes.
    _sockets: tempfile::TempDir,
}

impl Guest {
    /// Boots `image`; `test` names the console log.
    pub fn boot(image: &Built, test: &str, setup: &Setup) -> Result<Self> {
        let ctx = context()?;
        let tools = image.qemu(&ctx, &SourceOptions::default())?;
        let mut options = launch::Options::new(image);
        options.firmware = setup.firmware;
        options.memory_mib = setup.memory_mib;
        options.disk_bytes = setup.disk_bytes;
        options.cpus = setup.cpus;
        options.outside = setup.outside;
        options.write_log.clone_from(&setup.write_log);
        options.second_disk.clone_from(&setup.second_disk);
        options.has_port = setup.has_port;
        options.cmdline.clone_from(&setup.cmdline);
        options.watchdog = setup.watchdog;
        options.dir.clone_from(&setup.dir);
        options.vars.clone_from(&setup.vars);
        if let Some(dir) = &setup.dir {
            fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        }
        options.forwards = forwards(&setup.ports)?;
        let sockets = tempfile::Builder::new().prefix("coracle-guest").tempdir()?;
        let control = sockets.path().join("control");
        options.control = Some(control.clone());
        let name = image.dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let dir = scratch(&name)?.join(test);
        let mut spec = match &setup.disk {
            None => launch::prepare(&ctx, &tools, image, &options, &dir)?,
            Some(disk) => launch::reuse(&ctx, &tools, image, &options, disk)?,
        };
        // Tests run two machines at a time on two processors as a rule: nothing is lost by it.
        spec.accel = Accel::TcgInTurn;
        let disk = spec.disk.clone().context("the machine has no disk")?;
        let log = match &setup.log {
            Some(log) => log.clone(),
            None => scratch(&name)?.join(format!("{test}.log")),
        };
        let vm = Vm::start(&ctx, &tools, &spec, &log)?;
        Ok(Self { vm, forwards: options.forwards, disk, control, _sockets: sockets })
    }

    /// The port of the host that leads to `guest`.
    pub fn port(&self, guest: u16) -> Result<u16> {
        let found = self.forwards.iter().find(|forward| forward.guest == guest);
        Ok(found.context("the port is not forwarded")?.host)
    }

    /// Waits for a phase; one that failed is an error.
    pub fn phase(&mut self, name: &str) -> Result<Phase> {
        Ok(self.vm.console.phase(name, MILESTONE)?)
    }

    /// Waits for a console line that holds `text`, and returns it.
    pub fn line(&mut self, text: &str) -> Result<String> {
        let what = format!("the line {text:?}");
        let hit = |line: &str| line.contains(text).then(|| line.to_owned());
        Ok(self.vm.console.expect(&what, MILESTONE, hit)?)
    }

    /// Waits for a phase that must fail, and returns why it did.
    pub fn failed_phase(&mut self, name: &str) -> Result<String> {
        let failed = |line: &str| Phase::parse(line).filter(|phase| phase.name == name)?.failed;
        self.scan(&format!("the failure of phase {name}"), failed)
    }

    /// Waits until `found` has what it wants from a console line, or several.
    pub fn scan<T>(&mut self, what: &str, found: impl FnMut(&str) -> Option<T>) -> Result<T> {
        Ok(self.vm.console.expect(what, MILESTONE, found)?)
    }

    /// Presses these keys together, as QEMU names them.
    pub fn press(&self, keys: &[&str]) -> Result<()> {
        let keys: Vec<_> = keys.iter().map(|key| json!({"type": "qcode", "data": key})).collect();
        self.vm.qmp()?.execute("send-key", &json!({"keys": keys}))?;
        Ok(())
    }

    /// Ends the machine as a power cut does, and returns its disk.
    pub fn cut_power(mut self) -> PathBuf {
        self.vm.cut_power();
        self.disk()
    }

    /// The machine itself.
    pub fn vm(&mut self) -> &mut Vm {
        &mut self.vm
    }

    /// Presses the power button; the machine must stop by itself. Returns its last lines.
    pub fn power_off(&mut self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        let stopped = self.vm.power_off(STOP, |line| lines.push(line.to_owned()))?;
        ensure!(stopped == Stopped::ByItself, "the machine did not power off:\n{}", lines.join("\n"));
        Ok(lines)
    }

    /// The socket of its control port.
    pub fn control(&self) -> &Path {
        &self.control
    }

    /// The disk it writes.
    pub fn disk(&self) -> PathBuf {
        self.disk.clone()
    }
}

/// Free ports of the host for these ports of the machine.
fn forwards(ports: &[u16]) -> Result<Vec<Forward>> {
    // All listeners are held until every port is known, so that no port is given twice.
    let listeners: Vec<_> =
        ports.iter().map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    let forward = |(listener, guest): (&TcpListener, &u16)| {
        let host = listener.local_addr()?.port();
        Ok(Forward { protocol: Protocol::Tcp, host, guest: *guest })
    };
    listeners.iter().zip(ports).map(forward).collect()
}
