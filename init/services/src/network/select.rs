//! Which declared interface applies to a link. No I/O.

use super::netlink::LinkState;
use coracle_format::device::{Interface, Select};

/// `ARPHRD_ETHER`.
const HARDWARE_ETHERNET: u16 = 1;

/// Whether a link is a device or made by software.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backing {
    /// It has a device behind it.
    Device,
    /// A bridge, a tunnel, one end of a pair…
    Software,
}

/// The position of the first interface that applies to a link.
pub(super) fn choose(interfaces: &[Interface], link: &LinkState, backing: Backing) -> Option<usize> {
    interfaces.iter().position(|interface| match &interface.select {
        Select::AnyEthernet => {
            link.hardware == HARDWARE_ETHERNET && link.kind.is_none() && backing == Backing::Device
        }
        Select::Name(name) => *name == link.name,
        Select::Mac(mac) => link.mac == Some(*mac) && link.kind.is_none(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use coracle_format::device::{Ipv4, Ipv6};

    fn link(name: &str) -> LinkState {
        LinkState {
            index: 2,
            name: name.to_owned(),
            mac: Some([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
            hardware: 1,
            kind: None,
            up: false,
            carrier: false,
        }
    }

    fn interfaces(selects: Vec<Select>) -> Vec<Interface> {
        selects
            .into_iter()
            .map(|select| Interface { select, ipv4: Ipv4::Dhcp, ipv6: Ipv6::Slaac, mtu: 0 })
            .collect()
    }

    #[test]
    fn the_first_that_matches_applies() {
        let all = interfaces(vec![
            Select::Mac([2, 0, 0, 0, 0, 9]),
            Select::Name("eth1".to_owned()),
            Select::AnyEthernet,
        ]);
        assert_eq!(choose(&all, &link("eth1"), Backing::Device), Some(1));
        assert_eq!(choose(&all, &link("eth0"), Backing::Device), Some(2));
    }

    #[test]
    fn bridges_pairs_and_other_hardware_are_no_physical_ethernet() {
        let all = interfaces(vec![Select::AnyEthernet]);
        assert_eq!(choose(&all, &link("br0"), Backing::Software), None);
        let mut vlan = link("eth0.5");
        vlan.kind = Some("vlan".to_owned());
        assert_eq!(choose(&all, &vlan, Backing::Device), None);
        let mut loopback = link("lo");
        loopback.hardware = 772;
        assert_eq!(choose(&all, &loopback, Backing::Software), None);
    }

    #[test]
    fn a_vlan_does_not_answer_to_the_hardware_address_of_its_parent() {
        let all = interfaces(vec![Select::Mac([2, 0, 0, 0, 0, 1])]);
        let mut vlan = link("eth0.5");
        vlan.kind = Some("vlan".to_owned());
        assert_eq!(choose(&all, &vlan, Backing::Software), None);
        assert_eq!(choose(&all, &link("eth0"), Backing::Device), Some(0));
    }
}
