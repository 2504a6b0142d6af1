//! What this service publishes: `resolv.conf`, the list of time servers and its status.
//!
//! The files are in a directory of its own, which it may still write to after it has given up root; links lead there
//! from the places where they are looked for.

use crate::ServiceError;
use crate::privilege::NETWORK_ID;
use crate::status::{self, Lines, Status, replace_volatile};
use nix::unistd::Uid;
use std::fs;
use std::io;
use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};

/// Where the resolver looks (`/etc/resolv.conf` leads here).
pub const RESOLV_CONF: &str = "/run/coracle/resolv.conf";
/// Time servers that DHCP has brought, one address a line.
pub const NTP: &str = "/run/coracle/ntp";
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
        let directory = Path::new(DIRECTORY);
        fs::create_dir_all(directory)
            .and_then(|()| fs::create_dir_all(status::DIRECTORY))
            .map_err(failed("make the directory", directory))?;
        if Uid::effective().is_root() {
            chown(directory, Some(NETWORK_ID), Some(NETWORK_ID))
                .map_err(failed("hand over the directory", directory))?;
        }
        lead(RESOLV_CONF, "network/resolv.conf")?;
        lead(NTP, "network/ntp")?;
        let status = format!("{}/network", status::DIRECTORY);
        lead(&status, "../network/status")?;
        Ok(Self { resolv_conf: None, ntp: None, status: Status::at(directory.join("status")) })
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

/// Makes `path` a symbolic link to `target`, whatever it was before.
fn lead(path: &str, target: &str) -> Result<(), ServiceError> {
    let temporary = PathBuf::from(format!("{path}.new"));
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
    .and_then(|()| symlink(target, &temporary))
    .and_then(|()| fs::rename(&temporary, path))
    .map_err(failed("make the link", Path::new(path)))
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> ServiceError + use<'a> {
    move |source| ServiceError::Path { action, path: path.to_owned(), source }
}
