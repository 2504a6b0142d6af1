//! The virtio-serial port that leads to the host.

use super::channel::pause;
use super::machine::Machine;
use super::session;
use coracle_format::device::CONTROL_PORT;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

const PORTS: &str = "/sys/class/virtio-ports";
/// How often the port is looked for: its driver may come late.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How often, when it has not been there for a while: somebody may plug it in.
const LOOK_AGAIN_LATER: Duration = Duration::from_secs(15);
/// How many times the first pause is taken.
const SOON: u32 = 30;

/// How long the host's end may look as if it had gone, though another client is there already.
const RETURNS_WITHIN: Duration = Duration::from_secs(2);

/// Serves the port for ever.
pub(super) fn run(machine: &Machine) {
    loop {
        match find_and_open(machine).and_then(|port| serve(port, machine)) {
            Ok(()) => {}
            Err(error) => {
                machine.journal.warning(&format!("the port {CONTROL_PORT} failed: {error}"));
                pause(LOOK_AGAIN);
            }
        }
    }
}

fn find_and_open(machine: &Machine) -> io::Result<OwnedFd> {
    let mut tries = 0;
    let device = loop {
        if let Some(device) = find(Path::new(PORTS)) {
            break device;
        }
        if tries == SOON {
            machine.journal.notice(&format!("there is no virtio-serial port {CONTROL_PORT}"));
        }
        pause(if tries < SOON { LOOK_AGAIN } else { LOOK_AGAIN_LATER });
        tries = tries.saturating_add(1);
    };
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let port = rustix::fs::open(&device, flags, Mode::empty())?;
    machine.journal.notice(&format!("listening on {} ({CONTROL_PORT})", device.display()));
    Ok(port)
}

/// The device of the port with our name.
fn find(ports: &Path) -> Option<PathBuf> {
    let list = fs::read_dir(ports).ok()?;
    let ours = list.filter_map(Result::ok).find(|entry| {
        fs::read_to_string(entry.path().join("name")).is_ok_and(|name| name.trim() == CONTROL_PORT)
    })?;
    Some(Path::new("/dev").join(ours.file_name()))
}

/// Serves one client after the other. Ends with an error when the port is no more.
fn serve(mut port: OwnedFd, machine: &Machine) -> io::Result<()> {
    loop {
        await_host(&port)?;
        port = session::serve(port, machine, RETURNS_WITHIN)?;
    }
}

/// Waits until the host's end is connected. Without one the port is readable all the time and gives nothing, so only a
/// change is worth waking for.
fn await_host(port: &OwnedFd) -> io::Result<()> {
    let changes = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&changes, port, EventData::new_u64(0), EventFlags::IN | EventFlags::OUT | EventFlags::ET)?;
    loop {
        let mut now = [PollFd::new(port, PollFlags::IN)];
        poll(&mut now, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
        let seen = now[0].revents();
        if seen.intersects(PollFlags::ERR | PollFlags::NVAL) {
            return Err(io::ErrorKind::NotConnected.into());
        }
        if !seen.contains(PollFlags::HUP) {
            return Ok(());
        }
        let mut events = Vec::<Event>::with_capacity(1);
        // Should a change be missed, it is found after a minute.
        let limit = Timespec { tv_sec: 60, tv_nsec: 0 };
        match epoll::wait(&changes, rustix::buffer::spare_capacity(&mut events), Some(&limit)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_found_by_its_name() {
        let sys = tempfile::tempdir().unwrap();
        assert_eq!(find(sys.path()), None);
        for (device, name) in [("vport0p1", "org.qemu.guest_agent.0\n"), ("vport0p2", "coracle.control\n")] {
            let directory = sys.path().join(device);
            fs::create_dir(&directory).unwrap();
            std::io::Write::write_all(
                &mut fs::File::create(directory.join("name")).unwrap(),
                name.as_bytes(),
            )
            .unwrap();
        }
        assert_eq!(find(sys.path()), Some(PathBuf::from("/dev/vport0p2")));
    }
}
