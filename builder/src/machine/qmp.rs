//! QEMU's machine protocol, as far as a power button needs it.

use super::spec::PORT;
use crate::error::{Doing as _, Error, Kind, Result};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How long QEMU may take to answer a command.
const ANSWER: Duration = Duration::from_secs(10);

/// A connection to a machine's monitor.
#[derive(Debug)]
pub struct Qmp {
    stream: BufReader<UnixStream>,
    path: PathBuf,
    /// Events that came between answers.
    events: VecDeque<Value>,
}

impl Qmp {
    /// Connects and negotiates.
    pub fn connect(path: &Path) -> Result<Self> {
        let stream = UnixStream::connect(path).doing("connect to the monitor", path)?;
        stream.set_read_timeout(Some(ANSWER)).doing("set up", path)?;
        let mut this =
            Self { stream: BufReader::new(stream), path: path.to_owned(), events: VecDeque::new() };
        this.message()?;
        this.execute("qmp_capabilities", &json!({}))?;
        Ok(this)
    }

    /// Runs a command and returns its answer; events in between are kept for [`Qmp::shutdown`].
    pub fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let request = json!({"execute": command, "arguments": arguments});
        writeln!(self.stream.get_mut(), "{request}").doing("write to the monitor", &self.path)?;
        loop {
            let mut answer = self.message()?;
            if answer.get("event").is_some() {
                self.events.push_back(answer);
                continue;
            }
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = answer.get("error") {
                return Err(
                    Error::new(Kind::Machine, format!("QEMU refused {command}")).because(error.to_string())
                );
            }
        }
    }

    /// Presses the power button.
    pub fn powerdown(&mut self) -> Result<()> {
        self.execute("system_powerdown", &json!({})).map(drop)
    }

    /// Presses the power key of the keyboard.
    pub fn power_key(&mut self) -> Result<()> {
        let press = |down: bool| json!({"type": "key", "data": {"down": down, "key": {"type": "qcode", "data": "power"}}});
        self.execute("input-send-event", &json!({"events": [press(true), press(false)]})).map(drop)
    }

    /// Presses the reset button.
    pub fn reset(&mut self) -> Result<()> {
        self.execute("system_reset", &json!({})).map(drop)
    }

    /// Plugs a raw disk into the free port of a machine that has one. It is only read.
    pub fn plug(&mut self, disk: &Path) -> Result<()> {
        let file = json!({"driver": "file", "filename": disk});
        let node = json!({"driver": "raw", "node-name": "plugged", "read-only": true, "file": file});
        self.execute("blockdev-add", &node)?;
        let device = json!({"driver": "virtio-blk-pci", "id": "plugged", "drive": "plugged", "bus": PORT});
        self.execute("device_add", &device).map(drop)
    }

    /// Ends QEMU.
    pub fn quit(&mut self) -> Result<()> {
        self.execute("quit", &json!({})).map(drop)
    }

    /// Whether the machine's processors run: it is neither stopped nor shut down.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.execute("query-status", &json!({}))?["running"] == true)
    }

    /// Waits until the machine shuts down or, where QEMU is told to end then, resets, and returns why as QEMU words it:
    /// `guest-reset`, `host-qmp-system-reset`, `guest-shutdown`, … `None`: nothing of that within `limit`.
    pub fn shutdown(&mut self, limit: Option<Duration>) -> Result<Option<String>> {
        let status = self.execute("query-status", &json!({}))?;
        let past = status["status"] == "shutdown";
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        loop {
            let event = match self.events.pop_front() {
                Some(event) => event,
                // It happened before anybody listened.
                None if past => return Ok(Some(String::new())),
                None if self.wait(deadline)? => self.message()?,
                None => return Ok(None),
            };
            if event["event"] == "SHUTDOWN" {
                return Ok(Some(event["data"]["reason"].as_str().unwrap_or_default().to_owned()));
            }
        }
    }

    /// Waits for a message, or its end; false if there is none before `deadline`.
    fn wait(&mut self, deadline: Option<Instant>) -> Result<bool> {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        // A time of zero would be none to the socket.
        let left = left.map(|left| left.max(Duration::from_millis(1)));
        self.stream.get_ref().set_read_timeout(left).doing("set up", &self.path)?;
        let there = match self.stream.fill_buf() {
            Ok(_) => true,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                false
            }
            Err(error) => return Err(error).doing("read from the monitor", &self.path),
        };
        self.stream.get_ref().set_read_timeout(Some(ANSWER)).doing("set up", &self.path)?;
        Ok(there)
    }

    fn message(&mut self) -> Result<Value> {
        let mut line = String::new();
        let read = self.stream.read_line(&mut line).doing("read from the monitor", &self.path)?;
        if read == 0 {
            return Err(Error::new(Kind::Machine, "the machine's monitor closed"));
        }
        serde_json::from_str(&line)
            .map_err(|source| Error::new(Kind::Machine, "cannot understand QEMU's monitor").because(source))
    }
}
