//! Brings up links and gives them addresses: fixed ones, DHCPv4 leases, IPv6 autoconfiguration by the kernel.
//!
//! What a network can send is taken apart by pure functions ([`dhcp`], `rdnss`) in a process that has given up root
//! for the two or three capabilities it needs.

mod dhcp;
mod files;
mod kernel;
mod leases;
mod managed;
mod netlink;
mod rdnss;
mod resolver;
mod select;
mod service;
mod sysctl;

pub use files::{NTP, RESOLV_CONF};

use crate::link::Link;
use crate::status::Log;
use crate::{ServiceError, config, privilege};
use rustix::thread::CapabilitySet;
use std::fmt::Debug;
use std::io;

/// Runs the service until it is told to stop. Addresses and leases stay as they are then.
pub fn run() -> Result<(), ServiceError> {
    let failed = |action: &'static str| move |source: io::Error| ServiceError::System { action, source };
    let link = Link::inherit().map_err(failed("take over the line to PID 1"))?;
    let config = config::load()?;
    let log = Log::open("network");
    let files = files::Files::prepare()?;
    let kernel = kernel::Kernel::open().map_err(failed("open rtnetlink"))?;
    // Administer links, open packet sockets, bind to the DHCP client's port.
    let keep = CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW | CapabilitySet::NET_BIND_SERVICE;
    privilege::drop_to(privilege::NETWORK_ID, keep)?;
    let mut service = service::Service::new(config, kernel, files, log);
    service.run(link)
}

/// The DHCP message in an Ethernet frame, `None` if the frame holds none.
pub fn dhcp_message(frame: &[u8]) -> Option<&[u8]> {
    dhcp::frame::parse(frame)
}

/// The lease that a DHCP message offers or grants and the client would take, shown.
pub fn dhcp_lease(message: &[u8]) -> Option<impl Debug + use<>> {
    let reply = dhcp::message::Reply::parse(message)?;
    dhcp::lease::Lease::judge(&reply).ok()
}

/// What a datagram of rtnetlink tells the service, shown.
pub fn netlink_events(datagram: &[u8]) -> Vec<impl Debug + use<>> {
    netlink::messages(datagram)
        .filter(|message| {
            message.kind != netlink::kind::ERROR || netlink::error_number(message.body).is_some()
        })
        .filter_map(|message| netlink::parse(&message))
        .collect()
}

/// The name servers in an option of a router's advertisement, and for how many seconds they hold.
pub fn router_name_servers(option: &[u8]) -> Option<(u32, Vec<std::net::Ipv6Addr>)> {
    rdnss::parse(option)
}
