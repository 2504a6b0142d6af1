//! The main loop: events and time in, links and addresses out.

use super::dhcp::Millis;
use super::dhcp::client::{Action, Client, Listen};
use super::files::Files;
use super::kernel::{Heard, Kernel};
use super::managed::{Managed, Presence, is_ready};
use super::netlink::{Event, LinkState, kind};
use super::resolver::{NameServer, ntp_list, resolv_conf};
use super::select::{Backing, choose};
use super::{rdnss, sysctl};
use crate::ServiceError;
use crate::ipc::Message;
use crate::link::Link;
use crate::status::{Level, Lines, Log};
use coracle_format::device::{DeviceConfig, Ipv4, Network};
use rustix::rand::{GetRandomFlags, getrandom};
use rustix::time::{ClockId, clock_gettime};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

/// Links looked after at most; more are a mistake or an attack.
const LINK_LIMIT: usize = 32;
/// Longest host name sent to a DHCP server.
const HOSTNAME_BYTES: usize = 63;

/// The service's state.
#[derive(Debug)]
pub(super) struct Service {
    config: Network,
    hostname: String,
    pub(super) kernel: Kernel,
    files: Files,
    pub(super) log: Log,
    pub(super) links: BTreeMap<u32, Managed>,
    /// What PID 1 has not been told yet, first one first.
    untold: Vec<Message>,
    ready: bool,
    told: bool,
}

impl Service {
    pub(super) fn new(config: DeviceConfig, kernel: Kernel, files: Files, log: Log) -> Self {
        Self {
            hostname: hostname(&config.hostname),
            config: config.network,
            kernel,
            files,
            log,
            links: BTreeMap::new(),
            untold: Vec::new(),
            ready: false,
            told: false,
        }
    }

    /// Turns until PID 1 says stop.
    pub(super) fn run(&mut self, mut line: Link) -> Result<(), ServiceError> {
        self.ask_everything()?;
        loop {
            self.wake();
            self.publish();
            self.tell(&line);
            let wake = self
                .wait(&mut line)
                .map_err(|source| ServiceError::System { action: "wait for events", source })?;
            if wake.stop {
                return Ok(());
            }
            if wake.kernel {
                self.hear()?;
            }
            for index in wake.links {
                self.receive(index);
            }
        }
    }

    fn wait(&self, line: &mut Link) -> io::Result<Turn> {
        let mut fds: Vec<BorrowedFd<'_>> = vec![self.kernel.fd()];
        let mut indexes = Vec::new();
        for (index, managed) in &self.links {
            if let Some(socket) = &managed.socket {
                fds.push(socket.fd());
                indexes.push(*index);
            }
        }
        let due = self.links.values().filter_map(Managed::deadline).min();
        let retry = (!self.untold.is_empty()).then_some(100);
        let pause = due.map(|due| due.saturating_sub(now()));
        let timeout = pause.into_iter().chain(retry).min();
        let wake = line.wait(&fds, timeout.map(Duration::from_millis))?;
        let mut ready = wake.ready.iter().copied();
        Ok(Turn {
            stop: wake.stop(),
            kernel: ready.next().unwrap_or(false),
            links: indexes
                .into_iter()
                .zip(ready)
                .filter_map(|(index, ready)| ready.then_some(index))
                .collect(),
        })
    }

    /// Asks for all links and addresses: at the start, and when events were lost.
    fn ask_everything(&mut self) -> Result<(), ServiceError> {
        let links = self.dump(kind::GET_LINK)?;
        let there: BTreeSet<u32> = links
            .iter()
            .filter_map(|event| match event {
                Event::Link(link) => Some(link.index),
                Event::LinkGone(_)
                | Event::Address(_)
                | Event::AddressGone(_)
                | Event::Route(_)
                | Event::UserOption { .. } => None,
            })
            .collect();
        self.links.retain(|index, _| there.contains(index));
        for event in links {
            self.handle(event);
        }
        for managed in self.links.values_mut() {
            managed.addresses.clear();
        }
        for event in self.dump(kind::GET_ADDRESS)? {
            self.handle(event);
        }
        Ok(())
    }

    fn dump(&mut self, what: u16) -> Result<Vec<Event>, ServiceError> {
        self.kernel.dump(what).map_err(|source| ServiceError::System {
            action: "ask the kernel for links and addresses",
            source,
        })
    }

    fn hear(&mut self) -> Result<(), ServiceError> {
        let heard = self
            .kernel
            .events()
            .map_err(|source| ServiceError::System { action: "hear the kernel's events", source })?;
        match heard {
            Heard::Lost => self.ask_everything(),
            Heard::Events(events) => {
                for event in events {
                    self.handle(event);
                }
                Ok(())
            }
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Link(link) => self.note_link(link),
            Event::LinkGone(index) => {
                if let Some(gone) = self.links.remove(&index) {
                    self.log.notice(&format!("{}: gone", gone.link.name));
                }
            }
            Event::Address(address) => {
                if let Some(managed) = self.links.get_mut(&address.index) {
                    managed.note_address(address, Presence::There);
                }
            }
            Event::AddressGone(address) => {
                if let Some(managed) = self.links.get_mut(&address.index) {
                    managed.note_address(address, Presence::Gone);
                }
            }
            Event::UserOption { index, option } => {
                if let Some(managed) = self.links.get_mut(&index)
                    && let Some((seconds, servers)) = rdnss::parse(&option)
                {
                    managed.servers.hear(now(), seconds, &servers);
                }
            }
            Event::Route(_) => {}
        }
    }

    fn note_link(&mut self, link: LinkState) {
        let index = link.index;
        if let Some(managed) = self.links.get_mut(&index) {
            let carrier = (managed.link.carrier, link.carrier);
            managed.link = link;
            match carrier {
                (false, true) => self.carrier_found(index),
                (true, false) => self.carrier_lost(index),
                (true, true) | (false, false) => {}
            }
        } else if link.name == "lo" {
            if !link.up {
                self.bring_up(&link, None);
            }
        } else if self.links.len() < LINK_LIMIT {
            let backing = backing(&link.name);
            if let Some(position) = choose(&self.config.interfaces, &link, backing) {
                self.manage(link, position);
            }
        }
    }

    /// Starts to look after a link.
    fn manage(&mut self, link: LinkState, position: usize) {
        let interface = self.config.interfaces[position].clone();
        let client = link
            .mac
            .filter(|_| interface.ipv4 == Ipv4::Dhcp)
            .map(|mac| Client::new(mac, self.hostname.clone(), seed()));
        if let Err(error) = sysctl::apply(&link.name, &interface.ipv6) {
            let text = format!("{}: cannot set up IPv6: {error}", link.name);
            self.log.warning(&text);
        }
        let mtu = Some(interface.mtu).filter(|mtu| *mtu != 0 && *mtu != link.mtu);
        self.bring_up(&link, mtu);
        let (index, carrier) = (link.index, link.carrier);
        self.links.insert(index, Managed::new(link, interface, client));
        self.set_fixed(index);
        if carrier {
            self.carrier_found(index);
        }
    }

    fn bring_up(&mut self, link: &LinkState, mtu: Option<u32>) {
        let mut result = self.kernel.link_up(link.index, mtu);
        if let (Err(error), Some(mtu)) = (&result, mtu) {
            let text = format!("{}: cannot set the MTU {mtu}: {error}", link.name);
            self.log.error(&text);
            result = self.kernel.link_up(link.index, None);
        }
        if let Err(error) = result {
            let text = format!("{}: cannot bring it up: {error}", link.name);
            self.log.error(&text);
        }
    }

    fn set_fixed(&mut self, index: u32) {
        let Some(managed) = self.links.get(&index) else {
            return;
        };
        let ipv4 = managed
            .fixed_ipv4()
            .map_or(Ok(()), |(address, routes)| self.kernel.settle_ipv4(index, &[address], &routes));
        let ipv6 = managed.fixed_ipv6().map_or(Ok(()), |(address, route)| {
            self.kernel.add_address(&address)?;
            route.map_or(Ok(()), |route| self.kernel.add_route(&route))
        });
        if let Err(error) = ipv4.and(ipv6) {
            let text = format!("{}: cannot set its address: {error}", managed.link.name);
            self.log.error(&text);
        }
    }

    fn carrier_found(&mut self, index: u32) {
        let Some(managed) = self.links.get_mut(&index) else {
            return;
        };
        managed.lost = None;
        self.log.info(&format!("{}: carrier", managed.link.name));
        if let Some(client) = &mut managed.client {
            let actions = client.start(now());
            self.perform(index, actions);
        }
    }

    fn carrier_lost(&mut self, index: u32) {
        let Some(managed) = self.links.get_mut(&index) else {
            return;
        };
        managed.lost = Some(now());
        self.log.notice(&format!("{}: no carrier", managed.link.name));
        if let Some(client) = &mut managed.client {
            client.stop();
            managed.socket = None;
            managed.listens = Listen::Nowhere;
        }
    }

    /// Does what is due.
    fn wake(&mut self) {
        let now = now();
        let due: Vec<u32> = self
            .links
            .iter()
            .filter(|(_, managed)| managed.deadline().is_some_and(|due| due <= now))
            .map(|(index, _)| *index)
            .collect();
        for index in due {
            let Some(managed) = self.links.get_mut(&index) else {
                continue;
            };
            managed.servers.expire(now);
            if managed.is_given_up(now) {
                managed.lost = None;
                managed.servers.clear();
                if managed.client.is_some() {
                    self.perform(index, vec![Action::Unbind]);
                }
            } else if let Some(client) = &mut managed.client {
                let actions = client.wake(now);
                self.perform(index, actions);
            }
        }
    }

    /// Writes what others read. A failure is logged and the next change tries again.
    fn publish(&mut self) {
        self.ready = self.ready || is_ready(&self.config.interfaces, self.links.values());
        let mut lines = Lines::new();
        lines.add("ready", if self.ready { "yes" } else { "no" });
        for managed in self.links.values() {
            managed.describe(&mut lines);
        }
        let all = || self.links.values();
        let mut servers: Vec<NameServer> = all().flat_map(Managed::leased_dns).collect();
        servers.extend(all().flat_map(Managed::advertised_dns));
        servers.extend(
            self.config.dns.iter().map(|address| NameServer { address: *address, link: String::new() }),
        );
        for server in &servers {
            lines.add("dns", server.address);
        }
        let ntp: Vec<_> = all()
            .filter_map(|managed| managed.held.as_ref())
            .flat_map(|held| held.lease.ntp.iter().map(|server| (*server).into()))
            .collect();
        let text = resolv_conf(&servers, &self.config.search);
        if let Err(error) = self.files.publish(text, ntp_list(&ntp), lines) {
            self.log.failure(Level::Error, &error);
        }
    }

    /// Tells PID 1, once, that the network is up.
    fn tell(&mut self, line: &Link) {
        if self.ready && !self.told {
            self.told = true;
            self.untold = vec![Message::Milestone("network".to_owned()), Message::Ready];
        }
        while let Some(message) = self.untold.first() {
            match line.send(message) {
                Ok(()) => drop(self.untold.remove(0)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    self.log.error(&format!("cannot tell PID 1: {error}"));
                    self.untold.clear();
                }
            }
        }
    }
}

/// What a turn of the loop has to do.
struct Turn {
    stop: bool,
    kernel: bool,
    links: Vec<u32>,
}

fn backing(name: &str) -> Backing {
    // The kernel lets no link be called `.`, `..` or anything with a slash.
    if Path::new("/sys/class/net").join(name).join("device").exists() {
        Backing::Device
    } else {
        Backing::Software
    }
}

/// The host name to send: the declared one, or what PID 1 has made of it. Empty if it is not fit to be sent.
fn hostname(declared: &str) -> String {
    let name = if declared.is_empty() {
        let uname = rustix::system::uname();
        uname.nodename().to_string_lossy().into_owned()
    } else {
        declared.to_owned()
    };
    let fit = !name.is_empty()
        && name.len() <= HOSTNAME_BYTES
        && name != "localhost"
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    if fit { name } else { String::new() }
}

/// Milliseconds since the start, suspended time included.
pub(super) fn now() -> Millis {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = Millis::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1000 + Millis::try_from(time.tv_nsec / 1_000_000).unwrap_or(0)
}

/// Keeps clients apart; need not be secret, so it does not wait for the kernel's generator.
fn seed() -> u64 {
    let mut bytes = [0; 8];
    match getrandom(&mut bytes, GetRandomFlags::INSECURE) {
        Ok(_) => u64::from_ne_bytes(bytes),
        Err(_) => now(),
    }
}
