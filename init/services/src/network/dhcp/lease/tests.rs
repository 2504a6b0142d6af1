use super::super::message::{Kind, tests::MAC};
use super::*;
use proptest::prelude::*;

fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

pub(in crate::network) fn reply() -> Reply {
    Reply {
        kind: Kind::Ack,
        transaction: 7,
        mac: MAC,
        address: ip("10.0.2.15"),
        server: Some(ip("10.0.2.2")),
        netmask: Some(ip("255.255.255.0")),
        routers: vec![ip("10.0.2.2")],
        routes: None,
        dns: vec![ip("10.0.2.3")],
        ntp: vec![],
        mtu: None,
        lease_seconds: Some(86_400),
        renew_seconds: None,
        rebind_seconds: None,
    }
}

fn default_route(gateway: &str) -> LeaseRoute {
    LeaseRoute { destination: Ipv4Addr::UNSPECIFIED, prefix: 0, gateway: Some(ip(gateway)) }
}

#[test]
fn an_ordinary_lease_is_taken_whole() {
    let lease = Lease::judge(&reply()).unwrap();
    assert_eq!((lease.address, lease.prefix), (ip("10.0.2.15"), 24));
    assert_eq!(lease.routes, [default_route("10.0.2.2")]);
    assert_eq!(lease.gateway(), Some(ip("10.0.2.2")));
    let term = Term::Ends { renew: 43_200, rebind: 75_600, end: 86_400 };
    assert_eq!(lease.term, term);
}

#[test]
fn an_address_that_no_host_can_have_is_refused() {
    for address in [
        "0.0.0.0",
        "0.1.2.3",
        "127.0.0.1",
        "169.254.1.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "10.0.2.0",
        "10.0.2.255",
    ] {
        let mut reply = reply();
        reply.address = ip(address);
        assert_eq!(Lease::judge(&reply), Err(Refused::Address(ip(address))), "{address}");
    }
}

#[test]
fn a_netmask_with_holes_or_too_wide_is_refused() {
    for mask in ["255.0.255.0", "0.0.0.0", "254.0.0.0", "0.0.0.255"] {
        let mut reply = reply();
        reply.netmask = Some(ip(mask));
        assert_eq!(Lease::judge(&reply), Err(Refused::Netmask(ip(mask))));
    }
}

#[test]
fn a_missing_netmask_goes_by_class() {
    let mut reply = reply();
    reply.netmask = None;
    assert_eq!(Lease::judge(&reply).unwrap().prefix, 8);
}

#[test]
fn a_term_that_is_missing_or_too_short_is_refused_and_a_very_long_one_cut() {
    let mut reply = reply();
    reply.lease_seconds = None;
    assert_eq!(Lease::judge(&reply), Err(Refused::Term(None)));
    reply.lease_seconds = Some(0);
    assert_eq!(Lease::judge(&reply), Err(Refused::Term(Some(0))));
    reply.lease_seconds = Some(u32::MAX - 1);
    let term = Lease::judge(&reply).unwrap().term;
    assert!(matches!(term, Term::Ends { end: LONGEST_SECONDS, .. }));
    reply.lease_seconds = Some(u32::MAX);
    assert_eq!(Lease::judge(&reply).unwrap().term, Term::Endless);
}

#[test]
fn renewal_times_out_of_order_are_replaced() {
    for (renew, rebind) in [(0, 50), (90, 80), (50, 200), (u32::MAX, u32::MAX)] {
        let mut reply = reply();
        reply.lease_seconds = Some(100);
        (reply.renew_seconds, reply.rebind_seconds) = (Some(renew), Some(rebind));
        let expected = Term::Ends { renew: 50, rebind: 84, end: 100 };
        assert_eq!(Lease::judge(&reply).unwrap().term, expected);
    }
}

#[test]
fn a_router_outside_the_subnet_is_left_out() {
    for router in ["10.0.3.1", "0.0.0.0", "224.0.0.1", "10.0.2.255", "10.0.2.15"] {
        let mut reply = reply();
        reply.routers = vec![ip(router)];
        assert_eq!(Lease::judge(&reply).unwrap().routes, [], "{router}");
    }
}

#[test]
fn a_host_alone_in_its_subnet_reaches_its_router_by_a_route_of_its_own() {
    let mut reply = reply();
    reply.netmask = Some(Ipv4Addr::BROADCAST);
    reply.routers = vec![ip("10.0.2.1")];
    let to_router = LeaseRoute { destination: ip("10.0.2.1"), prefix: 32, gateway: None };
    assert_eq!(Lease::judge(&reply).unwrap().routes, [to_router, default_route("10.0.2.1")]);
}

#[test]
fn classless_routes_replace_the_router_and_the_unreachable_ones_are_left_out() {
    let route = |destination: &str, prefix, gateway: &str| SentRoute {
        destination: ip(destination),
        prefix,
        gateway: ip(gateway),
    };
    let mut reply = reply();
    reply.routes = Some(vec![
        route("0.0.0.0", 0, "10.9.0.1"),
        route("10.9.0.1", 32, "0.0.0.0"),
        route("192.168.7.0", 24, "10.0.2.9"),
        route("192.168.8.0", 24, "172.16.0.1"),
        route("192.168.9.1", 24, "10.0.2.9"),
        route("127.0.0.0", 8, "10.0.2.9"),
        route("0.0.0.0", 0, "0.0.0.0"),
    ]);
    let lease = Lease::judge(&reply).unwrap();
    let own = LeaseRoute { destination: ip("10.9.0.1"), prefix: 32, gateway: None };
    let far = LeaseRoute { destination: ip("192.168.7.0"), prefix: 24, gateway: Some(ip("10.0.2.9")) };
    assert_eq!(lease.routes, [own, default_route("10.9.0.1"), far]);
}

#[test]
fn servers_that_are_none_and_doubles_are_left_out() {
    let mut reply = reply();
    reply.dns = vec![ip("127.0.0.1"), ip("10.0.2.3"), ip("10.0.2.3"), ip("255.255.255.255")];
    assert_eq!(Lease::judge(&reply).unwrap().dns, [ip("10.0.2.3")]);
}

#[test]
fn a_tiny_mtu_is_left_out() {
    let mut reply = reply();
    reply.mtu = Some(68);
    assert_eq!(Lease::judge(&reply).unwrap().mtu, None);
}

prop_compose! {
    fn any_reply()(
        address: u32, server: u32, mask: Option<u32>,
        mask_bits in 0_u32..=32, contiguous: bool,
        routers in proptest::collection::vec(any::<u32>(), 0..4),
        routes in proptest::option::of(proptest::collection::vec((any::<u32>(), 0_u8..=32, any::<u32>()), 0..6)),
        lease: Option<u32>, renew: Option<u32>, rebind: Option<u32>,
    ) -> Reply {
        let straight = u32::MAX.checked_shl(32 - mask_bits).unwrap_or(0);
        Reply {
            address: address.into(),
            server: Some(server.into()),
            netmask: if contiguous { Some(straight.into()) } else { mask.map(Into::into) },
            routers: routers.into_iter().map(Into::into).collect(),
            routes: routes.map(|routes| {
                routes
                    .into_iter()
                    .map(|(to, prefix, gateway)| SentRoute {
                        destination: to.into(), prefix, gateway: gateway.into(),
                    })
                    .collect()
            }),
            lease_seconds: lease,
            renew_seconds: renew,
            rebind_seconds: rebind,
            ..reply()
        }
    }
}

proptest! {
    #[test]
    fn what_is_accepted_makes_sense(reply in any_reply()) {
        if let Ok(lease) = Lease::judge(&reply) {
            prop_assert!(is_host(lease.address) && is_host(lease.server));
            prop_assert!((SMALLEST_PREFIX..=32).contains(&lease.prefix));
            if let Term::Ends { renew, rebind, end } = lease.term {
                prop_assert!(renew >= EARLIEST_RENEWAL_SECONDS);
                prop_assert!(renew < rebind && rebind < end && end <= LONGEST_SECONDS);
            }
            for (index, route) in lease.routes.iter().enumerate() {
                prop_assert!(route.destination.to_bits() & !mask_of(route.prefix) == 0);
                if let Some(gateway) = route.gateway {
                    let before = &lease.routes[..index];
                    prop_assert!(is_reachable(gateway, lease.address, lease.prefix, before));
                }
            }
        }
    }
}
