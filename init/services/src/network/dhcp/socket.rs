//! The sockets of a DHCP client: frames while there is no address, UDP once there is one.

use super::frame::{self, CLIENT_PORT, FRAME_BYTES, SERVER_PORT};
use super::message::{LARGEST_BYTES, Reply};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, bind, recv, send,
    setsockopt, socket, sockopt,
};
use socket2::{SockFilter, SockRef};
use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

/// Datagrams taken in one turn of the loop.
const DATAGRAMS_PER_TURN: usize = 32;

/// What a client listens on.
#[derive(Debug)]
pub(in crate::network) enum Socket {
    /// Ethernet frames of one link.
    Frames(OwnedFd),
    /// UDP port 68 on one link.
    Udp(UdpSocket),
}

impl Socket {
    /// Hears and sends frames on the link of that name and index.
    pub(in crate::network) fn frames(name: &str, index: u32) -> io::Result<Self> {
        let address = link_address(name, index)?;
        let fd = socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::EthIp,
        )?;
        SockRef::from(&fd).attach_filter(&to_client_port())?;
        bind(fd.as_raw_fd(), &address)?;
        Ok(Self::Frames(fd))
    }

    /// Hears and sends datagrams on the link of that name, whatever its address is.
    pub(in crate::network) fn udp(name: &str) -> io::Result<Self> {
        let fd = socket(
            AddressFamily::Inet,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            None,
        )?;
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
        setsockopt(&fd, sockopt::Broadcast, &true)?;
        setsockopt(&fd, sockopt::BindToDevice, &OsString::from(name))?;
        bind(fd.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, CLIENT_PORT))?;
        Ok(Self::Udp(UdpSocket::from(fd)))
    }

    pub(in crate::network) fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Frames(fd) => fd.as_fd(),
            Self::Udp(socket) => socket.as_fd(),
        }
    }

    /// Sends a message to everybody on the link, from no address.
    pub(in crate::network) fn broadcast(&self, mac: [u8; 6], message: &[u8]) -> io::Result<()> {
        match self {
            Self::Frames(fd) => {
                let frame = frame::build(mac, message);
                send(fd.as_raw_fd(), &frame, MsgFlags::MSG_DONTWAIT)?;
                Ok(())
            }
            Self::Udp(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Sends a message to a server, from the link's address.
    pub(in crate::network) fn send(&self, to: Ipv4Addr, message: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.send_to(message, (to, SERVER_PORT)).map(drop),
            Self::Frames(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// The well-formed answers that have come in.
    pub(in crate::network) fn receive(&self) -> io::Result<Vec<Reply>> {
        let mut replies = Vec::new();
        let mut buffer = [0; FRAME_BYTES];
        for _ in 0..DATAGRAMS_PER_TURN {
            let received = match self {
                Self::Frames(fd) => recv(fd.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT)
                    .map_err(io::Error::from)
                    .map(|length| buffer.get(..length).and_then(frame::parse)),
                Self::Udp(socket) => socket.recv_from(&mut buffer).map(|(length, from)| {
                    let whole = length <= LARGEST_BYTES && from.port() == SERVER_PORT;
                    buffer.get(..length).filter(|_| whole)
                }),
            };
            match received {
                Ok(payload) => replies.extend(payload.and_then(Reply::parse)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // An answer to an earlier datagram (port unreachable): fetched, nothing else to do.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionRefused
                    ) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(replies)
    }
}

/// The link-layer address of a link, which is what a packet socket is bound to.
fn link_address(name: &str, index: u32) -> io::Result<LinkAddr> {
    nix::ifaddrs::getifaddrs()?
        .filter(|interface| interface.interface_name == name)
        .filter_map(|interface| interface.address?.as_link_addr().copied())
        .find(|address| u32::try_from(address.ifindex()) == Ok(index))
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Lets through unfragmented IPv4 UDP to port 68 and nothing else, before it costs us anything.
fn to_client_port() -> [SockFilter; 11] {
    const LOAD_HALF: u16 = 0x28;
    const LOAD_BYTE: u16 = 0x30;
    const LOAD_HALF_INDEXED: u16 = 0x48;
    const LOAD_HEADER_LENGTH: u16 = 0xb1;
    const JUMP_EQUAL: u16 = 0x15;
    const JUMP_ANY_BIT: u16 = 0x45;
    const RETURN: u16 = 0x06;
    [
        SockFilter::new(LOAD_HALF, 0, 0, 12),
        SockFilter::new(JUMP_EQUAL, 0, 8, 0x0800),
        SockFilter::new(LOAD_BYTE, 0, 0, 23),
        SockFilter::new(JUMP_EQUAL, 0, 6, 17),
        SockFilter::new(LOAD_HALF, 0, 0, 20),
        SockFilter::new(JUMP_ANY_BIT, 4, 0, 0x1fff),
        SockFilter::new(LOAD_HEADER_LENGTH, 0, 0, 14),
        SockFilter::new(LOAD_HALF_INDEXED, 0, 0, 16),
        SockFilter::new(JUMP_EQUAL, 0, 1, u32::from(CLIENT_PORT)),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}
