//! Where a machine's control channel is.

use crate::error::{Error, Kind, Result};
use coracle_format::device::CONTROL_VSOCK_PORT;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, VsockAddr, connect, socket};
use std::{
    fmt, io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
    str::FromStr,
};

/// A way to a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A socket on this computer that leads to the machine's virtio-serial port: `unix:PATH`.
    Unix(PathBuf),
    /// A virtual machine of this computer, by its context id: `vsock:CID`.
    Vsock(u32),
}

impl Address {
    /// Connects, without waiting for the machine to be there.
    pub(super) fn open(&self) -> Result<OwnedFd> {
        let opened = match self {
            Self::Unix(path) => UnixStream::connect(path).map(OwnedFd::from),
            Self::Vsock(cid) => open_vsock(*cid),
        };
        opened.map_err(|source| {
            let absent = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];
            let kind = if absent.contains(&source.kind()) { Kind::NotFound } else { Kind::Io };
            Error::new(kind, format!("there is no machine at {self}")).because(source).hint(match self {
                Self::Unix(_) => {
                    "is the machine running, and does the socket lead to its port coracle.control?"
                }
                Self::Vsock(_) => {
                    "is the machine running, and does its manifest say transports = [\"vsock\"]?"
                }
            })
        })
    }
}

fn open_vsock(cid: u32) -> io::Result<OwnedFd> {
    let socket = socket(AddressFamily::Vsock, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    connect(socket.as_raw_fd(), &VsockAddr::new(cid, CONTROL_VSOCK_PORT))?;
    Ok(socket)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Vsock(cid) => write!(f, "vsock:{cid}"),
        }
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let unknown = || {
            Error::new(Kind::Usage, format!("{text:?} is no machine's address"))
                .hint("use unix:PATH or vsock:CID")
        };
        match text.split_once(':').ok_or_else(unknown)? {
            ("unix", path) if !path.is_empty() => Ok(Self::Unix(path.into())),
            ("vsock", cid) => cid.parse().map(Self::Vsock).map_err(|source| unknown().because(source)),
            _ => Err(unknown()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_shown_and_nothing_else_is() {
        for text in ["unix:/run/control.sock", "vsock:3"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in ["", "/run/control.sock", "unix:", "vsock:x", "tcp:host:1"] {
            assert_eq!(text.parse::<Address>().unwrap_err().kind(), Kind::Usage, "{text}");
        }
    }

    #[test]
    fn a_machine_that_is_not_there_is_said_so() {
        let dir = tempfile::tempdir().unwrap();
        let error = Address::Unix(dir.path().join("none.sock")).open().unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound);
        assert!(error.to_string().starts_with("there is no machine at unix:"), "{error}");
    }
}
