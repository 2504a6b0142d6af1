//! The text of `resolv.conf` and of the list of time servers. No I/O.

use std::net::IpAddr;

/// Resolvers look at three; a few more do no harm and show what is there.
const SERVER_LIMIT: usize = 6;

/// A name server and, if its address is of the link alone, the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NameServer {
    pub(super) address: IpAddr,
    pub(super) link: String,
}

/// `resolv.conf` for these servers, in order and each once.
pub(super) fn resolv_conf(servers: &[NameServer], search: &[String]) -> String {
    let mut lines: Vec<String> = Vec::new();
    for server in servers {
        let scoped = match server.address {
            IpAddr::V6(address) => address.is_unicast_link_local(),
            IpAddr::V4(_) => false,
        };
        let line = if scoped {
            format!("nameserver {}%{}\n", server.address, server.link)
        } else {
            format!("nameserver {}\n", server.address)
        };
        if lines.len() < SERVER_LIMIT && !lines.contains(&line) {
            lines.push(line);
        }
    }
    if !search.is_empty() {
        lines.push(format!("search {}\n", search.join(" ")));
    }
    lines.concat()
}

/// One time server a line, each once.
pub(super) fn ntp_list(servers: &[IpAddr]) -> String {
    let mut lines: Vec<String> = Vec::new();
    for server in servers {
        let line = format!("{server}\n");
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(address: &str) -> NameServer {
        NameServer { address: address.parse().unwrap(), link: "eth0".to_owned() }
    }

    #[test]
    fn servers_keep_their_order_and_stand_once() {
        let servers = [server("10.0.2.3"), server("fec0::3"), server("10.0.2.3"), server("fe80::1")];
        let text = resolv_conf(&servers, &["a.example".to_owned(), "b.example".to_owned()]);
        assert_eq!(
            text,
            "nameserver 10.0.2.3\nnameserver fec0::3\nnameserver fe80::1%eth0\nsearch a.example b.example\n"
        );
    }

    #[test]
    fn nothing_known_is_an_empty_file() {
        assert_eq!(resolv_conf(&[], &[]), "");
    }

    #[test]
    fn time_servers_stand_once() {
        let a: IpAddr = "10.0.2.4".parse().unwrap();
        assert_eq!(ntp_list(&[a, a]), "10.0.2.4\n");
    }
}
