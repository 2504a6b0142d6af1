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
pub(in crate::network) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(in crate::network) const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

    /// An answer with these options.
    pub(in crate::network) fn answer(options: &[(u8, &[u8])]) -> Vec<u8> {
        let mut out = vec![0; OPTIONS_AT];
        out[..3].copy_from_slice(&[2, 1, 6]);
        out[4..8].copy_from_slice(&7_u32.to_be_bytes());
        out[16..20].copy_from_slice(&[10, 0, 2, 15]);
        out[28..34].copy_from_slice(&MAC);
        out[236..240].copy_from_slice(&COOKIE);
        for (code, value) in options {
            put(&mut out, *code, value);
        }
        out.push(option::END);
        out
    }

    #[test]
    fn an_ordinary_acknowledgement_is_read() {
        let bytes = answer(&[
            (53, &[5]),
            (54, &[10, 0, 2, 2]),
            (1, &[255, 255, 255, 0]),
            (3, &[10, 0, 2, 2]),
            (6, &[10, 0, 2, 3]),
            (42, &[10, 0, 2, 4, 10, 0, 2, 5]),
            (51, &[0, 1, 0x51, 0x80]),
            (26, &[0x05, 0xb4]),
        ]);
        let reply = Reply::parse(&bytes).unwrap();
        assert_eq!(reply.kind, Kind::Ack);
        assert_eq!((reply.transaction, reply.mac), (7, MAC));
        assert_eq!(reply.address, Ipv4Addr::new(10, 0, 2, 15));
        assert_eq!(reply.routers, [Ipv4Addr::new(10, 0, 2, 2)]);
        assert_eq!(reply.dns, [Ipv4Addr::new(10, 0, 2, 3)]);
        assert_eq!(reply.ntp.len(), 2);
        assert_eq!(reply.lease_seconds, Some(86_400));
        assert_eq!(reply.mtu, Some(1460));
        assert_eq!(reply.routes, None);
    }

    #[test]
    fn a_split_option_is_put_together() {
        let bytes = answer(&[(53, &[5]), (6, &[10, 0]), (6, &[2, 3])]);
        let reply = Reply::parse(&bytes).unwrap();
        assert_eq!(reply.dns, [Ipv4Addr::new(10, 0, 2, 3)]);
    }

    #[test]
    fn options_in_the_file_field_count_when_it_is_overloaded() {
        let mut bytes = answer(&[(53, &[5]), (52, &[1])]);
        bytes[108..114].copy_from_slice(&[51, 4, 0, 0, 0, 60]);
        bytes[114] = option::END;
        assert_eq!(Reply::parse(&bytes).unwrap().lease_seconds, Some(60));
    }

    #[test]
    fn an_option_over_the_end_spoils_the_message() {
        let mut bytes = answer(&[(53, &[5])]);
        bytes.pop();
        bytes.extend_from_slice(&[6, 200, 1]);
        assert_eq!(Reply::parse(&bytes), None);
    }

    #[test]
    fn lists_are_cut_at_their_limit() {
        let many = [10_u8; 4 * 60];
        let reply = Reply::parse(&answer(&[(53, &[5]), (6, &many)])).unwrap();
        assert_eq!(reply.dns.len(), LIST_LIMIT);
    }

    #[test]
    fn classless_routes_are_read_and_broken_ones_are_as_good_as_absent() {
        let sent = [32, 10, 128, 0, 1, 0, 0, 0, 0, 0, 10, 128, 0, 1];
        let routes = Reply::parse(&answer(&[(53, &[5]), (121, &sent)])).unwrap().routes.unwrap();
        assert_eq!(routes.len(), 2);
        assert_eq!((routes[0].destination, routes[0].prefix), (Ipv4Addr::new(10, 128, 0, 1), 32));
        assert_eq!((routes[1].prefix, routes[1].gateway), (0, Ipv4Addr::new(10, 128, 0, 1)));
        assert_eq!(parse_routes(&[33, 1, 2, 3, 4, 5, 6, 7, 8, 9]), None);
        assert_eq!(parse_routes(&[24, 10, 0, 0, 1, 2, 3]), None);
        assert_eq!(parse_routes(&[0, 1, 2, 3, 4].repeat(ROUTE_LIMIT + 1)), None);
    }

    #[test]
    fn a_discover_carries_what_a_server_needs() {
        let query = Query { ask: Ask::Discover, transaction: 7, seconds: 1, mac: MAC, hostname: "hello" };
        let bytes = query.encode();
        assert_eq!(bytes.len(), SHORTEST_BYTES);
        let options = Options::new(&bytes).unwrap();
        assert_eq!(options.get(option::KIND), [1]);
        assert_eq!(options.get(option::HOSTNAME), b"hello");
        assert_eq!(options.get(option::REQUESTED), [0_u8; 0]);
        assert!(options.get(option::PARAMETERS).contains(&option::NTP));
    }

    #[test]
    fn a_renewal_names_the_address_in_the_header_alone() {
        let query = Query {
            ask: Ask::Extend { address: Ipv4Addr::new(10, 0, 2, 15) },
            transaction: 7,
            seconds: 0,
            mac: MAC,
            hostname: "",
        };
        let bytes = query.encode();
        assert_eq!(bytes[12..16], [10, 0, 2, 15]);
        let options = Options::new(&bytes).unwrap();
        assert_eq!(options.get(option::KIND), [3]);
        assert_eq!(options.get(option::REQUESTED), [0_u8; 0]);
        assert_eq!(options.get(option::SERVER), [0_u8; 0]);
    }

    proptest! {
        #[test]
        fn no_message_makes_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(Reply::parse(&bytes).is_none() || bytes.len() > OPTIONS_AT);
        }

        #[test]
        fn no_options_make_the_parser_panic_or_exceed_a_limit(
            options in proptest::collection::vec(any::<u8>(), 0..1200),
        ) {
            let mut bytes = answer(&[(53, &[5])]);
            bytes.pop();
            bytes.extend_from_slice(&options);
            if let Some(reply) = Reply::parse(&bytes) {
                prop_assert!(reply.dns.len() <= LIST_LIMIT && reply.ntp.len() <= LIST_LIMIT);
                prop_assert!(reply.routes.is_none_or(|routes| routes.len() <= ROUTE_LIMIT));
            }
        }
    }
}
