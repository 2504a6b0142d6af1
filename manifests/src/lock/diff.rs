//! What changed between two locks.

use super::Lock;
use std::{collections::BTreeMap, fmt};

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
