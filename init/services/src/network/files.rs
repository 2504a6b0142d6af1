//! What this service publishes: `resolv.conf`, the list of time servers and its status.
//!
//! The files are in a directory of its own, which it may still write to after it has given up root; links lead there
//! from the places where they are looked for.

use crate::ServiceError;
use crate::privilege::NETWORK_ID;
use crate::status::{Lines, Status, lead, replace_volatile};
use std::path::Path;

/// Where the resolver looks (`/etc/resolv.conf` leads here).
pub const RESOLV_CONF: &str = "/run/coracle/resolv.conf";
/// Time servers that DHCP has brought, one address a line.
pub const NTP: &str = "/run/coracle/ntp";
const SERVICE: &str = "network";
const DIRECTORY: &str = "/run/coracle/network";

/// The files and what was written to them last.
#[derive(Debug)]
pub(super) struct Files {
    resolv_conf: Option<String>,
    ntp: Option<String>,
    status: Status,
}

impl Files {
    /// Makes the directory and the links. Needs root, or a `/run/coracle` of one's own.
    pub(super) fn prepare() -> Result<Self, ServiceError> {
        let status = Status::owned(SERVICE, NETWORK_ID)?;
        lead(Path::new(RESOLV_CONF), "network/resolv.conf")?;
        lead(Path::new(NTP), "network/ntp")?;
        Ok(Self { resolv_conf: None, ntp: None, status })
    }

    /// Writes what has changed.
    pub(super) fn publish(
        &mut self,
        resolv_conf: String,
        ntp: String,
        lines: Lines,
    ) -> Result<(), ServiceError> {
        write_changed(&mut self.resolv_conf, resolv_conf, "resolv.conf")?;
        write_changed(&mut self.ntp, ntp, "ntp")?;
        self.status.publish(lines)
    }
}

fn write_changed(last: &mut Option<String>, text: String, name: &str) -> Result<(), ServiceError> {
    if last.as_ref() != Some(&text) {
        replace_volatile(&Path::new(DIRECTORY).join(name), &text)?;
        *last = Some(text);
    }
    Ok(())
}
