use super::*;
use proptest::prelude::*;

fn only(bytes: &[u8]) -> Message<'_> {
    let mut all = messages(bytes);
    let first = all.next().unwrap();
    assert_eq!(all.next(), None);
    first
}

#[test]
fn a_route_that_is_written_is_read_back() {
    let route = Route {
        index: 2,
        destination: Ipv4Addr::UNSPECIFIED.into(),
        prefix: 0,
        gateway: Some(Ipv4Addr::new(10, 0, 2, 2).into()),
        source: Some(Ipv4Addr::new(10, 0, 2, 15).into()),
        metric: 102,
        origin: Origin::Dhcp,
    };
    let bytes = Request::add_route(&route).finish(7);
    let message = only(&bytes);
    assert_eq!(message.sequence, 7);
    assert_eq!(parse(&message), Some(Event::Route(route)));
}

#[test]
fn an_address_that_is_written_is_read_back() {
    let address = Address { index: 3, ip: "fec0::2".parse().unwrap(), prefix: 64, valid: 3600, usable: true };
    let bytes = Request::add_address(&address).finish(1);
    assert_eq!(parse(&only(&bytes)), Some(Event::Address(address)));
}

#[test]
fn a_tentative_address_is_not_usable() {
    let address =
        Address { index: 3, ip: "2001:db8::2".parse().unwrap(), prefix: 64, valid: u32::MAX, usable: true };
    let mut bytes = Request::add_address(&address).finish(1);
    bytes[HEADER_BYTES + 2] = 0x40;
    let Some(Event::Address(read)) = parse(&only(&bytes)) else {
        panic!("an address is read as an address");
    };
    assert!(!read.usable);
}

#[test]
fn a_link_message_names_the_link_and_its_kind() {
    let mut body = [0; 16];
    body[2..4].copy_from_slice(&1_u16.to_ne_bytes());
    body[4..8].copy_from_slice(&5_u32.to_ne_bytes());
    body[8..12].copy_from_slice(&(LINK_UP | LINK_LOWER_UP).to_ne_bytes());
    let kind_attribute = Request(Vec::new()).attribute(LINK_INFO_KIND, b"veth\0").0;
    let bytes = Request::new(kind::NEW_LINK, 0, &body)
        .attribute(LINK_ADDRESS, &[2, 0, 0, 0, 0, 1])
        .attribute(LINK_NAME, b"eth0\0")
        .attribute(LINK_MTU, &1500_u32.to_ne_bytes())
        .attribute(LINK_INFO | 0x8000, &kind_attribute)
        .finish(0);
    let expected = LinkState {
        index: 5,
        name: "eth0".to_owned(),
        mac: Some([2, 0, 0, 0, 0, 1]),
        mtu: 1500,
        hardware: 1,
        kind: Some("veth".to_owned()),
        up: true,
        carrier: true,
    };
    assert_eq!(parse(&only(&bytes)), Some(Event::Link(expected)));
}

#[test]
fn a_router_option_is_handed_on_with_its_interface() {
    let mut body = vec![0; 16];
    body[0] = FAMILY_V6;
    body[2..4].copy_from_slice(&3_u16.to_ne_bytes());
    body[4..8].copy_from_slice(&9_u32.to_ne_bytes());
    body.extend_from_slice(&[25, 1, 7, 0]);
    let event = Event::UserOption { index: 9, option: vec![25, 1, 7] };
    assert_eq!(parse_user_option(&body), Some(event));
    assert_eq!(parse_user_option(&body[..18]), None);
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic_or_loop(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let events: Vec<_> = messages(&bytes).map(|message| parse(&message)).collect();
        prop_assert!(events.len() <= bytes.len());
    }

    #[test]
    fn no_body_makes_a_parser_panic(
        kind in prop_oneof![Just(16_u16), Just(17), Just(20), Just(21), Just(24), Just(68)],
        body in proptest::collection::vec(any::<u8>(), 0..120),
    ) {
        let message = Message { kind, sequence: 0, body: &body };
        let event = parse(&message);
        prop_assert!(event.is_none() || !body.is_empty());
    }
}
