//! What a document says about another file, and whether bytes are that file.

use crate::{hex::hex, json::Value};
use sha2::{Digest as _, Sha256, Sha512};

/// What a document says about another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Version of the other document.
    pub version: u32,
    /// Its bytes, if that is said.
    pub length: Option<u64>,
    /// Its digests.
    pub hashes: Hashes,
}

/// Digests of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hashes {
    /// SHA-256.
    pub sha256: Option<[u8; 32]>,
    /// SHA-512.
    pub sha512: Option<Box<[u8; 64]>>,
}

impl Listed {
    /// An entry of `meta`. `None` if it is not well-formed.
    pub(super) fn read(stated: &Value) -> Option<Self> {
        let version = stated.get("version").and_then(Value::number).and_then(|it| u32::try_from(it).ok());
        let length = match stated.get("length") {
            None => None,
            Some(length) => Some(length.number()?),
        };
        let hashes = match stated.get("hashes") {
            None => Hashes::default(),
            Some(hashes) => Hashes::read(hashes)?,
        };
        Some(Self { version: version.filter(|version| *version > 0)?, length, hashes })
    }

    /// Whether these are its bytes, as far as it is said which.
    pub(super) fn is(&self, bytes: &[u8]) -> bool {
        let length = u64::try_from(bytes.len());
        self.length.is_none_or(|stated| length == Ok(stated)) && self.hashes.are_of(bytes)
    }
}

impl Hashes {
    /// Digests of kinds that nobody here computes prove nothing; that at least one is known must be so.
    pub(super) fn read(stated: &Value) -> Option<Self> {
        stated.map()?;
        let text = |name| stated.get(name).map(|value| value.text().unwrap_or_default());
        let sha256 = match text("sha256") {
            None => None,
            Some(text) => Some(hex(text)?),
        };
        let sha512 = match text("sha512") {
            None => None,
            Some(text) => Some(Box::new(hex(text)?)),
        };
        (sha256.is_some() || sha512.is_some()).then_some(Self { sha256, sha512 })
    }

    /// Whether all of them are those of these bytes.
    pub fn are_of(&self, bytes: &[u8]) -> bool {
        self.sha256.is_none_or(|digest| Sha256::digest(bytes)[..] == digest)
            && self.sha512.as_ref().is_none_or(|digest| Sha512::digest(bytes)[..] == digest[..])
    }
}
