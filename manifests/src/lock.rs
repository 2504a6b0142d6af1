//! The lock: every input of a build by name, version, size and digest, in a file beside the manifest.

use serde::{Deserialize, Serialize};
mod check;
mod diff;

pub use diff::{Change, InputKind, diff};

use std::{
    collections::BTreeMap,
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
    /// What was asked for; when the manifest asks for something else, the lock no longer fits it.
    #[serde(default)]
    pub request: Vec<String>,
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
        check::check(&lock).map_err(NotALock::Value)?;
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
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

fn normalise<T: Ord>(list: &mut Vec<T>) {
    list.sort();
    list.dedup();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str, digit: char) -> LockedPackage {
        LockedPackage {
            name: name.to_owned(),
            version: version.to_owned(),
            arch: "amd64".to_owned(),
            pocket: "trixie".to_owned(),
            filename: format!("pool/main/{name}_{version}_amd64.deb"),
            size: 1000,
            sha256: digit.to_string().repeat(64),
        }
    }

    fn sample() -> Lock {
        let mut lock = Lock::new("hello", "x86_64", 1_763_000_000);
        lock.debian = Some(LockedDebian {
            suite: "trixie".to_owned(),
            releases: vec![LockedRelease {
                pocket: "trixie".to_owned(),
                date: 1_763_000_000,
                sha256: "a".repeat(64),
            }],
        });
        lock.package = vec![package("crun", "1.21-1", '1'), package("libc6", "2.41-12", '2')];
        lock.group = vec![LockedGroup {
            name: "runtime".to_owned(),
            request: vec!["crun".to_owned()],
            packages: lock.package.iter().map(LockedPackage::reference).collect(),
        }];
        lock.file = vec![LockedFile { path: "index.html".to_owned(), size: 3, sha256: "3".repeat(64) }];
        lock.oci = vec![LockedOci {
            container: "app".to_owned(),
            digest: format!("sha256:{}", "4".repeat(64)),
            size: 5,
        }];
        lock
    }

    #[test]
    fn a_lock_survives_the_round_trip() {
        let lock = sample();
        assert_eq!(Lock::parse(&lock.to_toml().unwrap()), Ok(lock));
    }

    #[test]
    fn the_order_of_the_lists_does_not_change_the_bytes() {
        let lock = sample();
        let mut shuffled = lock.clone();
        shuffled.package.reverse();
        shuffled.package.push(shuffled.package[0].clone());
        shuffled.group[0].packages.reverse();
        assert_eq!(shuffled.to_toml().unwrap(), lock.to_toml().unwrap());
    }

    #[test]
    fn what_no_program_wrote_is_refused() {
        let text = sample().to_toml().unwrap();
        let cases = [
            ("pool/main/crun", "../../crun"),
            ("pool/main/crun", "/crun"),
            ("\"crun:amd64=1.21-1\"", "\"crun:amd64=1.21-2\""),
            ("name = \"crun\"", "name = \"a/b\""),
            (&"1".repeat(64), &"G".repeat(64)),
            (&"1".repeat(64), "11"),
            ("epoch", "surprise"),
            ("name = \"libc6\"", "name = \"libc6\"\nname = \"libc6\""),
        ];
        for (from, to) in cases {
            assert!(text.contains(from), "{from}");
            assert!(Lock::parse(&text.replacen(from, to, 1)).is_err(), "{from} -> {to}");
        }
    }

    #[test]
    fn another_version_is_told_from_damage() {
        let text = "version = 7\nanything = true\n";
        assert_eq!(Lock::parse(text), Err(NotALock::Version(7)));
        let damaged = Lock::parse("version = 0\nepoch = \"x\"\n").unwrap_err();
        assert!(damaged.to_string().starts_with("the lock is damaged: line 2: "), "{damaged}");
    }

    #[test]
    fn a_group_leads_to_its_packages() {
        let lock = sample();
        let names: Vec<_> = lock.packages_of("runtime").iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["crun", "libc6"]);
        assert!(lock.packages_of("tools").is_empty());
    }

    #[test]
    fn the_difference_names_what_came_went_and_changed() {
        let old = sample();
        let mut new = sample();
        new.package = vec![package("crun", "1.22-1", '5'), package("nginx", "1.26", '6')];
        new.file[0].sha256 = "7".repeat(64);
        let lines: Vec<_> = diff(&old, &new).iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "package crun:amd64: 1.21-1 → 1.22-1",
                "package libc6:amd64: gone, was 2.41-12",
                "package nginx:amd64: new, 1.26",
                "file index.html: 3 bytes, 333333333333 → 3 bytes, 777777777777",
            ]
        );
        assert!(diff(&old, &old).is_empty());
    }

    #[test]
    fn the_lock_stands_beside_its_manifest() {
        assert_eq!(Lock::path_of(Path::new("a/foo.toml")), Path::new("a/foo.toml.lock"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "(version = 0\n)?\\PC{0,200}") {
            drop(Lock::parse(&text));
        }
    }
}
