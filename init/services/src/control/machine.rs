//! The machine as the service sees it: who it is, where its things are, how it is stopped.

use super::journal::Journal;
use super::text::{Object, pairs};
use coracle_format::control::{Challenge, Hello};
use coracle_format::device::{Control, DeviceConfig, Log};
use rustix::process::{Pid, Signal};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Most bytes of a file below `/run` that are read.
const SMALL_FILE_BYTES: u64 = 64 << 10;

/// How the machine stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It starts again.
    Reboot,
    /// It stays off.
    PowerOff,
}

/// What a session needs of the machine. The paths are fixed on a device; tests bring their own.
#[derive(Debug)]
pub struct Machine {
    /// The operators.
    pub keys: Vec<[u8; 32]>,
    /// `[image] name`.
    pub image: String,
    /// `[image] version`.
    pub version: String,
    /// The updater's program.
    pub updater: PathBuf,
    /// Where the machine id and the status files are.
    pub run: PathBuf,
    /// Where containers' logs are.
    pub logs: PathBuf,
    /// The kernel log.
    pub kernel_log: PathBuf,
    /// The containers, and whether each keeps a log.
    pub containers: Vec<(String, bool)>,
    /// How long a transport rests after a request that was refused; it doubles up to thirty times this.
    pub penalty: Duration,
    /// Stops the machine.
    pub stop: fn(Stop) -> io::Result<()>,
    /// The kernel log, for writing.
    pub journal: Journal,
    /// Requests under way.
    pub busy: Busy,
}

impl Machine {
    /// The machine that this program runs on.
    pub(super) fn this(config: &DeviceConfig, control: &Control, journal: Journal) -> Self {
        let keeps_log = |log: &Log| matches!(log, Log::File { .. });
        let containers = config.containers.iter();
        Self {
            keys: control.keys.clone(),
            image: config.image_name.clone(),
            version: config.image_version.clone(),
            updater: "/usr/bin/coracle-update".into(),
            run: "/run/coracle".into(),
            logs: "/state/log".into(),
            kernel_log: "/dev/kmsg".into(),
            containers: containers.map(|one| (one.name.clone(), keeps_log(&one.log))).collect(),
            penalty: Duration::from_secs(1),
            stop: signal_init,
            journal,
            busy: Busy::default(),
        }
    }

    /// A new challenge for a client.
    pub(super) fn challenge(&self, hello: Hello) -> io::Result<Challenge> {
        let mut random = [0; 32];
        let mut filled = 0;
        while filled < random.len() {
            let flags = rustix::rand::GetRandomFlags::empty();
            filled += rustix::rand::getrandom(&mut random[filled..], flags)?;
        }
        Ok(Challenge {
            nonce: hello.nonce,
            random,
            machine: self.machine_id().unwrap_or_default(),
            image: self.image.clone(),
            version: self.version.clone(),
        })
    }

    /// The machine id; there is none before `state` is up.
    fn machine_id(&self) -> Option<[u8; 16]> {
        let text = read_small(&self.run.join("machine-id")).ok()?;
        u128::from_str_radix(text.trim(), 16).ok().map(u128::to_be_bytes)
    }

    /// What the services say of themselves, and how the machine was booted: for the beginning of `status`.
    pub(super) fn describe(&self, json: bool) -> String {
        let boot = read_small(&self.run.join("boot")).unwrap_or_default();
        let services = self.services();
        let id = super::text::hex(&self.machine_id().unwrap_or_default());
        if json {
            let mut out = Object::event("machine")
                .text("machine", &id)
                .text("image", &self.image)
                .text("version", &self.version)
                .texts("boot", pairs(&boot))
                .line();
            for (name, text) in &services {
                out += &Object::event("service").text("name", name).texts("status", pairs(text)).line();
            }
            return out;
        }
        let mut out = format!("machine {id}, {} {}\n", self.image, self.version);
        let texts = services.iter().map(|(name, text)| (format!("service {name}"), text));
        for (title, text) in [("boot".to_owned(), &boot)].into_iter().chain(texts) {
            let words: Vec<_> = text.lines().collect();
            if !words.is_empty() {
                out.extend([&title, ": ", &words.join(" "), "\n"]);
            }
        }
        out
    }

    /// Name and status text of every service, by name.
    fn services(&self) -> Vec<(String, String)> {
        let Ok(list) = fs::read_dir(self.run.join("status")) else {
            return Vec::new();
        };
        let mut services: Vec<_> = list
            .filter_map(Result::ok)
            .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
            // A file that is being replaced.
            .filter(|(name, _)| !name.contains('.'))
            .filter_map(|(name, path)| Some((name, read_small(&path).ok()?)))
            .collect();
        services.sort();
        services
    }
}

fn read_small(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(SMALL_FILE_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// Asks PID 1 for an ordered stop.
fn signal_init(stop: Stop) -> io::Result<()> {
    let signal = match stop {
        Stop::Reboot => Signal::INT,
        Stop::PowerOff => Signal::TERM,
    };
    Ok(rustix::process::kill_process(Pid::INIT, signal)?)
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reboot => "reboot",
            Self::PowerOff => "power-off",
        })
    }
}

/// Requests under way, so that the service does not end between an answer's last words and its sending.
#[derive(Debug, Default)]
pub struct Busy {
    count: Mutex<Count>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Count {
    requests: usize,
    ending: bool,
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Under<'a>(&'a Busy);

impl Busy {
    pub(super) fn begin(&self) -> Under<'_> {
        self.lock().requests += 1;
        Under(self)
    }

    /// Whether the service is about to end: nothing that can go on for ever should.
    pub(super) fn is_ending(&self) -> bool {
        self.lock().ending
    }

    /// Waits until nothing is under way, but no longer than this.
    pub(super) fn end_within(&self, limit: Duration) {
        let mut count = self.lock();
        count.ending = true;
        match self.changed.wait_timeout_while(count, limit, |count| count.requests > 0) {
            Ok(_) | Err(_) => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Count> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Under<'_> {
    fn drop(&mut self) {
        self.0.lock().requests -= 1;
        self.0.changed.notify_all();
    }
}
