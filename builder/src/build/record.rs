//! `build.json`: what was built from what, and whether it still stands.

use super::{Boot, Build, Probe, length, local};
use crate::{
    bundle::BundleRecord,
    device::Programs,
    digest::{Digest, Hasher},
    error::{Doing as _, Error, Kind, Result},
    image::{disk::Written, slot::Payload},
    secure_boot::Parts,
};
use coracle_format::slot::Descriptor;
use coracle_manifests::{Lock, Manifest};
use serde::{Deserialize, Serialize};
use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path};

/// The largest `build.json` that is read.
const RECORD_BYTES_MAX: u64 = 16 << 20;

/// What `build.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Version of this format.
    pub format: u32,
    /// Version of coracle that built it.
    pub coracle: String,
    /// `[image] name`.
    pub name: String,
    /// `[image] version`.
    pub version: String,
    /// Architecture.
    pub arch: String,
    /// The newest signed date of its inputs: every time in the image.
    pub epoch: u64,
    /// `uname -r`.
    pub kernel: String,
    /// dm-verity root hash.
    pub root_hash: String,
    /// SHA-256 of the boot artefact: the release's identity.
    pub release: String,
    /// Bytes of the parts.
    pub bytes: Bytes,
    /// Packages by what they are for: `group name version architecture`.
    pub packages: Vec<String>,
    /// The update beside the disk, if one was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<BundleRecord>,
    /// Who has signed selector and boot artefact for Secure Boot, if anybody: the SHA-256 of the certificate, or
    /// `elsewhere`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<String>,
    /// Stands for everything that went in.
    key: String,
    /// The disk as it was written: bytes, modification time in nanoseconds.
    disk: (u64, i128),
}

/// Bytes of the parts of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bytes {
    /// The disk, holes included.
    pub disk: u64,
    /// A slot's partition.
    pub slot: u64,
    /// What the slot holds.
    pub payload: u64,
    /// The root file system.
    pub root: u64,
    /// Its hash tree.
    pub tree: u64,
    /// The kernel.
    pub kernel: u64,
    /// The initramfs.
    pub initramfs: u64,
    /// PID 1 and services together.
    pub init: u64,
    /// The UEFI selector.
    pub selector: u64,
}

impl Record {
    pub(super) fn new(
        build: &Build<'_>,
        (payload, boot, written): (&Payload<'_>, &Boot, &Written),
        key: Digest,
    ) -> Result<Self> {
        let image = &build.manifest.image;
        let descriptor = &written.descriptor;
        Ok(Self {
            format: 0,
            coracle: env!("CARGO_PKG_VERSION").to_owned(),
            name: image.name.as_str().to_owned(),
            version: image.version.as_str().to_owned(),
            arch: image.arch.name().to_owned(),
            epoch: build.locked.lock.epoch,
            kernel: boot.kernel_release.clone(),
            root_hash: Digest(descriptor.root_hash).to_string(),
            release: Digest(descriptor.boot_digest).to_string(),
            bytes: Bytes {
                disk: written.bytes,
                slot: payload.partition_bytes(build.slot_size())?,
                payload: payload.bytes(),
                root: descriptor.root.bytes,
                tree: descriptor.tree.bytes,
                kernel: boot.kernel_bytes,
                initramfs: boot.initramfs_bytes,
                init: build.binaries.init.len().saturating_add(build.binaries.services.len()),
                selector: build.binaries.selector.len(),
            },
            packages: package_list(&build.locked.lock).lines().map(str::to_owned).collect(),
            bundle: None,
            signed: None,
            key: key.to_string(),
            disk: (0, 0),
        })
    }

    /// Writes `build.json` beside the finished disk.
    pub(super) fn store(&self, dir: &Path) -> Result<()> {
        let disk = stamp(&dir.join("disk.raw"))?;
        Self { disk, ..self.clone() }.write(dir)
    }

    /// Writes `build.json` with the update that was made of the disk.
    pub(crate) fn store_bundle(dir: &Path, bundle: BundleRecord) -> Result<()> {
        // What the file says of the disk stays as it is.
        match Self::read(dir)? {
            Some(record) if record.bundle.as_ref() == Some(&bundle) => Ok(()),
            Some(record) => Self { bundle: Some(bundle), ..record }.write(dir),
            None => Err(Error::new(Kind::Internal, format!("{} has lost its build.json", dir.display()))),
        }
    }

    /// Writes `build.json` beside the disk that has been signed.
    pub(crate) fn store_signed(&self, dir: &Path, parts: &Parts, signed: String) -> Result<Self> {
        let mut record = self.clone();
        record.release = Digest::of(&parts.boot).to_string();
        record.bytes.selector = length(&parts.selector);
        record.bytes.payload = Descriptor::plan(self.bytes.root, self.bytes.tree, length(&parts.boot)).2;
        record.bundle = None;
        record.signed = Some(signed);
        record.disk = stamp(&dir.join("disk.raw"))?;
        record.write(dir)?;
        Ok(record)
    }

    /// Whether the disk in `dir` is the one that was written.
    pub(crate) fn fits(&self, dir: &Path) -> Result<bool> {
        Ok(stamp(&dir.join("disk.raw"))? == self.disk)
    }

    fn write(&self, dir: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|source| Error::new(Kind::Internal, "cannot write build.json").because(source))?;
        crate::files::replace(&dir.join("build.json"), format!("{text}\n").as_bytes())
    }

    /// The record in `dir`, if there is one.
    pub fn read(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join("build.json");
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).doing("inspect", &path),
            Ok(metadata) if metadata.len() > RECORD_BYTES_MAX => return Ok(None),
            Ok(_) => {}
        }
        let text = fs::read(&path).doing("read", &path)?;
        // A record of another version or a damaged one is no record: the image is built again.
        Ok(serde_json::from_slice(&text).ok())
    }

    /// The record in `dir` if it was made from `key` and the disk beside it is untouched.
    pub(super) fn current(dir: &Path, key: &Digest) -> Result<Option<Self>> {
        let Some(record) = Self::read(dir)? else {
            return Ok(None);
        };
        let disk = dir.join("disk.raw");
        let untouched = disk.is_file() && record.fits(dir)?;
        Ok((untouched && record.key == key.to_string()).then_some(record))
    }
}

fn stamp(path: &Path) -> Result<(u64, i128)> {
    let metadata = fs::metadata(path).doing("inspect", path)?;
    let time = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
    Ok((metadata.len(), time))
}

/// Every package of an image, one line each; what only the workstation uses is left out.
pub(super) fn package_list(lock: &Lock) -> String {
    let mut out = String::new();
    for group in lock.group.iter().filter(|group| !group.name.starts_with("tools.")) {
        for package in lock.packages_of(&group.name) {
            let words = [&group.name, &package.name, &package.version, &package.arch];
            out.push_str(&words.map(String::as_str).join(" "));
            out.push('\n');
        }
    }
    out
}

/// What stands for everything that goes into an image. Local files count by name, size and times, as `make` does it:
/// their bytes are read only when one of these has changed.
pub(super) fn key(manifest: &Manifest, lock: &Lock, binaries: &Programs, probe: Probe) -> Result<Digest> {
    let mut hasher = Hasher::default();
    hasher.field(super::STEPS_VERSION);
    hasher.field(env!("CARGO_PKG_VERSION").as_bytes());
    // Another program may build otherwise. The link leads to the running file even when it was replaced meanwhile.
    if let Ok(program) = fs::metadata("/proc/self/exe") {
        hash_metadata(&mut hasher, &program);
    }
    hasher.field(format!("{probe:?}").as_bytes());
    // The typed manifest: comments and layout do not matter.
    hasher.field(format!("{manifest:?}").as_bytes());
    // Local files count below by their metadata, so that a build that is up to date reads none of them.
    let lock = Lock { file: Vec::new(), ..lock.clone() };
    let lock = lock
        .to_toml()
        .map_err(|source| Error::new(Kind::Internal, "cannot write the lock").because(source))?;
    hasher.field(lock.as_bytes());
    let update = manifest.update.is_some().then_some(&binaries.update);
    for content in [&binaries.init, &binaries.services, &binaries.selector].into_iter().chain(update) {
        hasher.field(&content.identity().0);
    }
    for input in local::named(manifest) {
        local::walk(&input.path, &input.written, 0, &mut |path, written| {
            hasher.field(written.as_bytes());
            // A link may lead to nothing; it counts as itself then.
            let metadata =
                fs::metadata(path).or_else(|_| fs::symlink_metadata(path)).doing("inspect", path)?;
            hash_metadata(&mut hasher, &metadata);
            Ok(())
        })?;
    }
    Ok(hasher.digest())
}

fn hash_metadata(hasher: &mut Hasher, metadata: &fs::Metadata) {
    for number in [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()] {
        hasher.update(&number.to_le_bytes());
    }
    hasher.update(&metadata.len().to_le_bytes());
    hasher.update(&metadata.mode().to_le_bytes());
}
