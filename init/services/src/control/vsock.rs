//! A vsock listener: only the host may connect.

use super::channel::pause;
use super::machine::Machine;
use super::session;
use coracle_format::device::CONTROL_VSOCK_PORT;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Any address of this machine (`VMADDR_CID_ANY`).
const ANY: u32 = u32::MAX;
/// The host (`VMADDR_CID_HOST`).
const HOST: u32 = 2;
/// How often a listener is tried for: its driver may come late, or never.
const TRY_AGAIN: Duration = Duration::from_secs(5);
/// Clients that wait while one is served.
const BACKLOG: i32 = 4;

/// Serves the listener for ever.
pub(super) fn run(machine: &Machine) {
    let listener = await_listener(machine);
    machine.journal.notice(&format!("listening on vsock port {CONTROL_VSOCK_PORT}"));
    loop {
        let served = listener.accept().and_then(|(stream, peer)| {
            // Containers share the machine's vsock address space.
            if peer.as_vsock_address().is_none_or(|(cid, _)| cid != HOST) {
                return Ok(());
            }
            session::serve(OwnedFd::from(stream), machine, Duration::ZERO).map(drop)
        });
        if let Err(error) = served {
            machine.journal.warning(&format!("vsock: {error}"));
            pause(TRY_AGAIN);
        }
    }
}

fn await_listener(machine: &Machine) -> Socket {
    let mut told = false;
    loop {
        match listen() {
            Ok(listener) => return listener,
            Err(error) if !std::mem::replace(&mut told, true) => {
                machine.journal.notice(&format!("no vsock yet: {error}"));
            }
            Err(_) => {}
        }
        pause(TRY_AGAIN);
    }
}

fn listen() -> io::Result<Socket> {
    let listener = Socket::new(Domain::VSOCK, Type::STREAM, None)?;
    listener.bind(&SockAddr::vsock(ANY, CONTROL_VSOCK_PORT))?;
    listener.listen(BACKLOG)?;
    Ok(listener)
}
