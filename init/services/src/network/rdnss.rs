//! Name servers from router advertisements (RFC 8106, section 5.1). Anybody on the link can be a router. No I/O.

use super::dhcp::Millis;
use std::net::Ipv6Addr;

const OPTION_RDNSS: u8 = 25;
/// Name servers remembered of one link; when it is full, new ones must wait for old ones to end.
const LIMIT: usize = 4;
/// An endless server is held for this long without being named again.
const LONGEST_SECONDS: u32 = 30 * 24 * 3600;

/// The servers of an option and for how many seconds they hold, `None` if it is another option or malformed.
pub(super) fn parse(option: &[u8]) -> Option<(u32, Vec<Ipv6Addr>)> {
    let (&[kind, units], _) = option.split_first_chunk::<2>()?;
    if kind != OPTION_RDNSS || units < 3 || units % 2 == 0 {
        return None;
    }
    let option = option.get(..usize::from(units) * 8)?;
    let seconds = u32::from_be_bytes(*option.get(4..)?.first_chunk()?);
    let (servers, _) = option.get(8..)?.as_chunks::<16>();
    let servers =
        servers.iter().map(|bytes| Ipv6Addr::from(*bytes)).filter(|server| is_server(*server)).collect();
    Some((seconds, servers))
}

/// Whether a name server can have this address.
fn is_server(address: Ipv6Addr) -> bool {
    !address.is_unspecified()
        && !address.is_loopback()
        && !address.is_multicast()
        && address.to_ipv4_mapped().is_none()
}

/// The servers that one link's routers name, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Servers(Vec<(Ipv6Addr, Millis)>);

impl Servers {
    /// Takes in an option; a lifetime of 0 withdraws its servers.
    pub(super) fn hear(&mut self, now: Millis, seconds: u32, servers: &[Ipv6Addr]) {
        self.expire(now);
        let end = now.saturating_add(Millis::from(seconds.min(LONGEST_SECONDS)) * 1000);
        for server in servers {
            match self.0.iter().position(|(known, _)| known == server) {
                Some(at) if seconds == 0 => {
                    self.0.remove(at);
                }
                Some(at) => self.0[at].1 = end,
                None if seconds > 0 && self.0.len() < LIMIT => self.0.push((*server, end)),
                None => {}
            }
        }
    }

    /// Forgets what has ended.
    pub(super) fn expire(&mut self, now: Millis) {
        self.0.retain(|(_, end)| *end > now);
    }

    /// When the next one ends.
    pub(super) fn deadline(&self) -> Option<Millis> {
        self.0.iter().map(|(_, end)| *end).min()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Ipv6Addr> + '_ {
        self.0.iter().map(|(server, _)| *server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn option(seconds: u32, servers: &[Ipv6Addr]) -> Vec<u8> {
        let units = u8::try_from(1 + 2 * servers.len()).unwrap();
        let mut out = vec![OPTION_RDNSS, units, 0, 0];
        out.extend_from_slice(&seconds.to_be_bytes());
        for server in servers {
            out.extend_from_slice(&server.octets());
        }
        out
    }

    fn server(last: u16) -> Ipv6Addr {
        Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, last)
    }

    #[test]
    fn servers_and_their_time_are_read() {
        let bytes = option(600, &[server(3), server(4)]);
        assert_eq!(parse(&bytes), Some((600, vec![server(3), server(4)])));
    }

    #[test]
    fn malformed_options_and_other_ones_are_ignored() {
        assert_eq!(parse(&option(600, &[server(3)])[..20]), None);
        assert_eq!(parse(&[25, 2, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(parse(&[24, 3, 0, 0, 0, 0, 0, 0]), None);
        let bytes = option(600, &[Ipv6Addr::LOCALHOST, "ff02::1".parse().unwrap()]);
        assert_eq!(parse(&bytes), Some((600, vec![])));
    }

    #[test]
    fn servers_end_with_their_time_or_when_withdrawn() {
        let mut servers = Servers::default();
        servers.hear(0, 10, &[server(1)]);
        servers.hear(0, 20, &[server(2)]);
        assert_eq!(servers.deadline(), Some(10_000));
        servers.expire(10_000);
        assert_eq!(servers.iter().collect::<Vec<_>>(), [server(2)]);
        servers.hear(11_000, 0, &[server(2)]);
        assert_eq!(servers, Servers::default());
    }

    #[test]
    fn a_flood_of_servers_does_not_displace_those_known() {
        let mut servers = Servers::default();
        servers.hear(0, 600, &[server(1)]);
        for last in 2..100 {
            servers.hear(0, 600, &[server(last)]);
        }
        assert_eq!(servers.iter().count(), LIMIT);
        assert_eq!(servers.iter().next(), Some(server(1)));
    }

    proptest! {
        #[test]
        fn no_option_makes_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(parse(&bytes).is_none() || bytes[0] == OPTION_RDNSS);
        }
    }
}
