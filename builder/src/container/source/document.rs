//! The JSON documents of images: parsed after their digest was verified, unknown keys ignored as the specification
//! demands.

use crate::{
    digest::Digest,
    error::{Error, Kind, Result},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use std::collections::BTreeMap;

/// Largest index, manifest or configuration: the limit registries have for manifests.
pub(super) const DOCUMENT_BYTES_MAX: u64 = 4 << 20;

/// Parses a document; `what` is for messages.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|source| Error::new(Kind::Hostile, format!("cannot understand {what}")).because(source))
}

/// A reference to a blob.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) digest: String,
    pub(super) size: u64,
    pub(super) platform: Option<Platform>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) annotations: BTreeMap<String, String>,
}

impl Descriptor {
    pub(super) fn sha256(&self) -> Result<Digest> {
        sha256(&self.digest)
    }

    /// Whether it is a statement about another image rather than an image.
    pub(super) fn is_attestation(&self) -> bool {
        self.annotations.contains_key("vnd.docker.reference.type")
    }
}

/// The digest in `sha256:<hex>`.
pub(super) fn sha256(text: &str) -> Result<Digest> {
    let bad = || {
        Error::new(Kind::Hostile, format!("{text:?} is not a digest that is supported"))
            .hint("expected sha256: and 64 hexadecimal digits")
    };
    text.strip_prefix("sha256:").and_then(|hex| hex.parse().ok()).ok_or_else(bad)
}

/// What an image runs on.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Platform {
    pub(super) architecture: String,
    pub(super) os: String,
}

/// An index (`manifests`) or a manifest (`config` and `layers`).
#[derive(Debug, Deserialize)]
pub(super) struct Document {
    pub(super) manifests: Option<Vec<Descriptor>>,
    pub(super) config: Option<Descriptor>,
    pub(super) layers: Option<Vec<Descriptor>>,
}

/// The image configuration.
#[derive(Debug, Deserialize)]
pub(super) struct Configuration {
    pub(super) architecture: String,
    pub(super) os: String,
    #[serde(default, deserialize_with = "or_default")]
    config: Process,
    pub(super) rootfs: Rootfs,
}

#[derive(Debug, Deserialize)]
pub(super) struct Rootfs {
    pub(super) diff_ids: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Process {
    #[serde(deserialize_with = "or_default")]
    entrypoint: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    cmd: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    env: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    working_dir: String,
    #[serde(deserialize_with = "or_default")]
    user: String,
    #[serde(deserialize_with = "or_default")]
    exposed_ports: BTreeMap<String, Value>,
    #[serde(deserialize_with = "or_default")]
    volumes: BTreeMap<String, Value>,
    #[serde(deserialize_with = "or_default")]
    stop_signal: String,
}

/// `null` where a list or text is expected means none: what Go writes for empty ones.
fn or_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// How an image says that its program is run. Empty where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// First part of the command line.
    pub entrypoint: Vec<String>,
    /// Second part: what a user's own command replaces.
    pub cmd: Vec<String>,
    /// Environment variables, `NAME=value`.
    pub env: Vec<String>,
    /// Working directory.
    pub workdir: String,
    /// User: `name`, `uid`, `name:group`, `uid:gid`.
    pub user: String,
    /// Ports that it answers on: `80/tcp`.
    pub exposed: Vec<String>,
    /// Directories that it keeps data in.
    pub volumes: Vec<String>,
    /// Signal that asks it to stop: `SIGQUIT`.
    pub stop_signal: String,
}

impl Configuration {
    /// The part about running it.
    pub(super) fn process(self) -> Result<ImageConfig> {
        let process = self.config;
        let lists = [&process.entrypoint, &process.cmd, &process.env];
        let texts = [&process.working_dir, &process.user, &process.stop_signal];
        if lists.into_iter().flatten().chain(texts).any(|text| text.contains('\0')) {
            return Err(Error::new(Kind::Hostile, "image configuration has a NUL byte in a text"));
        }
        Ok(ImageConfig {
            entrypoint: process.entrypoint,
            cmd: process.cmd,
            env: process.env,
            workdir: process.working_dir,
            user: process.user,
            exposed: process.exposed_ports.into_keys().collect(),
            volumes: process.volumes.into_keys().collect(),
            stop_signal: process.stop_signal,
        })
    }
}

/// The name of an architecture in image documents.
pub(in crate::container) fn platform_name(arch: coracle_format::slot::Arch) -> &'static str {
    match arch {
        coracle_format::slot::Arch::X86_64 => "amd64",
        coracle_format::slot::Arch::Aarch64 => "arm64",
    }
}
