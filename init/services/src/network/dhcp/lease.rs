//! The judgement of what a server offers: anybody on the link can be one. No I/O, no clock.

use super::message::{Reply, SentRoute};
use std::fmt;
use std::net::Ipv4Addr;

/// Shorter leases would have the client do little else than renew.
const SHORTEST_SECONDS: u32 = 30;
/// No server is believed for longer without being asked again, unless the lease has no end.
const LONGEST_SECONDS: u32 = 30 * 24 * 3600;
/// The earliest renewal.
const EARLIEST_RENEWAL_SECONDS: u32 = 10;
/// A larger subnet would put a good part of the Internet on the local link.
const SMALLEST_PREFIX: u8 = 8;
/// IPv6 needs at least this (RFC 8200); smaller ones make the device all but useless.
const SMALLEST_MTU: u16 = 1280;

/// How long an address may be used and when it is asked for again, in seconds from the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::network) enum Term {
    /// For ever.
    Endless,
    Ends {
        renew: u32,
        rebind: u32,
        end: u32,
    },
}

/// A route that came with a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::network) struct LeaseRoute {
    pub(in crate::network) destination: Ipv4Addr,
    pub(in crate::network) prefix: u8,
    /// `None`: on the link itself.
    pub(in crate::network) gateway: Option<Ipv4Addr>,
}

/// An offer or acknowledgement that makes sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::network) struct Lease {
    pub(in crate::network) address: Ipv4Addr,
    pub(in crate::network) prefix: u8,
    pub(in crate::network) server: Ipv4Addr,
    /// In the order in which they must be added: a gateway's own route stands before those through it.
    pub(in crate::network) routes: Vec<LeaseRoute>,
    pub(in crate::network) dns: Vec<Ipv4Addr>,
    pub(in crate::network) ntp: Vec<Ipv4Addr>,
    pub(in crate::network) mtu: Option<u16>,
    pub(in crate::network) term: Term,
}

impl Lease {
    /// The default gateway.
    pub(in crate::network) fn gateway(&self) -> Option<Ipv4Addr> {
        self.routes.iter().find(|route| route.prefix == 0).and_then(|route| route.gateway)
    }

    /// What a reply grants, or why it is refused. What can be left out (a gateway that cannot be reached, a name server
    /// that is none) is left out; what cannot (the address, its subnet, the term, the server) must be right.
    pub(in crate::network) fn judge(reply: &Reply) -> Result<Self, Refused> {
        let server = reply.server.filter(|server| is_host(*server));
        let server = server.ok_or(Refused::Server)?;
        let address = reply.address;
        if !is_host(address) {
            return Err(Refused::Address(address));
        }
        let prefix = match reply.netmask {
            Some(mask) => prefix_of(mask).ok_or(Refused::Netmask(mask))?,
            None => prefix_by_class(address),
        };
        if is_edge(address, prefix) {
            return Err(Refused::Address(address));
        }
        Ok(Self {
            address,
            prefix,
            server,
            routes: routes(reply, prefix),
            dns: hosts(&reply.dns),
            ntp: hosts(&reply.ntp),
            mtu: reply.mtu.filter(|mtu| *mtu >= SMALLEST_MTU),
            term: term(reply)?,
        })
    }
}

/// Why a reply was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::network) enum Refused {
    Server,
    Address(Ipv4Addr),
    Netmask(Ipv4Addr),
    Term(Option<u32>),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server => f.write_str("the server does not say who it is"),
            Self::Address(address) => write!(f, "{address} is no address for a host"),
            Self::Netmask(mask) => write!(f, "{mask} is no netmask for a subnet"),
            Self::Term(None) => f.write_str("the lease has no term"),
            Self::Term(Some(seconds)) => write!(f, "a lease of {seconds} s is too short"),
        }
    }
}

/// Whether one host can have this address: not 0/8, loopback, link-local, multicast or beyond.
pub(in crate::network) const fn is_host(address: Ipv4Addr) -> bool {
    let first = address.octets()[0];
    first != 0 && first < 224 && !address.is_loopback() && !address.is_link_local()
}

fn hosts(addresses: &[Ipv4Addr]) -> Vec<Ipv4Addr> {
    let mut hosts: Vec<Ipv4Addr> = Vec::new();
    for address in addresses {
        if is_host(*address) && !hosts.contains(address) {
            hosts.push(*address);
        }
    }
    hosts
}

/// The prefix length of a contiguous netmask that is not too short.
fn prefix_of(mask: Ipv4Addr) -> Option<u8> {
    let bits = mask.to_bits();
    let prefix = u8::try_from(bits.leading_ones()).ok()?;
    let contiguous = bits.count_ones() == bits.leading_ones();
    (contiguous && prefix >= SMALLEST_PREFIX).then_some(prefix)
}

/// What a missing netmask means (RFC 950).
const fn prefix_by_class(address: Ipv4Addr) -> u8 {
    match address.octets()[0] {
        0..=127 => 8,
        128..=191 => 16,
        192..=255 => 24,
    }
}

/// The netmask of a prefix length of at most 32.
fn mask_of(prefix: u8) -> u32 {
    u32::MAX.checked_shr(u32::from(prefix)).map_or(u32::MAX, |host| !host)
}

/// Whether an address is the subnet's own or its broadcast address. Subnets of one or two have neither (RFC 3021).
fn is_edge(address: Ipv4Addr, prefix: u8) -> bool {
    let host = address.to_bits() & !mask_of(prefix);
    prefix < 31 && (host == 0 || host == !mask_of(prefix))
}

fn is_within(address: Ipv4Addr, network: Ipv4Addr, prefix: u8) -> bool {
    address.to_bits() & mask_of(prefix) == network.to_bits() & mask_of(prefix)
}

/// The routes of option 121, or else the first usable router. A gateway outside the subnet is used only where the subnet
/// is the host alone (as some clouds do) or option 121 says that it is on the link.
fn routes(reply: &Reply, prefix: u8) -> Vec<LeaseRoute> {
    let sent = match &reply.routes {
        Some(routes) => routes.clone(),
        None => reply
            .routers
            .iter()
            .find(|router| is_reachable(**router, reply.address, prefix, &[]))
            .map(|gateway| SentRoute { destination: Ipv4Addr::UNSPECIFIED, prefix: 0, gateway: *gateway })
            .into_iter()
            .collect(),
    };
    let mut routes: Vec<LeaseRoute> = sent
        .iter()
        .filter(|route| route.gateway.is_unspecified() && is_target(route))
        .map(|route| LeaseRoute { destination: route.destination, prefix: route.prefix, gateway: None })
        .collect();
    let mut through = Vec::new();
    for route in sent.iter().filter(|route| is_target(route)) {
        if !is_reachable(route.gateway, reply.address, prefix, &routes) {
            continue;
        }
        if !is_within(route.gateway, reply.address, prefix) {
            push_new(&mut routes, route.gateway, 32, None);
        }
        push_new(&mut through, route.destination, route.prefix, Some(route.gateway));
    }
    routes.append(&mut through);
    routes
}

/// The first route to a destination counts.
fn push_new(routes: &mut Vec<LeaseRoute>, destination: Ipv4Addr, prefix: u8, gateway: Option<Ipv4Addr>) {
    if !routes.iter().any(|route| (route.destination, route.prefix) == (destination, prefix)) {
        routes.push(LeaseRoute { destination, prefix, gateway });
    }
}

/// Everything, or a network of hosts with nothing set behind its prefix; nothing wide straight onto the link.
fn is_target(route: &SentRoute) -> bool {
    let clean = route.destination.to_bits() & !mask_of(route.prefix) == 0;
    let everything = route.prefix == 0 && !route.gateway.is_unspecified();
    let network = route.prefix >= SMALLEST_PREFIX && is_host(route.destination);
    // Half of everything, and the like: common where a default route is to be outdone without replacing it.
    let wide = (1..SMALLEST_PREFIX).contains(&route.prefix) && !route.gateway.is_unspecified();
    clean && (everything || network || wide)
}

fn is_reachable(gateway: Ipv4Addr, own: Ipv4Addr, prefix: u8, on_link: &[LeaseRoute]) -> bool {
    let inside = is_within(gateway, own, prefix) && !is_edge(gateway, prefix);
    let named = on_link.iter().any(|route| is_within(gateway, route.destination, route.prefix));
    is_host(gateway) && gateway != own && (inside || prefix == 32 || named)
}

/// Terms as RFC 2131 has them; renewal times that are missing or out of order get the usual ones.
fn term(reply: &Reply) -> Result<Term, Refused> {
    let end = match reply.lease_seconds {
        Some(u32::MAX) => return Ok(Term::Endless),
        Some(seconds) if seconds >= SHORTEST_SECONDS => seconds.min(LONGEST_SECONDS),
        other => return Err(Refused::Term(other)),
    };
    let (half, most) = (end / 2, end / 8 * 7);
    Ok(match (reply.renew_seconds, reply.rebind_seconds) {
        (Some(renew), Some(rebind))
            if renew >= EARLIEST_RENEWAL_SECONDS && renew < rebind && rebind < end =>
        {
            Term::Ends { renew, rebind, end }
        }
        (None | Some(_), None | Some(_)) => Term::Ends { renew: half, rebind: most, end },
    })
}

#[cfg(test)]
pub(in crate::network) mod tests;
