//! One link that this service looks after: what is known of it and what it contributes. No I/O of its own.

use super::dhcp::Millis;
use super::dhcp::client::{Client, Held, Listen};
use super::dhcp::socket::Socket;
use super::netlink::{Address, LinkState, Origin, Route};
use super::rdnss::Servers;
use super::resolver::NameServer;
use crate::status::Lines;
use coracle_format::device::{Interface, Ipv4, Ipv6};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address stays this long without a carrier: a cable pulled and put back, a switch that restarts a port.
pub(super) const GRACE: Millis = 3_000;
/// Metrics of default routes: the link found first is preferred.
const FIRST_METRIC: u32 = 100;

/// One link.
#[derive(Debug)]
pub(super) struct Managed {
    pub(super) link: LinkState,
    pub(super) interface: Interface,
    pub(super) client: Option<Client>,
    pub(super) socket: Option<Socket>,
    /// What [`Managed::socket`] was opened for.
    pub(super) listens: Listen,
    /// The lease whose address is on the link.
    pub(super) held: Option<Held>,
    /// When the carrier was lost, until the address has gone.
    pub(super) lost: Option<Millis>,
    pub(super) servers: Servers,
    /// Addresses that can be used.
    pub(super) addresses: Vec<Address>,
}

impl Managed {
    pub(super) fn new(link: LinkState, interface: Interface, client: Option<Client>) -> Self {
        Self {
            link,
            interface,
            client,
            socket: None,
            listens: Listen::Nowhere,
            held: None,
            lost: None,
            servers: Servers::default(),
            addresses: Vec::new(),
        }
    }

    /// Notes an address that has come, changed or gone.
    pub(super) fn note_address(&mut self, address: Address, present: Presence) {
        self.addresses.retain(|known| (known.ip, known.prefix) != (address.ip, address.prefix));
        if present == Presence::There && address.usable {
            self.addresses.push(address);
        }
    }

    /// When something is due.
    pub(super) fn deadline(&self) -> Option<Millis> {
        let client = self.client.as_ref().and_then(Client::deadline);
        let grace = self.lost.map(|lost| lost.saturating_add(GRACE));
        [client, grace, self.servers.deadline()].into_iter().flatten().min()
    }

    /// Whether the address must go because the carrier has been away for too long.
    pub(super) fn is_given_up(&self, now: Millis) -> bool {
        self.lost.is_some_and(|lost| now >= lost.saturating_add(GRACE))
    }

    fn metric(&self) -> u32 {
        FIRST_METRIC.saturating_add(self.link.index)
    }

    /// The address and routes of a lease.
    pub(super) fn leased(&self, held: &Held, now: Millis) -> (Address, Vec<Route>) {
        let lease = &held.lease;
        let address = self.address(lease.address.into(), lease.prefix, held.seconds_left(now));
        let routes = lease.routes.iter().map(|route| Route {
            index: self.link.index,
            destination: route.destination.into(),
            prefix: route.prefix,
            gateway: route.gateway.map(IpAddr::V4),
            source: Some(lease.address.into()),
            metric: self.metric(),
            origin: Origin::Dhcp,
        });
        (address, routes.collect())
    }

    /// The fixed IPv4 address and default route, if there are any.
    pub(super) fn fixed_ipv4(&self) -> Option<(Address, Vec<Route>)> {
        match self.interface.ipv4 {
            Ipv4::Off | Ipv4::Dhcp => None,
            Ipv4::Static { address, prefix, gateway } => Some((
                self.address(address.into(), prefix, u32::MAX),
                gateway.map(|gateway| self.default_route(gateway.into())).into_iter().collect(),
            )),
        }
    }

    /// The fixed IPv6 address and default route, if there are any.
    pub(super) fn fixed_ipv6(&self) -> Option<(Address, Option<Route>)> {
        match self.interface.ipv6 {
            Ipv6::Off | Ipv6::Slaac => None,
            Ipv6::Static { address, prefix, gateway } => Some((
                self.address(address.into(), prefix, u32::MAX),
                gateway.map(|gateway| self.default_route(gateway.into())),
            )),
        }
    }

    fn address(&self, ip: IpAddr, prefix: u8, valid: u32) -> Address {
        Address { index: self.link.index, ip, prefix, valid, usable: true }
    }

    fn default_route(&self, gateway: IpAddr) -> Route {
        Route {
            index: self.link.index,
            destination: match gateway {
                IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            },
            prefix: 0,
            gateway: Some(gateway),
            source: None,
            metric: self.metric(),
            origin: Origin::Static,
        }
    }

    /// The MTU that a lease asks for, where it is smaller than the link's and the manifest leaves it open.
    pub(super) fn smaller_mtu(&self, held: &Held) -> Option<u32> {
        held.lease.mtu.map(u32::from).filter(|mtu| self.interface.mtu == 0 && *mtu < self.link.mtu)
    }

    /// The name servers that DHCP has brought.
    pub(super) fn leased_dns(&self) -> impl Iterator<Item = NameServer> + '_ {
        let dns = self.held.iter().flat_map(|held| &held.lease.dns);
        dns.map(|address| self.name_server((*address).into()))
    }

    /// The name servers that routers have named.
    pub(super) fn advertised_dns(&self) -> impl Iterator<Item = NameServer> + '_ {
        self.servers.iter().map(|address| self.name_server(address.into()))
    }

    fn name_server(&self, address: IpAddr) -> NameServer {
        NameServer { address, link: self.link.name.clone() }
    }

    /// This link's lines in the status file.
    pub(super) fn describe(&self, lines: &mut Lines) {
        let name = &self.link.name;
        let word = if self.link.carrier { "yes" } else { "no" };
        lines.add("interface", name);
        lines.add(&format!("{name}.carrier"), word);
        for address in &self.addresses {
            let text = format!("{}/{}", address.ip, address.prefix);
            lines.add(&format!("{name}.address"), text);
        }
        if let Some(held) = &self.held {
            if let Some(gateway) = held.lease.gateway() {
                lines.add(&format!("{name}.gateway"), gateway);
            }
            lines.add(&format!("{name}.dhcp_server"), held.lease.server);
            // Seconds of CLOCK_BOOTTIME, as everything in the kernel log.
            let end = held.end.map_or_else(|| "never".to_owned(), |end| (end / 1000).to_string());
            lines.add(&format!("{name}.lease_end"), end);
        } else if let Ipv4::Static { gateway: Some(gateway), .. } = self.interface.ipv4 {
            lines.add(&format!("{name}.gateway"), gateway);
        }
    }
}

/// Whether an address is on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    There,
    Gone,
}

/// Whether the network is up: an address can be used, or none was asked for.
pub(super) fn is_ready<'a>(declared: &[Interface], mut links: impl Iterator<Item = &'a Managed>) -> bool {
    let wanted = declared.iter().any(|interface| interface.ipv4 != Ipv4::Off || interface.ipv6 != Ipv6::Off);
    !wanted || links.any(|link| !link.addresses.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use coracle_format::device::Select;

    fn managed(ipv4: Ipv4, ipv6: Ipv6) -> Managed {
        let link = LinkState {
            index: 2,
            name: "eth0".to_owned(),
            mac: Some([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
            hardware: 1,
            kind: None,
            up: true,
            carrier: true,
        };
        let interface = Interface { select: Select::AnyEthernet, ipv4, ipv6, mtu: 0 };
        Managed::new(link, interface, None)
    }

    fn address(usable: bool) -> Address {
        Address { index: 2, ip: "fec0::15".parse().unwrap(), prefix: 64, valid: 86_400, usable }
    }

    #[test]
    fn the_network_is_up_when_an_address_is_no_longer_tentative() {
        let mut link = managed(Ipv4::Off, Ipv6::Slaac);
        let declared = [link.interface.clone()];
        link.note_address(address(false), Presence::There);
        assert!(!is_ready(&declared, [&link].into_iter()));
        link.note_address(address(true), Presence::There);
        assert!(is_ready(&declared, [&link].into_iter()));
        link.note_address(address(true), Presence::Gone);
        assert!(!is_ready(&declared, [&link].into_iter()));
    }

    #[test]
    fn a_network_that_nobody_wants_is_up_at_once() {
        let declared = [managed(Ipv4::Off, Ipv6::Off).interface];
        assert!(is_ready(&declared, [].into_iter()));
        assert!(is_ready(&[], [].into_iter()));
    }

    #[test]
    fn an_address_is_given_up_after_the_grace_and_not_before() {
        let mut link = managed(Ipv4::Dhcp, Ipv6::Off);
        link.lost = Some(10_000);
        assert_eq!(link.deadline(), Some(13_000));
        assert!(!link.is_given_up(12_999));
        assert!(link.is_given_up(13_000));
    }

    #[test]
    fn a_fixed_address_brings_its_default_route() {
        let fixed = Ipv4::Static {
            address: Ipv4Addr::new(192, 0, 2, 7),
            prefix: 24,
            gateway: Some(Ipv4Addr::new(192, 0, 2, 1)),
        };
        let (address, routes) = managed(fixed, Ipv6::Off).fixed_ipv4().unwrap();
        assert_eq!((address.prefix, address.valid), (24, u32::MAX));
        assert_eq!(routes.len(), 1);
        assert_eq!((routes[0].prefix, routes[0].metric), (0, 102));
    }

    #[test]
    fn status_names_the_link_its_addresses_and_its_gateway() {
        let fixed = Ipv4::Static {
            address: Ipv4Addr::new(192, 0, 2, 7),
            prefix: 24,
            gateway: Some(Ipv4Addr::new(192, 0, 2, 1)),
        };
        let mut link = managed(fixed, Ipv6::Slaac);
        link.note_address(address(true), Presence::There);
        let mut lines = Lines::new();
        link.describe(&mut lines);
        assert_eq!(
            lines.as_str(),
            "interface=eth0\neth0.carrier=yes\neth0.address=fec0::15/64\neth0.gateway=192.0.2.1\n"
        );
    }
}
