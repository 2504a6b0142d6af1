//! Targets metadata of a bundle: the one release that it describes.

use crate::{
    Release, date,
    document::{Document, hex},
    error::TrustError,
    json::Value,
};
use coracle_format::{bundle::INDEX_BYTES_MAX, slot::Arch, version::Version};

/// Bytes of an image's name at most.
const NAME_BYTES_MAX: usize = coracle_format::slot::TEXT_BYTES;

/// The length and digest of the index, and the release, as a verified document states them.
pub(crate) fn read(targets: &Document) -> Result<(u64, [u8; 32], Release), TrustError> {
    let [(_, target)] = targets.field("targets")?.map().ok_or_else(|| targets.wrong("targets"))? else {
        return Err(TrustError::NotARelease("number of targets"));
    };
    let missing = TrustError::NotARelease;
    let limit = u64::try_from(INDEX_BYTES_MAX).unwrap_or(u64::MAX);
    let length = target.get("length").and_then(Value::number).filter(|length| (1..=limit).contains(length));
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
