//! rtnetlink messages: the few that this service sends and reads, as bytes (Linux `rtnetlink(7)`). No I/O.
//!
//! Lengths are checked although the kernel is the only sender: a message that does not add up ends the list.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Message types.
pub(super) mod kind {
    pub(in crate::network) const ERROR: u16 = 2;
    pub(in crate::network) const DONE: u16 = 3;
    pub(in crate::network) const NEW_LINK: u16 = 16;
    pub(in crate::network) const DEL_LINK: u16 = 17;
    pub(in crate::network) const GET_LINK: u16 = 18;
    pub(in crate::network) const NEW_ADDRESS: u16 = 20;
    pub(in crate::network) const DEL_ADDRESS: u16 = 21;
    pub(in crate::network) const GET_ADDRESS: u16 = 22;
    pub(in crate::network) const NEW_ROUTE: u16 = 24;
    pub(in crate::network) const DEL_ROUTE: u16 = 25;
    pub(in crate::network) const GET_ROUTE: u16 = 26;
    pub(in crate::network) const NEW_USER_OPTION: u16 = 68;
}

/// Request flags.
pub(super) mod flag {
    pub(in crate::network) const REQUEST: u16 = 1;
    pub(in crate::network) const ACK: u16 = 4;
    pub(in crate::network) const DUMP: u16 = 0x300;
    pub(in crate::network) const REPLACE_OR_CREATE: u16 = 0x100 | 0x400;
}

const HEADER_BYTES: usize = 16;
const ATTRIBUTE_HEADER_BYTES: usize = 4;
const ATTRIBUTE_KIND_MASK: u16 = 0x3fff;

const FAMILY_UNSPEC: u8 = 0;
const FAMILY_V4: u8 = 2;
const FAMILY_V6: u8 = 10;

const LINK_ADDRESS: u16 = 1;
const LINK_NAME: u16 = 3;
const LINK_MTU: u16 = 4;
const LINK_INFO: u16 = 18;
const LINK_INFO_KIND: u16 = 1;

const ADDRESS_ADDRESS: u16 = 1;
const ADDRESS_LOCAL: u16 = 2;
const ADDRESS_CACHE_INFO: u16 = 6;
const ADDRESS_FLAGS: u16 = 8;
const FLAG_DAD_FAILED: u32 = 0x08;
const FLAG_TENTATIVE: u32 = 0x40;
const FLAG_OPTIMISTIC: u32 = 0x04;

const ROUTE_DESTINATION: u16 = 1;
const ROUTE_OUT: u16 = 4;
const ROUTE_GATEWAY: u16 = 5;
const ROUTE_PRIORITY: u16 = 6;
const ROUTE_PREFERRED_SOURCE: u16 = 7;
const TABLE_MAIN: u8 = 254;
const SCOPE_UNIVERSE: u8 = 0;
const SCOPE_LINK: u8 = 253;
const ROUTE_UNICAST: u8 = 1;

/// `IFF_UP`: the administrator wants the link.
const LINK_UP: u32 = 0x1;
/// `IFF_LOWER_UP`: there is a carrier. (`IFF_RUNNING` says so too, but up to a second later: the kernel batches that.)
const LINK_LOWER_UP: u32 = 0x1_0000;

/// Who made a route; routes of other origins are left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Static,
    Dhcp,
}

impl Origin {
    const fn number(self) -> u8 {
        match self {
            Self::Static => 4,
            Self::Dhcp => 16,
        }
    }

    const fn from_number(number: u8) -> Option<Self> {
        match number {
            4 => Some(Self::Static),
            16 => Some(Self::Dhcp),
            _ => None,
        }
    }
}

/// One link as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LinkState {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) mac: Option<[u8; 6]>,
    pub(super) mtu: u32,
    /// `ARPHRD_…`.
    pub(super) hardware: u16,
    /// `bridge`, `veth`, `vlan` …; physical links have none.
    pub(super) kind: Option<String>,
    pub(super) up: bool,
    pub(super) carrier: bool,
}

/// One address of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) index: u32,
    pub(super) ip: IpAddr,
    pub(super) prefix: u8,
    /// Seconds, `u32::MAX` for ever.
    pub(super) valid: u32,
    /// Reaches beyond the link, and is not under or failed in duplicate address detection.
    pub(super) usable: bool,
}

/// One route of ours in the main table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) index: u32,
    pub(super) destination: IpAddr,
    pub(super) prefix: u8,
    pub(super) gateway: Option<IpAddr>,
    pub(super) source: Option<IpAddr>,
    pub(super) metric: u32,
    pub(super) origin: Origin,
}

/// What the kernel tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Link(LinkState),
    LinkGone(u32),
    Address(Address),
    AddressGone(Address),
    Route(Route),
    /// One option of a router advertisement that the kernel leaves to us.
    UserOption {
        index: u32,
        option: Vec<u8>,
    },
}

/// A request under construction.
#[derive(Debug)]
pub(super) struct Request(Vec<u8>);

impl Request {
    fn new(kind: u16, flags: u16, body: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags | flag::REQUEST).to_ne_bytes());
        bytes.extend_from_slice(body);
        Self(bytes)
    }

    fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(ATTRIBUTE_HEADER_BYTES + value.len()).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// The datagram, with its length and sequence number.
    pub(super) fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0
    }

    /// All links, or all addresses or routes of IPv4 and IPv6 (`kind::GET_…`).
    pub(super) fn dump(kind: u16) -> Self {
        Self::new(kind, flag::DUMP, &[0; 16])
    }

    /// Brings a link up and, if `mtu` is given, sets that first.
    pub(super) fn link_up(index: u32, mtu: Option<u32>) -> Self {
        let mut body = [0; 16];
        body[4..8].copy_from_slice(&index.to_ne_bytes());
        body[8..12].copy_from_slice(&LINK_UP.to_ne_bytes());
        body[12..16].copy_from_slice(&LINK_UP.to_ne_bytes());
        let request = Self::new(kind::NEW_LINK, flag::ACK, &body);
        match mtu {
            Some(mtu) => request.attribute(LINK_MTU, &mtu.to_ne_bytes()),
            None => request,
        }
    }

    /// Adds an address or renews its lifetime.
    pub(super) fn add_address(address: &Address) -> Self {
        Self::address(kind::NEW_ADDRESS, flag::ACK | flag::REPLACE_OR_CREATE, address)
    }

    /// Removes an address.
    pub(super) fn delete_address(address: &Address) -> Self {
        Self::address(kind::DEL_ADDRESS, flag::ACK, address)
    }

    fn address(kind: u16, flags: u16, address: &Address) -> Self {
        let mut body = [0; 8];
        body[0] = family(address.ip);
        body[1] = address.prefix;
        body[4..8].copy_from_slice(&address.index.to_ne_bytes());
        let mut cache_info = [0; 16];
        cache_info[..4].copy_from_slice(&address.valid.to_ne_bytes());
        cache_info[4..8].copy_from_slice(&address.valid.to_ne_bytes());
        let ip = octets(address.ip);
        Self::new(kind, flags, &body)
            .attribute(ADDRESS_LOCAL, &ip)
            .attribute(ADDRESS_ADDRESS, &ip)
            .attribute(ADDRESS_CACHE_INFO, &cache_info)
    }

    /// Adds a route or replaces the one to the same destination with the same metric.
    pub(super) fn add_route(route: &Route) -> Self {
        Self::route(kind::NEW_ROUTE, flag::ACK | flag::REPLACE_OR_CREATE, route)
    }

    /// Removes a route.
    pub(super) fn delete_route(route: &Route) -> Self {
        Self::route(kind::DEL_ROUTE, flag::ACK, route)
    }

    fn route(kind: u16, flags: u16, route: &Route) -> Self {
        let scope =
            if route.gateway.is_none() && route.destination.is_ipv4() { SCOPE_LINK } else { SCOPE_UNIVERSE };
        let mut body = [0; 12];
        body[0] = family(route.destination);
        body[1] = route.prefix;
        body[4] = TABLE_MAIN;
        body[5] = route.origin.number();
        body[6] = scope;
        body[7] = ROUTE_UNICAST;
        let mut request = Self::new(kind, flags, &body)
            .attribute(ROUTE_DESTINATION, &octets(route.destination))
            .attribute(ROUTE_OUT, &route.index.to_ne_bytes())
            .attribute(ROUTE_PRIORITY, &route.metric.to_ne_bytes());
        if let Some(gateway) = route.gateway {
            request = request.attribute(ROUTE_GATEWAY, &octets(gateway));
        }
        if let Some(source) = route.source {
            request = request.attribute(ROUTE_PREFERRED_SOURCE, &octets(source));
        }
        request
    }
}

fn family(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => FAMILY_V4,
        IpAddr::V6(_) => FAMILY_V6,
    }
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// One message of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) sequence: u32,
    pub(super) body: &'a [u8],
}

/// The messages of a datagram.
pub(super) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
        let body = bytes.get(HEADER_BYTES..length)?;
        let message = Message { kind: u16_at(bytes, 4)?, sequence: u32_at(bytes, 8)?, body };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// The attributes behind a message's fixed part.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & ATTRIBUTE_KIND_MASK;
        let value = bytes.get(ATTRIBUTE_HEADER_BYTES..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The error number in an `ERROR` message: 0 acknowledges.
pub(super) fn error_number(body: &[u8]) -> Option<i32> {
    let bytes = body.first_chunk::<4>()?;
    i32::from_ne_bytes(*bytes).checked_neg()
}

/// What a message tells, `None` if it is nothing of interest.
pub(super) fn parse(message: &Message<'_>) -> Option<Event> {
    match message.kind {
        kind::NEW_LINK => parse_link(message.body).map(Event::Link),
        kind::DEL_LINK => parse_link(message.body).map(|link| Event::LinkGone(link.index)),
        kind::NEW_ADDRESS => parse_address(message.body).map(Event::Address),
        kind::DEL_ADDRESS => parse_address(message.body).map(Event::AddressGone),
        kind::NEW_ROUTE => parse_route(message.body).map(Event::Route),
        kind::NEW_USER_OPTION => parse_user_option(message.body),
        _ => None,
    }
}

fn parse_link(body: &[u8]) -> Option<LinkState> {
    // Bridge ports are reported a second time, under their own family.
    if *body.first()? != FAMILY_UNSPEC {
        return None;
    }
    let flags = u32_at(body, 8)?;
    let mut link = LinkState {
        index: u32_at(body, 4)?,
        name: String::new(),
        mac: None,
        mtu: 0,
        hardware: u16_at(body, 2)?,
        kind: None,
        up: flags & LINK_UP != 0,
        carrier: flags & LINK_UP != 0 && flags & LINK_LOWER_UP != 0,
    };
    for (kind, value) in attributes(body.get(16..)?) {
        match kind {
            LINK_ADDRESS => link.mac = value.try_into().ok(),
            LINK_NAME => link.name = text(value)?,
            LINK_MTU => link.mtu = u32_at(value, 0)?,
            LINK_INFO => {
                link.kind = attributes(value)
                    .find(|(kind, _)| *kind == LINK_INFO_KIND)
                    .and_then(|(_, value)| text(value));
            }
            _ => {}
        }
    }
    (!link.name.is_empty()).then_some(link)
}

fn parse_address(body: &[u8]) -> Option<Address> {
    let family = *body.first()?;
    let scope = *body.get(3)?;
    let mut flags = u32::from(*body.get(2)?);
    let (mut address, mut local, mut valid) = (None, None, u32::MAX);
    for (kind, value) in attributes(body.get(8..)?) {
        match kind {
            ADDRESS_ADDRESS => address = ip(family, value),
            ADDRESS_LOCAL => local = ip(family, value),
            ADDRESS_FLAGS => flags = u32_at(value, 0)?,
            ADDRESS_CACHE_INFO => valid = u32_at(value, 4)?,
            _ => {}
        }
    }
    let settled = flags & (FLAG_TENTATIVE | FLAG_DAD_FAILED) == 0 || flags & FLAG_OPTIMISTIC != 0;
    Some(Address {
        index: u32_at(body, 4)?,
        ip: local.or(address)?,
        prefix: *body.get(1)?,
        valid,
        usable: scope < SCOPE_LINK && settled,
    })
}

/// Unicast routes of the main table made by this service; everything else is none of its business.
fn parse_route(body: &[u8]) -> Option<Route> {
    let family = *body.first()?;
    if body.get(4) != Some(&TABLE_MAIN) || body.get(7) != Some(&ROUTE_UNICAST) {
        return None;
    }
    let mut route = Route {
        index: 0,
        destination: match family {
            FAMILY_V4 => Ipv4Addr::UNSPECIFIED.into(),
            FAMILY_V6 => Ipv6Addr::UNSPECIFIED.into(),
            _ => return None,
        },
        prefix: *body.get(1)?,
        gateway: None,
        source: None,
        metric: 0,
        origin: Origin::from_number(*body.get(5)?)?,
    };
    for (kind, value) in attributes(body.get(12..)?) {
        match kind {
            ROUTE_DESTINATION => route.destination = ip(family, value)?,
            ROUTE_OUT => route.index = u32_at(value, 0)?,
            ROUTE_GATEWAY => route.gateway = ip(family, value),
            ROUTE_PRIORITY => route.metric = u32_at(value, 0)?,
            ROUTE_PREFERRED_SOURCE => route.source = ip(family, value),
            _ => {}
        }
    }
    Some(route)
}

/// `struct nduseroptmsg`: family, padding, length of the option, interface, then the option behind 16 bytes.
fn parse_user_option(body: &[u8]) -> Option<Event> {
    let length = usize::from(u16_at(body, 2)?);
    let option = body.get(16..)?.get(..length)?.to_vec();
    let index = u32_at(body, 4)?;
    (*body.first()? == FAMILY_V6).then_some(Event::UserOption { index, option })
}

fn ip(family: u8, value: &[u8]) -> Option<IpAddr> {
    match family {
        FAMILY_V4 => Some(<[u8; 4]>::try_from(value).ok()?.into()),
        FAMILY_V6 => Some(<[u8; 16]>::try_from(value).ok()?.into()),
        _ => None,
    }
}

fn text(value: &[u8]) -> Option<String> {
    let value = value.strip_suffix(&[0]).unwrap_or(value);
    str::from_utf8(value).ok().map(str::to_owned)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_ne_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests;
