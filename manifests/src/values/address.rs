//! Addresses that a check of the machine's health connects to, and operators' keys.

use super::{Bad, HostPath, Server, form, quoted};
use coracle_format::control;
use std::{fmt, str::FromStr};

/// Longest path of an address.
const PATH_MAX: usize = 1024;

/// A server and its port: `127.0.0.1:6379`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Name or address, without brackets.
    pub host: Server,
    /// Port.
    pub port: u16,
}

form!(
    Endpoint,
    "endpoint",
    ["127.0.0.1:6379", "[::1]:6379"],
    "A name or address and a port; an IPv6 address in brackets."
);

impl FromStr for Endpoint {
    type Err = Bad;

    fn from_str(text: &str) -> Result<Self, Bad> {
        parse_endpoint(text).ok_or_else(|| {
            Bad::new(format!("{} is not an address with a port", quoted(text)))
                .hint("write it like \"127.0.0.1:6379\" or \"[::1]:6379\"")
        })
    }
}

fn parse_endpoint(text: &str) -> Option<Endpoint> {
    let (host, port) = text.rsplit_once(':')?;
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let bare = bracketed.unwrap_or(host);
    // An IPv6 address has colons of its own, and nothing else has: brackets tell where it ends.
    (bracketed.is_some() == bare.contains(':')).then_some(())?;
    Some(Endpoint { host: bare.parse().ok()?, port: parse_port(port)? })
}

fn parse_port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().filter(|port| *port != 0)
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.as_str().contains(':') {
            return write!(f, "[{}]:{}", self.host, self.port);
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// What a check asks for over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAddress {
    /// Whom.
    pub server: Endpoint,
    /// Path and query, from the first slash.
    pub path: String,
}

form!(
    HttpAddress,
    "http-address",
    ["http://127.0.0.1:8080/ready"],
    "An `http://` address; without a port, port 80."
);

impl FromStr for HttpAddress {
    type Err = Bad;

    fn from_str(text: &str) -> Result<Self, Bad> {
        let bad = |why: &str| {
            Bad::new(format!("{} is not an address to check: {why}", quoted(text)))
                .hint("write it like \"http://127.0.0.1:8080/ready\"")
        };
        let rest = text
            .strip_prefix("http://")
            .ok_or_else(|| bad("it does not begin with http://, and there is no https inside a machine"))?;
        let (server, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let path = if path.is_empty() { "/" } else { path };
        let plain = |c: char| c.is_ascii_graphic() && c != '#';
        if path.len() > PATH_MAX || !path.chars().all(plain) {
            return Err(bad("its path has characters that an address cannot have"));
        }
        let with_port = parse_endpoint(server).or_else(|| parse_endpoint(&format!("{server}:80")));
        let server = with_port.ok_or_else(|| bad("it has no server's name or address"))?;
        Ok(Self { server, path: path.to_owned() })
    }
}

impl fmt::Display for HttpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.server, self.path)
    }
}

/// The public key of an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperatorKey {
    /// The key itself.
    Key([u8; control::KEY_BYTES]),
    /// A file that has it.
    File(HostPath),
}

form!(
    OperatorKey,
    "operator-key",
    ["keys/operator.pub", "ed25519:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"],
    "A file with a public key, or the key itself: `ed25519:` and 64 hexadecimal digits."
);

impl FromStr for OperatorKey {
    type Err = Bad;

    fn from_str(text: &str) -> Result<Self, Bad> {
        if !text.starts_with(control::KEY_PREFIX) {
            return text.parse().map(Self::File);
        }
        control::parse_key(text).map(Self::Key).ok_or_else(|| {
            Bad::new(format!("{} is not a public key", quoted(text))).hint(
                "write \"ed25519:\" and 64 hexadecimal digits in lower case, or name a file that has it",
            )
        })
    }
}

impl fmt::Display for OperatorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.fmt(f),
            Self::Key(key) => {
                f.write_str(control::KEY_PREFIX)?;
                key.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_a_port_tells_where_the_port_begins() {
        let address: Endpoint = "[fe80::1]:80".parse().unwrap();
        assert_eq!((address.host.as_str(), address.port), ("fe80::1", 80));
        for bad in ["", ":80", "a", "a:", "a:0", "a:65536", "a:+1", "::1:80", "[a]:80", "[::1]", "a b:1"] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_an_http_address_leaves_out_has_its_usual_value() {
        let address: HttpAddress = "http://localhost".parse().unwrap();
        assert_eq!(address.to_string(), "http://localhost:80/");
        let address: HttpAddress = "http://[::1]/a?b=c".parse().unwrap();
        assert_eq!((address.server.host.as_str(), address.path.as_str()), ("::1", "/a?b=c"));
        for bad in ["https://x/", "http://", "http:///x", "http://x:0/", "http://x/a b", "http://x/#y", "x/y"]
        {
            assert!(bad.parse::<HttpAddress>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_that_is_cut_is_not_taken_for_a_file() {
        assert_eq!("keys/a.pub".parse(), Ok(OperatorKey::File("keys/a.pub".parse().unwrap())));
        let key = format!("ed25519:{}", "0f".repeat(32));
        assert_eq!(key.parse(), Ok(OperatorKey::Key([15; 32])));
        key[..70].parse::<OperatorKey>().unwrap_err();
    }
}
