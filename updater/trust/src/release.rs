//! Targets metadata: the one release that a bundle's describes, and those that a channel's vouches for.

use crate::{
    Release, date,
    document::Document,
    error::TrustError,
    hex::{hex, to_hex},
    json::Value,
};
use coracle_format::{bundle::INDEX_BYTES_MAX, slot::Arch, version::Version};

/// Bytes of an image's name at most.
const NAME_BYTES_MAX: usize = coracle_format::slot::TEXT_BYTES;

/// Deltas to one release at most.
pub const DELTAS_MAX: usize = 16;

/// A delta to a release, beside its bundle in the repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delta {
    /// The release that it starts from: SHA-256 of its boot artefact.
    pub from: [u8; 32],
    /// Bytes of the delta.
    pub length: u64,
    /// SHA-256 of the delta.
    pub sha256: [u8; 32],
}

/// A release that the targets document of a channel vouches for, and the bundle that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vouched {
    /// Bytes of the bundle.
    pub length: u64,
    /// SHA-256 of the bundle.
    pub sha256: [u8; 32],
    /// Bytes of its index.
    pub index_length: u64,
    /// SHA-256 of its index.
    pub index_sha256: [u8; 32],
    /// The release's id: SHA-256 of its boot artefact.
    pub id: [u8; 32],
    /// The release.
    pub release: Release,
    /// Deltas that lead to it, at most [`DELTAS_MAX`].
    pub deltas: Vec<Delta>,
}

impl Vouched {
    /// The path of its target: `<name>-<arch>-<version>.bundle`.
    pub fn path(&self) -> String {
        let Release { name, arch, version, .. } = &self.release;
        format!("{name}-{}-{version}.bundle", arch.name())
    }

    /// The file of its bundle among the targets of the repository: `<sha256>.<path>`.
    pub fn file(&self) -> String {
        format!("{}.{}", to_hex(&self.sha256), self.path())
    }

    /// The file of a delta to it: `<sha256>.<name>-<arch>-<version>.from-<16 digits of the release>.delta`.
    pub fn delta_file(&self, delta: &Delta) -> String {
        let Release { name, arch, version, .. } = &self.release;
        let (sha256, from) = (to_hex(&delta.sha256), to_hex(&delta.from[..8]));
        format!("{sha256}.{name}-{}-{version}.from-{from}.delta", arch.name())
    }

    /// Reads the entry of a targets document; the path must be the release's own.
    pub fn read(path: &str, target: &Value) -> Result<Self, TrustError> {
        let wrong = TrustError::NotARelease;
        let custom = target.get("custom").ok_or_else(|| wrong("custom"))?;
        let index = custom.get("index").ok_or_else(|| wrong("index"))?;
        let index_length =
            index.get("length").and_then(Value::number).filter(|length| is_index_length(*length));
        let index_sha256 = index.get("sha256").and_then(Value::text).and_then(hex);
        let id = custom.get("release").and_then(Value::text).and_then(hex);
        let sha256 = target.get("hashes").and_then(|hashes| hashes.get("sha256"));
        let length = target.get("length").and_then(Value::number).filter(|length| *length > 0);
        let this = Self {
            length: length.ok_or_else(|| wrong("length"))?,
            sha256: sha256.and_then(Value::text).and_then(hex).ok_or_else(|| wrong("sha256"))?,
            index_length: index_length.ok_or_else(|| wrong("index"))?,
            index_sha256: index_sha256.ok_or_else(|| wrong("index"))?,
            id: id.ok_or_else(|| wrong("release"))?,
            release: release(custom)?,
            deltas: deltas(custom)?,
        };
        if this.path() == path { Ok(this) } else { Err(wrong("path")) }
    }
}

fn deltas(custom: &Value) -> Result<Vec<Delta>, TrustError> {
    let wrong = || TrustError::NotARelease("deltas");
    let Some(stated) = custom.get("deltas") else {
        return Ok(Vec::new());
    };
    let stated = stated.list().filter(|list| list.len() <= DELTAS_MAX).ok_or_else(wrong)?;
    let delta = |entry: &Value| {
        Some(Delta {
            from: entry.get("from").and_then(Value::text).and_then(hex)?,
            length: entry.get("length").and_then(Value::number).filter(|length| *length > 0)?,
            sha256: entry.get("sha256").and_then(Value::text).and_then(hex)?,
        })
    };
    stated.iter().map(delta).collect::<Option<_>>().ok_or_else(wrong)
}

fn is_index_length(length: u64) -> bool {
    let limit = u64::try_from(INDEX_BYTES_MAX).unwrap_or(u64::MAX);
    (1..=limit).contains(&length)
}

/// The length and digest of the index, and the release, as a verified document states them.
pub(crate) fn read(targets: &Document) -> Result<(u64, [u8; 32], Release), TrustError> {
    let [(_, target)] = targets.field("targets")?.map().ok_or_else(|| targets.wrong("targets"))? else {
        return Err(TrustError::NotARelease("number of targets"));
    };
    let missing = TrustError::NotARelease;
    let length = target.get("length").and_then(Value::number).filter(|length| is_index_length(*length));
    let sha256 =
        target.get("hashes").and_then(|hashes| hashes.get("sha256")).and_then(Value::text).and_then(hex);
    let custom = target.get("custom").ok_or_else(|| missing("custom"))?;
    Ok((length.ok_or_else(|| missing("length"))?, sha256.ok_or_else(|| missing("sha256"))?, release(custom)?))
}

fn release(custom: &Value) -> Result<Release, TrustError> {
    let text =
        |name: &'static str| custom.get(name).and_then(Value::text).ok_or(TrustError::NotARelease(name));
    let wrong = TrustError::NotARelease;
    let clean = |name: &&str| {
        !name.is_empty()
            && name.len() <= NAME_BYTES_MAX
            && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
    };
    let arch = text("arch")?;
    let epoch = custom.get("epoch").and_then(Value::number).and_then(|epoch| u32::try_from(epoch).ok());
    let replaces = match custom.get("replaces") {
        None => None,
        Some(stated) => Some(stated.text().and_then(Version::parse).ok_or_else(|| wrong("replaces"))?),
    };
    Ok(Release {
        name: Some(text("name")?).filter(clean).ok_or_else(|| wrong("name"))?.to_owned(),
        arch: [Arch::X86_64, Arch::Aarch64]
            .into_iter()
            .find(|known| known.name() == arch)
            .ok_or_else(|| wrong("arch"))?,
        version: Version::parse(text("version")?).ok_or_else(|| wrong("version"))?,
        epoch: epoch.ok_or_else(|| wrong("epoch"))?,
        released: date::parse(text("released")?).ok_or_else(|| wrong("released"))?,
        replaces,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish;

    fn vouched(deltas: usize) -> Vouched {
        let delta = |number: usize| Delta {
            from: [u8::try_from(number).unwrap(); 32],
            length: 1 + u64::try_from(number).unwrap(),
            sha256: [9; 32],
        };
        Vouched {
            length: 5000,
            sha256: [1; 32],
            index_length: 400,
            index_sha256: [2; 32],
            id: [3; 32],
            release: Release {
                name: "hello".to_owned(),
                arch: Arch::X86_64,
                version: Version::from_u64(1 << 48),
                epoch: 0,
                released: 1_790_000_000,
                replaces: None,
            },
            deltas: (0..deltas).map(delta).collect(),
        }
    }

    /// What is read from a document of this release, changed as text.
    fn read(vouched: &Vouched, change: impl Fn(String) -> String) -> Result<Vouched, TrustError> {
        let document = publish::releases(1, 4_000_000_000, std::slice::from_ref(vouched), &[]).unwrap();
        let text = change(String::from_utf8(document).unwrap());
        let value = Value::parse(text.as_bytes()).unwrap();
        let (path, target) = value.get("targets").and_then(Value::map).unwrap()[0].clone();
        Vouched::read(&path, &target)
    }

    #[test]
    fn deltas_are_read_as_they_were_published_and_need_not_be_there() {
        for count in [0, 1, DELTAS_MAX] {
            let vouched = vouched(count);
            assert_eq!(read(&vouched, |text| text), Ok(vouched.clone()), "{count}");
        }
        let name = "hello-x86_64-1.0.0.from-0000000000000000.delta";
        let digest = "09".repeat(32);
        assert_eq!(vouched(1).delta_file(&vouched(1).deltas[0]), format!("{digest}.{name}"));
    }

    #[test]
    fn too_many_or_malformed_deltas_are_refused_with_their_release() {
        let wrong = Err(TrustError::NotARelease("deltas"));
        assert_eq!(read(&vouched(DELTAS_MAX + 1), |text| text), wrong);
        for (from, to) in [
            ("\"from\"", "\"form\""),
            ("\"length\":1,", "\"length\":0,"),
            ("\"09", "\"X9"),
            ("[{\"from", "[7,{\"from"),
        ] {
            assert_eq!(read(&vouched(1), |text| text.replace(from, to)), wrong, "{from}");
        }
    }
}
