//! The kernel's IPv6 settings of one link.

use coracle_format::device::Ipv6;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::PathBuf;

/// What is written where, in order. Router advertisements are accepted even where a container network has switched
/// forwarding on (2).
pub(super) const fn settings(ipv6: &Ipv6) -> &'static [(&'static str, &'static str)] {
    match ipv6 {
        Ipv6::Off => &[("disable_ipv6", "1")],
        Ipv6::Slaac => {
            &[("accept_ra", "2"), ("autoconf", "1"), ("accept_redirects", "0"), ("disable_ipv6", "0")]
        }
        Ipv6::Static { .. } => {
            &[("accept_ra", "0"), ("autoconf", "0"), ("accept_redirects", "0"), ("disable_ipv6", "0")]
        }
    }
}

/// Applies the settings to the link of that name. A kernel without IPv6 is an error only where IPv6 is wanted.
pub(super) fn apply(name: &str, ipv6: &Ipv6) -> io::Result<()> {
    for (key, value) in settings(ipv6) {
        // The kernel lets no link be called `.`, `..` or anything with a slash.
        let path: PathBuf = ["/proc/sys/net/ipv6/conf", name, key].iter().collect();
        let written =
            OpenOptions::new().write(true).open(path).and_then(|mut file| file.write_all(value.as_bytes()));
        match written {
            Err(error) if error.kind() == io::ErrorKind::NotFound && *ipv6 == Ipv6::Off => {
                return Ok(());
            }
            other => other?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_address_takes_nothing_from_routers() {
        let fixed = Ipv6::Static { address: std::net::Ipv6Addr::LOCALHOST, prefix: 64, gateway: None };
        assert!(settings(&fixed).contains(&("accept_ra", "0")));
        assert!(settings(&fixed).contains(&("autoconf", "0")));
    }

    #[test]
    fn off_means_off() {
        assert_eq!(settings(&Ipv6::Off), [("disable_ipv6", "1")]);
    }
}
