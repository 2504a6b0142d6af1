//! The writer has no network: it moves to an empty network namespace before it touches a byte from outside.

use crate::error::{Error, Kind, Result};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};

/// Leaves the network for good, with all processes started from now on. Sockets that are open stay as they are.
pub fn leave_network() -> Result<()> {
    let left = match unshare(CloneFlags::CLONE_NEWNET) {
        // Tried by hand, without root: in a user namespace of its own, anyone may.
        Err(Errno::EPERM) => unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET),
        other => other,
    };
    left.map_err(|error| {
        Error::new(Kind::Internal, "cannot leave the network before writing")
            .because(error)
            .hint("the kernel must have network namespaces; nothing was touched")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};

    #[test]
    fn who_has_left_the_network_reaches_not_even_its_own_machine() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        TcpStream::connect(address).unwrap();
        // A namespace belongs to a thread and what it starts.
        let outcome = std::thread::spawn(move || {
            leave_network().map(|()| {
                let udp = UdpSocket::bind("0.0.0.0:0").and_then(|udp| udp.send_to(b"x", address));
                (TcpStream::connect(address).is_err(), udp.is_err())
            })
        });
        match outcome.join().unwrap() {
            Ok(cut_off) => assert_eq!(cut_off, (true, true)),
            // Without root, a thread of many cannot make a user namespace; the refusal is then what counts.
            Err(error) => assert_eq!(error.to_string(), "cannot leave the network before writing"),
        }
    }
}
