//! DHCP messages as bytes (RFC 2131, section 2; options RFC 2132, 3396, 3442). No I/O, no judgement.

use std::net::Ipv4Addr;

/// The option part starts behind the fixed fields and the magic cookie.
const OPTIONS_AT: usize = 240;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// BOOTP relays may drop shorter messages.
const SHORTEST_BYTES: usize = 300;
/// The largest message that a server may send us, announced and enforced.
pub(in crate::network) const LARGEST_BYTES: usize = 1472;
/// Addresses taken from a list of name or time servers or routers.
const LIST_LIMIT: usize = 4;
/// Routes taken from option 121.
const ROUTE_LIMIT: usize = 32;
/// What the server may read about the kind of client.
const VENDOR_CLASS: &[u8] = b"coracle";

mod option {
    pub(super) const PAD: u8 = 0;
    pub(super) const NETMASK: u8 = 1;
    pub(super) const ROUTER: u8 = 3;
    pub(super) const DNS: u8 = 6;
    pub(super) const HOSTNAME: u8 = 12;
    pub(super) const MTU: u8 = 26;
    pub(super) const NTP: u8 = 42;
    pub(super) const REQUESTED: u8 = 50;
    pub(super) const LEASE: u8 = 51;
    pub(super) const OVERLOAD: u8 = 52;
    pub(super) const KIND: u8 = 53;
    pub(super) const SERVER: u8 = 54;
    pub(super) const PARAMETERS: u8 = 55;
    pub(super) const LARGEST: u8 = 57;
    pub(super) const RENEW: u8 = 58;
    pub(super) const REBIND: u8 = 59;
    pub(super) const VENDOR: u8 = 60;
    pub(super) const CLIENT: u8 = 61;
    pub(super) const ROUTES: u8 = 121;
    pub(super) const END: u8 = 255;
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::network) enum Ask {
    /// Who has an address for me?
    Discover,
    /// I take the one offered by this server.
    Select { address: Ipv4Addr, server: Ipv4Addr },
    /// I had this one: is it still mine here?
    Reboot { address: Ipv4Addr },
    /// I have it: may I keep it?
    Extend { address: Ipv4Addr },
}

/// A message to a server.
#[derive(Clone, Copy, Debug)]
pub(in crate::network) struct Query<'a> {
    pub(in crate::network) ask: Ask,
    pub(in crate::network) transaction: u32,
    /// Seconds since the client began.
    pub(in crate::network) seconds: u16,
    pub(in crate::network) mac: [u8; 6],
    /// Sent if not empty.
    pub(in crate::network) hostname: &'a str,
}

impl Query<'_> {
    /// The message.
    pub(in crate::network) fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; OPTIONS_AT];
        out[..3].copy_from_slice(&[1, 1, 6]);
        out[4..8].copy_from_slice(&self.transaction.to_be_bytes());
        out[8..10].copy_from_slice(&self.seconds.to_be_bytes());
        if let Ask::Extend { address } = self.ask {
            out[12..16].copy_from_slice(&address.octets());
        }
        out[28..34].copy_from_slice(&self.mac);
        out[236..240].copy_from_slice(&COOKIE);

        let kind = if self.ask == Ask::Discover { 1 } else { 3 };
        put(&mut out, option::KIND, &[kind]);
        let mut client = [1; 7];
        client[1..].copy_from_slice(&self.mac);
        put(&mut out, option::CLIENT, &client);
        match self.ask {
            Ask::Discover | Ask::Extend { .. } => {}
            Ask::Select { address, server } => {
                put(&mut out, option::REQUESTED, &address.octets());
                put(&mut out, option::SERVER, &server.octets());
            }
            Ask::Reboot { address } => put(&mut out, option::REQUESTED, &address.octets()),
        }
        let largest = u16::try_from(LARGEST_BYTES).unwrap_or(u16::MAX);
        put(&mut out, option::LARGEST, &largest.to_be_bytes());
        put(&mut out, option::VENDOR, VENDOR_CLASS);
        if !self.hostname.is_empty() {
            put(&mut out, option::HOSTNAME, self.hostname.as_bytes());
        }
        // Option 121 stands before 3: a server that sends either sends the better one (RFC 3442).
        let wanted = [
            option::NETMASK,
            option::ROUTES,
            option::ROUTER,
            option::DNS,
            option::MTU,
            option::NTP,
            option::RENEW,
            option::REBIND,
        ];
        put(&mut out, option::PARAMETERS, &wanted);
        out.push(option::END);
        out.resize(out.len().max(SHORTEST_BYTES), 0);
        out
    }
}

/// Adds an option; a value too long for one is cut.
fn put(out: &mut Vec<u8>, code: u8, value: &[u8]) {
    let length = u8::try_from(value.len()).unwrap_or(u8::MAX);
    out.extend_from_slice(&[code, length]);
    out.extend(value.iter().take(usize::from(length)));
}

/// What kind of answer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::network) enum Kind {
    Offer,
    Ack,
    Nak,
}

/// A route of option 121, as sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::network) struct SentRoute {
    pub(in crate::network) destination: Ipv4Addr,
    pub(in crate::network) prefix: u8,
    pub(in crate::network) gateway: Ipv4Addr,
}

/// A server's answer: well-formed, and nothing more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::network) struct Reply {
    pub(in crate::network) kind: Kind,
    pub(in crate::network) transaction: u32,
    pub(in crate::network) mac: [u8; 6],
    pub(in crate::network) address: Ipv4Addr,
    pub(in crate::network) server: Option<Ipv4Addr>,
    pub(in crate::network) netmask: Option<Ipv4Addr>,
    pub(in crate::network) routers: Vec<Ipv4Addr>,
    /// `None`: the option is absent. Not well-formed reads as absent.
    pub(in crate::network) routes: Option<Vec<SentRoute>>,
    pub(in crate::network) dns: Vec<Ipv4Addr>,
    pub(in crate::network) ntp: Vec<Ipv4Addr>,
    pub(in crate::network) mtu: Option<u16>,
    pub(in crate::network) lease_seconds: Option<u32>,
    pub(in crate::network) renew_seconds: Option<u32>,
    pub(in crate::network) rebind_seconds: Option<u32>,
}

impl Reply {
    /// Parses a message; `None` if it is not a well-formed answer.
    pub(in crate::network) fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > LARGEST_BYTES || bytes.get(..3)? != [2, 1, 6] {
            return None;
        }
        if bytes.get(236..OPTIONS_AT)? != COOKIE {
            return None;
        }
        let options = Options::new(bytes)?;
        Some(Self {
            kind: match options.get(option::KIND)[..] {
                [2] => Kind::Offer,
                [5] => Kind::Ack,
                [6] => Kind::Nak,
                _ => return None,
            },
            transaction: u32::from_be_bytes(*bytes.get(4..)?.first_chunk()?),
            mac: *bytes.get(28..)?.first_chunk()?,
            address: Ipv4Addr::from(*bytes.get(16..)?.first_chunk::<4>()?),
            server: options.address(option::SERVER),
            netmask: options.address(option::NETMASK),
            routers: options.addresses(option::ROUTER),
            routes: parse_routes(&options.get(option::ROUTES)),
            dns: options.addresses(option::DNS),
            ntp: options.addresses(option::NTP),
            mtu: options.get(option::MTU)[..].try_into().ok().map(u16::from_be_bytes),
            lease_seconds: options.seconds(option::LEASE),
            renew_seconds: options.seconds(option::RENEW),
            rebind_seconds: options.seconds(option::REBIND),
        })
    }
}

/// The option areas of a message: the options proper and, if they are overloaded, the file and server name fields.
struct Options<'a>(Vec<&'a [u8]>);

impl<'a> Options<'a> {
    /// `None` if an option runs over the end of its area.
    fn new(bytes: &'a [u8]) -> Option<Self> {
        let mut this = Self(vec![bytes.get(OPTIONS_AT..)?]);
        let (file, name) = match this.get(option::OVERLOAD)[..] {
            [1] => (true, false),
            [2] => (false, true),
            [3] => (true, true),
            _ => (false, false),
        };
        if file {
            this.0.push(bytes.get(108..236)?);
        }
        if name {
            this.0.push(bytes.get(44..108)?);
        }
        this.0.iter().all(|area| Walk(area).all(|option| option.is_some())).then_some(this)
    }

    /// The value of an option; one that was split over several is put together (RFC 3396). Empty if it is absent.
    fn get(&self, code: u8) -> Vec<u8> {
        let mut value = Vec::new();
        for (_, part) in
            self.0.iter().flat_map(|area| Walk(area)).flatten().filter(|(found, _)| *found == code)
        {
            value.extend_from_slice(part);
        }
        value
    }

    fn address(&self, code: u8) -> Option<Ipv4Addr> {
        let bytes: [u8; 4] = self.get(code)[..].try_into().ok()?;
        Some(bytes.into())
    }

    fn addresses(&self, code: u8) -> Vec<Ipv4Addr> {
        let value = self.get(code);
        let (whole, _) = value.as_chunks::<4>();
        whole.iter().take(LIST_LIMIT).map(|bytes| Ipv4Addr::from(*bytes)).collect()
    }

    fn seconds(&self, code: u8) -> Option<u32> {
        self.get(code)[..].try_into().ok().map(u32::from_be_bytes)
    }
}

/// Walks over an option area. An option that runs over the end is `None` and the last.
struct Walk<'a>(&'a [u8]);

impl<'a> Iterator for Walk<'a> {
    type Item = Option<(u8, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (&code, rest) = self.0.split_first()?;
            match code {
                option::PAD => self.0 = rest,
                option::END => return None,
                _ => {
                    let value = rest
                        .split_first()
                        .and_then(|(length, rest)| rest.split_at_checked(usize::from(*length)));
                    self.0 = value.map_or(&[], |(_, rest)| rest);
                    return Some(value.map(|(value, _)| (code, value)));
                }
            }
        }
    }
}

/// RFC 3442: prefix length, the octets of the destination that count, gateway.
fn parse_routes(mut bytes: &[u8]) -> Option<Vec<SentRoute>> {
    let mut routes = Vec::new();
    while let Some((&prefix, rest)) = bytes.split_first() {
        if prefix > 32 || routes.len() == ROUTE_LIMIT {
            return None;
        }
        let octets = usize::from(prefix).div_ceil(8);
        let (destination, rest) = rest.split_at_checked(octets)?;
        let (gateway, rest) = rest.split_first_chunk::<4>()?;
        let mut padded = [0; 4];
        padded[..octets].copy_from_slice(destination);
        routes.push(SentRoute { destination: padded.into(), prefix, gateway: (*gateway).into() });
        bytes = rest;
    }
    (!routes.is_empty()).then_some(routes)
}

#[cfg(test)]
pub(in crate::network) mod tests;
