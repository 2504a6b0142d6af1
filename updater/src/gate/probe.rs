//! One attempt of a check, from its beginning to its result.

use super::exec::{self, Runtime};
use super::http;
use super::tcp::{self, Deadline};
use coracle_format::device::{Check, Probe};
use std::path::Path;
use std::sync::mpsc::Sender;
use std::thread;

/// The result of an attempt: check, number, result.
pub(super) type Done = (usize, u64, Result<(), String>);

/// Makes one attempt and waits for its result, at most a little longer than the check's time. Only the search for the
/// address of a name may take longer.
pub(super) fn attempt(check: &Check, runtime: &Runtime) -> Result<(), String> {
    let deadline = Deadline::after(check.timeout_ms);
    match &check.probe {
        Probe::Command { container, args } => exec::run(runtime, (&check.name, container), args, deadline),
        Probe::Http { host, port, path } => http::get(host, *port, path, deadline),
        Probe::Tcp { host, port } => tcp::connect(host, *port, deadline).map(drop),
        Probe::File { path } => match Path::new(path).try_exists() {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!("{path} is not there")),
            Err(error) => Err(format!("cannot look at {path}: {error}")),
        },
    }
}

/// Makes one attempt beside everything else; its result comes over `done`.
pub(super) fn begin(check: Check, runtime: Runtime, (index, number): (usize, u64), done: &Sender<Done>) {
    let sender = done.clone();
    let body = move || {
        // Nobody listens any more when the gate has decided.
        match sender.send((index, number, attempt(&check, &runtime))) {
            Ok(()) | Err(_) => {}
        }
    };
    if let Err(error) = thread::Builder::new().name("check".to_owned()).spawn(body) {
        let result = Err(format!("cannot start a thread for it: {error}"));
        match done.send((index, number, result)) {
            Ok(()) | Err(_) => {}
        }
    }
}

#[cfg(test)]
#[path = "probe_tests.rs"]
mod tests;
