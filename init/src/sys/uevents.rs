//! The kernel's announcements of devices.

use crate::fault::{Attempt, Fault};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, socket,
};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// The kernel's multicast group; the other one is udev's.
const KERNEL_GROUP: u32 = 1;
/// Longer messages than the kernel ever sends.
pub const MESSAGE_BYTES: usize = 4096;

/// A socket on which the kernel announces devices, from the moment it is opened.
#[derive(Debug)]
pub struct Uevents(OwnedFd);

/// What a look at the socket brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A message of this many bytes.
    Message(usize),
    /// Some were lost: look at all devices again.
    Lost,
    /// Nothing more at present.
    Nothing,
}

impl Uevents {
    /// Starts to listen.
    pub fn open() -> Result<Self, Fault> {
        let listen = || {
            let fd = socket(
                AddressFamily::Netlink,
                SockType::Datagram,
                SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
                SockProtocol::NetlinkKObjectUEvent,
            )?;
            bind(fd.as_raw_fd(), &NetlinkAddr::new(0, KERNEL_GROUP)).map(|()| Self(fd))
        };
        listen().attempt("listen to", "device events")
    }

    /// Takes the next message, never waiting for one. What was not sent by the kernel is passed over.
    pub fn next(&self, buffer: &mut [u8; MESSAGE_BYTES]) -> Heard {
        loop {
            match recvfrom::<NetlinkAddr>(self.0.as_raw_fd(), buffer) {
                Ok((length, Some(sender))) if sender.pid() == 0 => return Heard::Message(length),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::ENOBUFS) => return Heard::Lost,
                Err(_) => return Heard::Nothing,
            }
        }
    }
}

impl AsFd for Uevents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
