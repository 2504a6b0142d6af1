//! Ports, addresses and names of the network.

use super::{Bad, form, made_of, quoted, text_newtype};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// Longest interface name the kernel allows.
const LINK_NAME_MAX: usize = 15;
/// Longest host name the kernel allows.
const HOSTNAME_MAX: usize = 64;
/// Longest name of a server.
const SERVER_MAX: usize = 253;

/// Transport protocol of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// `tcp` or `udp`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// A port on which a container answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// Port of the workstation that `coracle run` forwards.
    pub workstation: u16,
    /// Port of the device, on which the container listens.
    pub device: u16,
    /// Protocol.
    pub protocol: Protocol,
}

form!(
    Port,
    "port",
    ["8080", "8080:80", "5353:53/udp"],
    "`PORT`, or `WORKSTATION:DEVICE`, with `/udp` for UDP: the container listens on the device's port, and `coracle run` forwards the workstation's port to it."
);

impl FromStr for Port {
    type Err = Bad;

    fn from_str(text: &str) -> Result<Self, Bad> {
        let bad = || {
            Bad::new(format!("{} is not a port", quoted(text))).hint(
                "write \"8080\", \"8080:80\" (workstation:device) or \"5353:53/udp\"; ports are 1 to 65535",
            )
        };
        let (ports, protocol) = match text.split_once('/') {
            None => (text, Protocol::Tcp),
            Some((ports, "tcp")) => (ports, Protocol::Tcp),
            Some((ports, "udp")) => (ports, Protocol::Udp),
            Some(_) => return Err(bad()),
        };
        let number = |text: &str| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            let number = digits.then(|| text.parse().ok()).flatten();
            number.filter(|port| *port != 0_u16).ok_or_else(bad)
        };
        let (workstation, device) = ports.split_once(':').unwrap_or((ports, ports));
        Ok(Self { workstation: number(workstation)?, device: number(device)?, protocol })
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.workstation)?;
        if self.device != self.workstation {
            write!(f, ":{}", self.device)?;
        }
        match self.protocol {
            Protocol::Tcp => Ok(()),
            Protocol::Udp => f.write_str("/udp"),
        }
    }
}

/// Which links an interface table applies to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LinkMatch {
    /// Any physical Ethernet link.
    Any,
    /// By kernel name.
    Name(String),
    /// By hardware address.
    Mac([u8; 6]),
}

form!(
    LinkMatch,
    "link",
    ["any", "eth0", "52:54:00:12:34:56"],
    "`any` physical Ethernet link, a kernel name, or a hardware address."
);

impl FromStr for LinkMatch {
    type Err = Bad;

    fn from_str(text: &str) -> Result<Self, Bad> {
        if text == "any" {
            return Ok(Self::Any);
        }
        if let Some(mac) = parse_mac(text) {
            return Ok(Self::Mac(mac));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if made_of(text, LINK_NAME_MAX, allowed) && !text.starts_with('.') && text != "lo" {
            return Ok(Self::Name(text.to_owned()));
        }
        Err(Bad::new(format!("{} names no network link", quoted(text))).hint(
            "write \"any\", a name such as \"eth0\", or a hardware address such as \"52:54:00:12:34:56\"",
        ))
    }
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut out = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut out {
        let part = parts.next().filter(|part| part.len() == 2)?;
        let hex = part.bytes().all(|digit| digit.is_ascii_hexdigit());
        *byte = hex.then(|| u8::from_str_radix(part, 16).ok()).flatten()?;
    }
    parts.next().is_none().then_some(out)
}

impl fmt::Display for LinkMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Name(name) => f.write_str(name),
            Self::Mac(mac) => {
                let bytes: Vec<_> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
                f.write_str(&bytes.join(":"))
            }
        }
    }
}

/// Declares a setting that is a word or an address with its prefix length.
macro_rules! address_setting {
    ($type:ident, $auto:ident, $word:literal, $address:ty, $bits:literal, $what:literal, $example:literal) => {
        impl FromStr for $type {
            type Err = Bad;

            fn from_str(text: &str) -> Result<Self, Bad> {
                match text {
                    "off" => return Ok(Self::Off),
                    $word => return Ok(Self::$auto),
                    _ => {}
                }
                parse_prefixed::<$address>(text, $bits)
                    .filter(|(address, _)| !address.is_unspecified() && !address.is_multicast())
                    .map(|(address, prefix)| Self::Static { address, prefix })
                    .ok_or_else(|| {
                        Bad::new(format!(concat!("{} is not an ", $what, " setting"), quoted(text))).hint(
                            concat!(
                                "write \"",
                                $word,
                                "\", \"off\", or an address with its prefix length such as \"",
                                $example,
                                "\""
                            ),
                        )
                    })
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    Self::Off => f.write_str("off"),
                    Self::$auto => f.write_str($word),
                    Self::Static { address, prefix } => write!(f, "{address}/{prefix}"),
                }
            }
        }
    };
}

/// IPv4 of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ipv4Setting {
    /// None.
    Off,
    /// DHCP.
    Dhcp,
    /// Fixed.
    Static {
        /// Own address.
        address: Ipv4Addr,
        /// Prefix length.
        prefix: u8,
    },
}

form!(
    Ipv4Setting,
    "ipv4-setting",
    ["dhcp", "off", "192.0.2.10/24"],
    "`dhcp`, `off`, or a fixed address with its prefix length."
);
address_setting!(Ipv4Setting, Dhcp, "dhcp", Ipv4Addr, 32, "IPv4", "192.0.2.10/24");

/// IPv6 of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ipv6Setting {
    /// Disabled.
    Off,
    /// Stateless autoconfiguration.
    Slaac,
    /// Fixed.
    Static {
        /// Own address.
        address: Ipv6Addr,
        /// Prefix length.
        prefix: u8,
    },
}

form!(
    Ipv6Setting,
    "ipv6-setting",
    ["slaac", "off", "2001:db8::10/64"],
    "`slaac` (stateless autoconfiguration), `off`, or a fixed address with its prefix length."
);
address_setting!(Ipv6Setting, Slaac, "slaac", Ipv6Addr, 128, "IPv6", "2001:db8::10/64");

fn parse_prefixed<T: FromStr>(text: &str, bits: u8) -> Option<(T, u8)> {
    let (address, prefix) = text.split_once('/')?;
    let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
    let prefix = digits.then(|| prefix.parse().ok()).flatten()?;
    (1..=bits).contains(&prefix).then_some(())?;
    Some((address.parse().ok()?, prefix))
}

text_newtype!(
    /// A host name or domain.
    Hostname
);

form!(
    Hostname,
    "hostname",
    ["edge-1", "edge-1.example.net"],
    "Letters, digits and `-`, in parts separated by dots; at most 64 characters."
);

impl FromStr for Hostname {
    type Err = Bad;

    fn from_str(text: &str) -> Result<Self, Bad> {
        if is_dns_name(text, HOSTNAME_MAX) {
            return Ok(Self(text.to_owned()));
        }
        Err(Bad::new(format!("{} is not a host name", quoted(text)))
            .hint("use letters, digits and \"-\" in parts separated by dots, at most 64 characters"))
    }
}

fn is_dns_name(text: &str, max: usize) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-';
    text.len() <= max
        && text
            .split('.')
            .all(|label| made_of(label, 63, allowed) && !label.starts_with('-') && !label.ends_with('-'))
}

text_newtype!(
    /// A server by name or address.
    Server
);

form!(Server, "server", ["time.example.net", "192.0.2.1"], "A server's name or address.");

impl FromStr for Server {
    type Err = Bad;

    fn from_str(text: &str) -> Result<Self, Bad> {
        if text.parse::<IpAddr>().is_ok() || is_dns_name(text, SERVER_MAX) {
            return Ok(Self(text.to_owned()));
        }
        Err(Bad::new(format!("{} is not a server's name or address", quoted(text)))
            .hint("write a name or an address, without protocol or port"))
    }
}

pub(super) fn check_ip(text: &str) -> Result<(), Bad> {
    check_address::<IpAddr>(text, "IP", "192.0.2.1")
}

pub(super) fn check_ipv4(text: &str) -> Result<(), Bad> {
    check_address::<Ipv4Addr>(text, "IPv4", "192.0.2.1")
}

pub(super) fn check_ipv6(text: &str) -> Result<(), Bad> {
    check_address::<Ipv6Addr>(text, "IPv6", "2001:db8::1")
}

fn check_address<T: FromStr>(text: &str, what: &str, example: &str) -> Result<(), Bad> {
    match text.parse::<T>() {
        Ok(_) => Ok(()),
        Err(_) => Err(Bad::new(format!("{} is not an {what} address", quoted(text)))
            .hint(format!("write an address such as \"{example}\""))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_name_the_workstation_first() {
        assert_eq!(
            "8080:80/udp".parse(),
            Ok(Port { workstation: 8080, device: 80, protocol: Protocol::Udp })
        );
        for bad in ["", "0", "65536", "80/sctp", "1:2:3", "+80", ":80", "80:", "1.2.3.4:80:80"] {
            assert!(bad.parse::<Port>().is_err(), "{bad}");
        }
    }

    #[test]
    fn links_are_told_apart() {
        assert_eq!("52:54:00:AB:cd:ef".parse(), Ok(LinkMatch::Mac([0x52, 0x54, 0, 0xab, 0xcd, 0xef])));
        assert_eq!("enp1s0".parse(), Ok(LinkMatch::Name("enp1s0".to_owned())));
        for bad in ["", "lo", "a/b", "52:54:00:ab:cd", "averyveryverylongname"] {
            assert!(bad.parse::<LinkMatch>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_fixed_address_needs_its_prefix_length() {
        for bad in ["192.0.2.1", "192.0.2.1/33", "192.0.2.1/0", "0.0.0.0/8", "224.0.0.1/4", "1.2.3.4/+8"] {
            assert!(bad.parse::<Ipv4Setting>().is_err(), "{bad}");
        }
        "fe80::1/129".parse::<Ipv6Setting>().unwrap_err();
    }
}
