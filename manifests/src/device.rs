//! The parts of the device configuration that follow from the manifest alone.

use crate::{
    manifest::{Interface, Manifest},
    values::{Ipv4Setting, Ipv6Setting, LinkMatch},
};
use coracle_format::device;

/// The network of the device configuration.
pub fn device_network(manifest: &Manifest) -> device::Network {
    let network = &manifest.network;
    device::Network {
        interfaces: network.interfaces.iter().map(device_interface).collect(),
        dns: network.dns.clone(),
        search: network.search.iter().map(|name| name.as_str().to_owned()).collect(),
    }
}

/// The NTP servers of the device configuration.
pub fn device_ntp(manifest: &Manifest) -> Vec<String> {
    manifest.ntp.iter().map(|server| server.as_str().to_owned()).collect()
}

fn device_interface(interface: &Interface) -> device::Interface {
    device::Interface {
        select: match &interface.select {
            LinkMatch::Any => device::Select::AnyEthernet,
            LinkMatch::Name(name) => device::Select::Name(name.clone()),
            LinkMatch::Mac(mac) => device::Select::Mac(*mac),
        },
        ipv4: match interface.ipv4 {
            Ipv4Setting::Off => device::Ipv4::Off,
            Ipv4Setting::Dhcp => device::Ipv4::Dhcp,
            Ipv4Setting::Static { address, prefix } => {
                device::Ipv4::Static { address, prefix, gateway: interface.ipv4_gateway }
            }
        },
        ipv6: match interface.ipv6 {
            Ipv6Setting::Off => device::Ipv6::Off,
            Ipv6Setting::Slaac => device::Ipv6::Slaac,
            Ipv6Setting::Static { address, prefix } => {
                device::Ipv6::Static { address, prefix, gateway: interface.ipv6_gateway }
            }
        },
        mtu: interface.mtu.unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const IMAGE: &str = "[image]\nname = \"x\"\nversion = \"1\"\narch = \"x86_64\"\n";

    fn manifest(text: &str) -> Manifest {
        crate::parse(&format!("{IMAGE}{text}"), Path::new("x.toml"))
            .unwrap_or_else(|faults| panic!("{}", faults.render()))
    }

    #[test]
    fn without_a_network_table_every_ethernet_link_uses_dhcp_and_slaac() {
        let any = device::Interface {
            select: device::Select::AnyEthernet,
            ipv4: device::Ipv4::Dhcp,
            ipv6: device::Ipv6::Slaac,
            mtu: 0,
        };
        for text in ["", "[network]\ndns = [\"192.0.2.53\"]"] {
            let interfaces = device_network(&manifest(text)).interfaces;
            assert_eq!(interfaces, std::slice::from_ref(&any));
        }
    }

    #[test]
    fn fixed_addresses_keep_their_gateways() {
        let network = device_network(&manifest(
            "[[network.interface]]\nmatch = \"52:54:00:12:34:56\"\nipv4 = \"192.0.2.10/24\"\n\
             ipv4_gateway = \"192.0.2.1\"\nipv6 = \"off\"\nmtu = 9000\n",
        ));
        let expected = device::Interface {
            select: device::Select::Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]),
            ipv4: device::Ipv4::Static {
                address: [192, 0, 2, 10].into(),
                prefix: 24,
                gateway: Some([192, 0, 2, 1].into()),
            },
            ipv6: device::Ipv6::Off,
            mtu: 9000,
        };
        assert_eq!(network.interfaces, [expected]);
    }

    #[test]
    fn ntp_servers_are_handed_on_in_order() {
        let manifest = manifest("[clock]\nntp = [\"b.example\", \"192.0.2.1\"]");
        assert_eq!(device_ntp(&manifest), ["b.example", "192.0.2.1"]);
    }
}
