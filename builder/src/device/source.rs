//! Where the device programs come from.

use crate::{
    digest::Digest,
    error::{Doing, Error, Kind, Result},
};
use std::{
    env, fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// This version of the tool, which the programs must have too.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Names the artefact: a path or an address.
const LOCATION_VARIABLE: &str = "CORACLE_DEVICE";
/// Its digest.
const DIGEST_VARIABLE: &str = "CORACLE_DEVICE_SHA256";

/// Where the device programs come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The sources of this tool's own version, in this directory.
    Workspace(PathBuf),
    /// A file that [`super::pack`] made.
    Artefact {
        /// Where it is.
        location: Location,
        /// What it must be.
        sha256: Digest,
    },
}

/// Where an artefact is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// On this machine.
    File(PathBuf),
    /// On a server.
    Url(String),
}

impl Location {
    /// A path, or an address that begins with `http://` or `https://`.
    pub fn parse(text: &str) -> Self {
        if text.starts_with("https://") || text.starts_with("http://") {
            Self::Url(text.to_owned())
        } else {
            Self::File(text.into())
        }
    }
}

impl Source {
    /// The artefact that `CORACLE_DEVICE` names, with the digest in `CORACLE_DEVICE_SHA256` or else `locked`; without
    /// it, the sources that this tool was compiled from.
    pub fn find(locked: Option<Digest>) -> Result<Self> {
        let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        match set(LOCATION_VARIABLE) {
            Some(location) => Self::artefact(&location, set(DIGEST_VARIABLE).as_deref(), locked),
            None => Self::workspace(),
        }
    }

    /// The sources that this tool was compiled from, if they are still there.
    pub fn workspace() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or_else(|| Path::new("/"));
        if is_ours(root)? {
            return Ok(Self::Workspace(root.to_owned()));
        }
        let message =
            "cannot make the device programs: coracle's sources are no longer where it was compiled";
        let hint = format!(
            "set {LOCATION_VARIABLE} to the path or address of coracle-device-{VERSION}.tar.zst and {DIGEST_VARIABLE} to its SHA-256"
        );
        Err(Error::new(Kind::NotFound, message).hint(hint))
    }

    pub(super) fn artefact(location: &str, digest: Option<&str>, locked: Option<Digest>) -> Result<Self> {
        let named = digest.map(str::parse::<Digest>).transpose().map_err(|source| {
            Error::new(Kind::Usage, format!("{DIGEST_VARIABLE} is wrong")).because(source)
        })?;
        let sha256 = named.or(locked).ok_or_else(|| {
            Error::new(Kind::Usage, format!("{LOCATION_VARIABLE} names device programs without their digest"))
                .hint(format!("set {DIGEST_VARIABLE} to the SHA-256 that was published with them"))
        })?;
        Ok(Self::Artefact { location: Location::parse(location), sha256 })
    }
}

/// Whether `root` holds the sources of this version, and nobody else could have put them there: they will be compiled.
pub(super) fn is_ours(root: &Path) -> Result<bool> {
    let manifest = root.join("builder/Cargo.toml");
    let Ok(text) = fs::read_to_string(&manifest) else {
        return Ok(false);
    };
    let workspace = fs::read_to_string(root.join("Cargo.toml")).unwrap_or_default();
    let version = format!("version = \"{VERSION}\"");
    let ours = text.lines().any(|line| line.trim() == "name = \"coracle\"")
        && workspace.lines().any(|line| line.trim() == version)
        && root.join("init/Cargo.toml").is_file();
    if !ours {
        return Ok(false);
    }
    let owner = root.metadata().doing("inspect", root)?.uid();
    let user = nix::unistd::Uid::effective();
    if owner == user.as_raw() || owner == 0 || user.is_root() {
        return Ok(true);
    }
    let message = format!("the sources in {} belong to another user", root.display());
    Err(Error::new(Kind::Usage, message)
        .hint(format!("compile coracle yourself, or set {LOCATION_VARIABLE} and {DIGEST_VARIABLE}")))
}
