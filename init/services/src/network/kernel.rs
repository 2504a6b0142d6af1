//! The kernel's side: what links, addresses and routes there are, and making them as they should be.

use super::netlink::{Address, Event, Request, Route, error_number, kind, messages, parse};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, sendto,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

/// Larger than any datagram the kernel makes (it uses at most 32 KiB for dumps).
const BUFFER_BYTES: usize = 64 << 10;
/// Datagrams taken in one turn of the loop.
const DATAGRAMS_PER_TURN: usize = 64;
/// How long the kernel may take to answer a request; it answers at once.
const ANSWER_SECONDS: i64 = 5;
/// `RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV6_IFADDR`, and group 20, `RTNLGRP_ND_USEROPT`.
const GROUPS: u32 = 0x1 | 0x10 | 0x100 | 1 << 19;

/// Two rtnetlink sockets: one hears events, one asks.
#[derive(Debug)]
pub(super) struct Kernel {
    events: OwnedFd,
    requests: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

/// What [`Kernel::events`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Events(Vec<Event>),
    /// Events were lost: everything must be asked for again.
    Lost,
}

impl Kernel {
    pub(super) fn open() -> io::Result<Self> {
        let events = open_socket(SockFlag::SOCK_NONBLOCK, GROUPS)?;
        let requests = open_socket(SockFlag::empty(), 0)?;
        let timeout = TimeVal::seconds(ANSWER_SECONDS);
        setsockopt(&requests, sockopt::ReceiveTimeout, &timeout)?;
        Ok(Self { events, requests, sequence: 0, buffer: vec![0; BUFFER_BYTES] })
    }

    /// Readable when there are events.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    /// The events that have come in.
    pub(super) fn events(&mut self) -> io::Result<Heard> {
        let mut events = Vec::new();
        for _ in 0..DATAGRAMS_PER_TURN {
            match receive(&self.events, &mut self.buffer) {
                Ok(datagram) => events.extend(messages(datagram).filter_map(|m| parse(&m))),
                Err(nix::Error::EAGAIN) => break,
                Err(nix::Error::EINTR) => {}
                Err(nix::Error::ENOBUFS) => return Ok(Heard::Lost),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Heard::Events(events))
    }

    /// Everything of one kind (`kind::GET_…`).
    pub(super) fn dump(&mut self, what: u16) -> io::Result<Vec<Event>> {
        self.ask(Request::dump(what))
    }

    /// Brings a link up, with this MTU if one is given.
    pub(super) fn link_up(&mut self, index: u32, mtu: Option<u32>) -> io::Result<()> {
        self.ask(Request::link_up(index, mtu)).map(drop)
    }

    /// Makes `addresses` and `routes` the only IPv4 ones on link `index`: what is there and not wanted goes,
    /// then what is wanted is added or renewed. Routes are added in the given order.
    pub(super) fn settle_ipv4(
        &mut self,
        index: u32,
        addresses: &[Address],
        routes: &[Route],
    ) -> io::Result<()> {
        for event in self.dump(kind::GET_ROUTE)? {
            if let Event::Route(old) = event
                && old.index == index
                && old.destination.is_ipv4()
                && !routes.contains(&old)
            {
                self.tolerate(Request::delete_route(&old), nix::Error::ESRCH)?;
            }
        }
        for event in self.dump(kind::GET_ADDRESS)? {
            if let Event::Address(old) = event
                && old.index == index
                && old.ip.is_ipv4()
                && !addresses.iter().any(|new| (new.ip, new.prefix) == (old.ip, old.prefix))
            {
                self.tolerate(Request::delete_address(&old), nix::Error::EADDRNOTAVAIL)?;
            }
        }
        for address in addresses {
            self.ask(Request::add_address(address))?;
        }
        // One route that the kernel refuses must not cost the others.
        let mut result = Ok(());
        for route in routes {
            let added = self.add_route(route);
            result = result.and(added);
        }
        result
    }

    /// Adds an address beside those that are there.
    pub(super) fn add_address(&mut self, address: &Address) -> io::Result<()> {
        self.ask(Request::add_address(address)).map(drop)
    }

    /// Adds a route beside those that are there.
    pub(super) fn add_route(&mut self, route: &Route) -> io::Result<()> {
        self.ask(Request::add_route(route)).map(drop)
    }

    fn tolerate(&mut self, request: Request, harmless: nix::Error) -> io::Result<()> {
        match self.ask(request) {
            Err(error) if error.raw_os_error() == io::Error::from(harmless).raw_os_error() => Ok(()),
            other => other.map(drop),
        }
    }

    /// Sends a request and collects its answers up to the acknowledgement or the end of the dump.
    fn ask(&mut self, request: Request) -> io::Result<Vec<Event>> {
        self.sequence = self.sequence.wrapping_add(1);
        let bytes = request.finish(self.sequence);
        let kernel = NetlinkAddr::new(0, 0);
        sendto(self.requests.as_raw_fd(), &bytes, &kernel, MsgFlags::empty())?;
        let mut events = Vec::new();
        loop {
            let datagram = match receive(&self.requests, &mut self.buffer) {
                Err(nix::Error::EINTR) => continue,
                other => other?,
            };
            for message in messages(datagram) {
                // An answer to a question that timed out before.
                if message.sequence != self.sequence {
                    continue;
                }
                match message.kind {
                    kind::DONE => return Ok(events),
                    kind::ERROR => {
                        return match error_number(message.body) {
                            Some(0) => Ok(events),
                            Some(number) => Err(io::Error::from_raw_os_error(number)),
                            None => Err(io::ErrorKind::InvalidData.into()),
                        };
                    }
                    _ => events.extend(parse(&message)),
                }
            }
        }
    }
}

fn open_socket(flags: SockFlag, groups: u32) -> nix::Result<OwnedFd> {
    let fd = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        flags | SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    Ok(fd)
}

/// One datagram from the kernel; those of other senders read as empty.
fn receive<'a>(fd: &OwnedFd, buffer: &'a mut [u8]) -> nix::Result<&'a [u8]> {
    let (length, sender) = recvfrom::<NetlinkAddr>(fd.as_raw_fd(), buffer)?;
    let from_kernel = sender.is_some_and(|sender| sender.pid() == 0);
    Ok(buffer.get(..length).filter(|_| from_kernel).unwrap_or_default())
}
