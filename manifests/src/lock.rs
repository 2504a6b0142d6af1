//! The lock: every input of a build by name, version, size and digest, in a file beside the manifest.

use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

/// The largest lock that is read.
pub const LOCK_BYTES_MAX: usize = 16 << 20;
/// The most entries of one list in a lock.
pub const ENTRIES_MAX: usize = 16_384;
/// The version of the lock's format that this program writes and reads.
pub const LOCK_VERSION: u32 = 0;
/// The longest text in a lock.
const TEXT_MAX: usize = 4096;

const HEADER: &str = "\
# Every input of this image by name, version and digest. Written by `coracle lock`, read by `coracle build --locked`.
# It belongs into version control beside the manifest; do not edit it.
";

/// The lock of one manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Version of the format, [`LOCK_VERSION`].
    pub version: u32,
    /// The newest signed date among the inputs, seconds since 1970: the image's time stamp.
    pub epoch: u64,
    /// `[image] name`.
    pub manifest: String,
    /// Architecture, as in the manifest.
    pub arch: String,
    /// The Debian archive's state, if packages were taken from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub debian: Option<LockedDebian>,
    /// The device binaries, if they came as an artefact rather than from the sources.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<LockedDevice>,
    /// What each part of the build takes of the packages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub group: Vec<LockedGroup>,
    /// The packages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub package: Vec<LockedPackage>,
    /// The files that the manifest names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub file: Vec<LockedFile>,
    /// The OCI images.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub oci: Vec<LockedOci>,
}

/// The Debian archive's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedDebian {
    /// Code name of the release.
    pub suite: String,
    /// The signed release files, one per pocket.
    #[serde(default)]
    pub releases: Vec<LockedRelease>,
}

/// One signed release file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedRelease {
    /// `trixie`, `trixie-security`, `trixie-updates`.
    pub pocket: String,
    /// Its signed date, seconds since 1970.
    pub date: u64,
    /// SHA-256 of `InRelease`.
    pub sha256: String,
}

/// One Debian package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedPackage {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Debian's name of the architecture: `amd64`, `arm64`, `all`.
    pub arch: String,
    /// The pocket it is in.
    pub pocket: String,
    /// Its path in the archive.
    pub filename: String,
    /// Bytes of the `.deb`.
    pub size: u64,
    /// SHA-256 of the `.deb`.
    pub sha256: String,
}

impl LockedPackage {
    /// How a group names it: `name:arch=version`. The tools are of the workstation's architecture, not the image's.
    pub fn reference(&self) -> String {
        format!("{}:{}={}", self.name, self.arch, self.version)
    }
}

/// What one part of the build takes of the packages.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedGroup {
    /// `kernel`, `runtime`, `stub`, `state-tools`, `tools`, `container.<name>`.
    pub name: String,
    /// [`LockedPackage::reference`] of each.
    #[serde(default)]
    pub packages: Vec<String>,
}

/// A file that the manifest names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedFile {
    /// Path as the manifest writes it; below a named directory, with `/` between the names.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256.
    pub sha256: String,
}

/// An OCI image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedOci {
    /// The container that uses it.
    pub container: String,
    /// Digest of the image's manifest, `sha256:…`.
    pub digest: String,
    /// Bytes of manifest, configuration and layers together.
    pub size: u64,
}

/// The artefact with the device binaries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedDevice {
    /// Version.
    pub version: String,
    /// SHA-256.
    pub sha256: String,
}

/// Why a text is not a lock.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotALock {
    /// Larger than [`LOCK_BYTES_MAX`].
    #[error("the lock is larger than 16 MiB")]
    TooLarge,
    /// Not TOML, or not a lock's keys.
    #[error("the lock is damaged: line {line}: {message}")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// Another version of the format.
    #[error("the lock has format version {0}, this program knows {LOCK_VERSION}")]
    Version(u32),
    /// A value that no `coracle lock` writes.
    #[error("the lock is damaged: {0}")]
    Value(String),
}

impl Lock {
    /// An empty lock.
    pub fn new(manifest: &str, arch: &str, epoch: u64) -> Self {
        Self {
            version: LOCK_VERSION,
            epoch,
            manifest: manifest.to_owned(),
            arch: arch.to_owned(),
            debian: None,
            device: None,
            group: Vec::new(),
            package: Vec::new(),
            file: Vec::new(),
            oci: Vec::new(),
        }
    }

    /// Parses a lock. Digests have the right form and every reference of a group leads to a package.
    pub fn parse(text: &str) -> Result<Self, NotALock> {
        if text.len() > LOCK_BYTES_MAX {
            return Err(NotALock::TooLarge);
        }
        let damaged = |error: &toml::de::Error| {
            let at = error.span().map_or(0, |span| span.start);
            let line = text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
            let message = error.message().lines().next().unwrap_or_default().to_owned();
            NotALock::Syntax { line, message }
        };
        // The version first: another version may well have other keys.
        let version: VersionOnly = toml::from_str(text).map_err(|error| damaged(&error))?;
        if version.version != LOCK_VERSION {
            return Err(NotALock::Version(version.version));
        }
        let lock: Self = toml::from_str(text).map_err(|error| damaged(&error))?;
        lock.check().map_err(NotALock::Value)?;
        Ok(lock)
    }

    /// The same bytes for the same lock: lists are sorted, each entry stands once.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        let mut sorted = self.clone();
        if let Some(debian) = &mut sorted.debian {
            normalise(&mut debian.releases);
        }
        for group in &mut sorted.group {
            normalise(&mut group.packages);
        }
        normalise(&mut sorted.group);
        normalise(&mut sorted.package);
        normalise(&mut sorted.file);
        normalise(&mut sorted.oci);
        Ok(format!("{HEADER}\n{}", toml::to_string_pretty(&sorted)?))
    }

    /// The packages of the group `name`, in the lock's order; empty if there is no such group.
    pub fn packages_of(&self, name: &str) -> Vec<&LockedPackage> {
        let by_reference = self.by_reference();
        let group = self.group.iter().find(|group| group.name == name);
        let references = group.into_iter().flat_map(|group| &group.packages);
        references.filter_map(|reference| by_reference.get(reference).copied()).collect()
    }

    /// The file of a manifest's lock: `hello.toml.lock` beside `hello.toml`.
    pub fn path_of(manifest: &Path) -> PathBuf {
        let mut name = manifest.as_os_str().to_owned();
        name.push(".lock");
        PathBuf::from(name)
    }

    fn by_reference(&self) -> BTreeMap<String, &LockedPackage> {
        self.package.iter().map(|package| (package.reference(), package)).collect()
    }

    fn check(&self) -> Result<(), String> {
        let releases = self.debian.as_ref().map_or(0, |debian| debian.releases.len());
        let group_entries = self.group.iter().map(|group| group.packages.len());
        let lengths = [self.group.len(), self.package.len(), self.file.len(), self.oci.len(), releases];
        if lengths.into_iter().chain(group_entries).any(|length| length > ENTRIES_MAX) {
            return Err(format!("a list has more than {ENTRIES_MAX} entries"));
        }
        for package in &self.package {
            check_sha256(&package.name, &package.sha256)?;
            check_text(&package.name)?;
            check_text(&package.version)?;
            check_text(&package.arch)?;
            check_archive_path(&package.filename)?;
        }
        let by_reference = self.by_reference();
        if by_reference.len() != self.package.len() {
            return Err("a package stands in it twice".to_owned());
        }
        for group in &self.group {
            if let Some(lost) = group.packages.iter().find(|name| !by_reference.contains_key(*name)) {
                return Err(format!(
                    "group {:?} names {lost:?}, which is not among the packages",
                    group.name
                ));
            }
        }
        for file in &self.file {
            check_sha256(&file.path, &file.sha256)?;
        }
        for oci in &self.oci {
            let digest = oci.digest.strip_prefix("sha256:").unwrap_or_default();
            check_sha256(&oci.container, digest)?;
        }
        for release in self.debian.iter().flat_map(|debian| &debian.releases) {
            check_sha256(&release.pocket, &release.sha256)?;
        }
        match &self.device {
            Some(device) => check_sha256("device", &device.sha256),
            None => Ok(()),
        }
    }
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

fn normalise<T: Ord>(list: &mut Vec<T>) {
    list.sort();
    list.dedup();
}

fn check_sha256(whose: &str, digest: &str) -> Result<(), String> {
    let lower_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if digest.len() == 64 && digest.bytes().all(lower_hex) {
        return Ok(());
    }
    Err(format!("the digest of {whose:?} is not 64 hexadecimal digits"))
}

/// Names and versions end up in file names and messages.
fn check_text(text: &str) -> Result<(), String> {
    let fine = !text.is_empty()
        && text.len() <= TEXT_MAX
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    if fine {
        return Ok(());
    }
    Err(format!("{text:?} is not a package's name, version or architecture"))
}

/// A package's path is put behind a mirror's address.
fn check_archive_path(path: &str) -> Result<(), String> {
    let part = |part: &str| !part.is_empty() && part != "." && part != "..";
    let fine = path.len() <= TEXT_MAX
        && path.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\?#".contains(&byte))
        && path.split('/').all(part);
    if fine {
        return Ok(());
    }
    Err(format!("{path:?} is not a path in a Debian archive"))
}

/// One difference between two locks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// What kind of input.
    pub kind: InputKind,
    /// Its name: package, path, container.
    pub name: String,
    /// What it was; `None`: it is new.
    pub old: Option<String>,
    /// What it is; `None`: it is gone.
    pub new: Option<String>,
}

/// The kinds of inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum InputKind {
    /// The architecture.
    Arch,
    /// The Debian release.
    Suite,
    /// A package.
    Package,
    /// A file.
    File,
    /// An OCI image.
    Oci,
    /// The device binaries.
    Device,
}

impl InputKind {
    const fn word(self) -> &'static str {
        match self {
            Self::Arch => "architecture",
            Self::Suite => "suite",
            Self::Package => "package",
            Self::File => "file",
            Self::Oci => "oci image of container",
            Self::Device => "device binaries",
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.word())?;
        if !self.name.is_empty() {
            write!(f, " {}", self.name)?;
        }
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => write!(f, ": {old} → {new}"),
            (None, Some(new)) => write!(f, ": new, {new}"),
            (Some(old), None) => write!(f, ": gone, was {old}"),
            (None, None) => Ok(()),
        }
    }
}

/// What changed between two locks, sorted. Release files are left out: they change with every update of the archive,
/// whether or not a package did.
pub fn diff(old: &Lock, new: &Lock) -> Vec<Change> {
    let (before, after) = (inputs(old), inputs(new));
    let mut out: Vec<_> = before
        .iter()
        .filter(|(key, value)| after.get(*key) != Some(*value))
        .map(|((kind, name), value)| Change {
            kind: *kind,
            name: name.clone(),
            old: Some(value.shown.clone()),
            new: after.get(&(*kind, name.clone())).map(|value| value.shown.clone()),
        })
        .collect();
    let added = after.iter().filter(|(key, _)| !before.contains_key(*key));
    out.extend(added.map(|((kind, name), value)| Change {
        kind: *kind,
        name: name.clone(),
        old: None,
        new: Some(value.shown.clone()),
    }));
    out.sort();
    out
}

/// What identifies an input, and how it is shown.
#[derive(PartialEq)]
struct Identity {
    exact: String,
    shown: String,
}

fn inputs(lock: &Lock) -> BTreeMap<(InputKind, String), Identity> {
    let mut out = BTreeMap::new();
    let mut put = |kind, name: &str, exact: &str, shown: String| {
        let exact = exact.to_owned();
        out.insert((kind, name.to_owned()), Identity { exact, shown });
    };
    put(InputKind::Arch, "", &lock.arch, lock.arch.clone());
    if let Some(debian) = &lock.debian {
        put(InputKind::Suite, "", &debian.suite, debian.suite.clone());
    }
    for package in &lock.package {
        let name = format!("{}:{}", package.name, package.arch);
        put(InputKind::Package, &name, &package.sha256, package.version.clone());
    }
    for file in &lock.file {
        let shown = format!("{} bytes, {}", file.size, short(&file.sha256));
        put(InputKind::File, &file.path, &file.sha256, shown);
    }
    for oci in &lock.oci {
        put(InputKind::Oci, &oci.container, &oci.digest, short(&oci.digest).to_owned());
    }
    if let Some(device) = &lock.device {
        put(InputKind::Device, "", &device.sha256, device.version.clone());
    }
    out
}

fn short(digest: &str) -> &str {
    let digest = digest.strip_prefix("sha256:").unwrap_or(digest);
    digest.get(..12).unwrap_or(digest)
}
