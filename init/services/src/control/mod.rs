//! The `control` service: takes requests that an operator has signed, over virtio-serial or vsock. Runs only where the
//! configuration names operators.
//!
//! One thread per transport, one session at a time on each ([`session`]); whether a request is one of an operator's is
//! judged without touching anything ([`judge`]); what it asks for is done by the updater as a child ([`child`]), from
//! a place that may be named ([`place`]), by reading logs ([`logs`]), or by a signal to PID 1 ([`machine`]). The main
//! thread only keeps the line to PID 1.

mod channel;
mod child;
mod journal;
mod judge;
mod logs;
mod machine;
mod place;
mod port;
mod session;
mod text;
mod vsock;

pub use journal::Journal;
pub use machine::{Busy, Machine, Stop};
pub use session::serve;

use crate::ServiceError;
use crate::ipc::Message;
use crate::link::Link;
use crate::status::{Lines, Status};
use crate::{config, privilege};
use coracle_format::device::Transport;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Stack of a transport's thread.
const STACK_BYTES: usize = 256 << 10;

/// How long the end waits for requests under way: an update that reboots the machine is answered.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Runs the service until it is told to stop.
pub fn run() -> Result<(), ServiceError> {
    let failed = |action: &'static str| move |source: io::Error| ServiceError::System { action, source };
    let mut link = Link::inherit().map_err(failed("take over the line to PID 1"))?;
    let config = config::load()?;
    let journal = Journal::open();
    let Some(control) = &config.control else {
        journal.warning("no operator is named: there is nothing to do");
        return Ok(());
    };
    let mut status = Status::new("control")?;
    privilege::confine(privilege::UPDATER)?;
    let machine = Arc::new(Machine::this(&config, control, journal));
    for transport in &control.transports {
        let (name, body): (_, fn(&Machine)) = match transport {
            Transport::VirtioSerial => ("virtio-serial", port::run),
            Transport::Vsock => ("vsock", vsock::run),
        };
        let machine = Arc::clone(&machine);
        let builder = thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES);
        builder.spawn(move || body(&machine)).map_err(failed("start a thread"))?;
    }
    let mut lines = Lines::new();
    lines.add("ready", "yes");
    lines.add("keys", control.keys.len());
    status.publish(lines)?;
    let told = link.send(&Message::Ready);
    if let Err(error) = told {
        machine.journal.warning(&format!("cannot tell PID 1: {error}"));
    }
    loop {
        if link.wait(&[], None).map_err(failed("wait for PID 1"))?.stop() {
            machine.busy.end_within(LAST_WORDS);
            return Ok(());
        }
    }
}
