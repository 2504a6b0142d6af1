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
