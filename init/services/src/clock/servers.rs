//! Which time servers to ask: declared names and what DHCP has brought, as addresses.

use super::sample::Nanos;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::{IpAddr, ToSocketAddrs as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;

pub(super) const NTP_PORT: u16 = 123;
/// Addresses asked at a time: enough to outvote a liar.
pub(super) const LIMIT: usize = 4;
/// Names looked up.
const NAME_LIMIT: usize = 8;
/// The largest list that is read.
const LIST_BYTES: u64 = 4096;
/// Longest name.
const NAME_BYTES: usize = 253;

/// The names to look up: declared ones first, then those in the list of the network service.
pub(super) fn names(declared: &[String], list: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let listed = list.lines().map(str::trim);
    for name in declared.iter().map(String::as_str).chain(listed) {
        let fit = !name.is_empty() && name.len() <= NAME_BYTES;
        if fit && names.len() < NAME_LIMIT && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// The network service's list; empty if there is none.
pub(super) fn read_list(path: &str) -> String {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(LIST_BYTES).read_to_string(&mut text));
    match read {
        Ok(_) => text,
        Err(_) => String::new(),
    }
}

/// The first address of every name, then the second of every name, and so on, up to [`LIMIT`].
pub(super) fn interleave(found: &[Vec<IpAddr>]) -> Vec<IpAddr> {
    let longest = found.iter().map(Vec::len).max().unwrap_or(0);
    let mut addresses = Vec::new();
    for round in 0..longest {
        for address in found.iter().filter_map(|all| all.get(round)) {
            if addresses.len() < LIMIT && !addresses.contains(address) {
                addresses.push(*address);
            }
        }
    }
    addresses
}

/// A look-up under way. The C library's resolver may take many seconds, and heartbeats must go on: so it has a thread of
/// its own for as long as it takes.
#[derive(Debug)]
pub(super) struct Lookup {
    result: Receiver<Vec<IpAddr>>,
    /// Its other end is closed when the thread is done.
    done: UnixStream,
}

impl Lookup {
    pub(super) fn start(names: Vec<String>) -> io::Result<Self> {
        let (send, result) = channel();
        let (done, held) = UnixStream::pair()?;
        thread::Builder::new().stack_size(128 << 10).spawn(move || {
            let found: Vec<Vec<IpAddr>> = names.iter().map(|name| look_up(name)).collect();
            // Nobody waits any more if the service is ending.
            match send.send(interleave(&found)) {
                Ok(()) | Err(_) => drop(held),
            }
        })?;
        Ok(Self { result, done })
    }

    /// Readable when there is a result.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.done.as_fd()
    }

    /// The addresses, none if nothing was found; or the look-up itself while it is under way.
    pub(super) fn poll(self) -> Result<Vec<IpAddr>, Self> {
        match self.result.try_recv() {
            Ok(addresses) => Ok(addresses),
            Err(TryRecvError::Disconnected) => Ok(Vec::new()),
            Err(TryRecvError::Empty) => Err(self),
        }
    }
}

fn look_up(name: &str) -> Vec<IpAddr> {
    if let Ok(address) = name.parse() {
        return vec![address];
    }
    match (name, NTP_PORT).to_socket_addrs() {
        Ok(addresses) => addresses.take(LIMIT).map(|a| a.ip()).collect(),
        Err(_) => Vec::new(),
    }
}

/// Servers that asked not to be asked, and until when (nanoseconds since the start).
#[derive(Debug, Default)]
pub(super) struct Shunned(BTreeMap<IpAddr, Nanos>);

impl Shunned {
    /// How long a server is left alone.
    const PAUSE: Nanos = 4 * 3600 * 1_000_000_000;

    pub(super) fn add(&mut self, server: IpAddr, now: Nanos) {
        self.0.retain(|_, until| *until > now);
        self.0.insert(server, now.saturating_add(Self::PAUSE));
    }

    pub(super) fn allows(&self, server: &IpAddr, now: Nanos) -> bool {
        self.0.get(server).is_none_or(|until| *until <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn declared_names_come_first_and_each_once() {
        let declared = ["time.example".to_owned(), "192.0.2.1".to_owned()];
        let names = names(&declared, "192.0.2.1\n192.0.2.2\n\n");
        assert_eq!(names, ["time.example", "192.0.2.1", "192.0.2.2"]);
    }

    #[test]
    fn a_flood_of_names_is_cut() {
        let list: Vec<String> = (0..100).map(|n| format!("192.0.2.{n}")).collect();
        assert_eq!(names(&[], &list.join("\n")).len(), NAME_LIMIT);
    }

    #[test]
    fn every_name_gets_a_turn_before_any_gets_a_second() {
        let found = [vec![ip(1), ip(2), ip(3), ip(4)], vec![], vec![ip(9), ip(1), ip(8)]];
        assert_eq!(interleave(&found), [ip(1), ip(9), ip(2), ip(3)]);
    }

    #[test]
    fn a_look_up_of_addresses_needs_no_resolver() {
        let lookup = Lookup::start(vec!["192.0.2.7".to_owned(), "2001:db8::7".to_owned()]);
        let lookup = lookup.unwrap();
        let mut fds = [PollFd::new(lookup.fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::NONE).unwrap();
        let addresses = lookup.poll().unwrap();
        assert_eq!(addresses, [ip(7), "2001:db8::7".parse().unwrap()]);
    }

    #[test]
    fn a_server_that_asked_for_it_is_left_alone_for_a_while() {
        let mut shunned = Shunned::default();
        shunned.add(ip(1), 1_000);
        assert!(!shunned.allows(&ip(1), 2_000));
        assert!(shunned.allows(&ip(2), 2_000));
        assert!(shunned.allows(&ip(1), 1_000 + Shunned::PAUSE));
    }
}
