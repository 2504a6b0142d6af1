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
