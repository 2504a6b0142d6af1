//! A signed document: what is signed, and by whom.

use crate::{
    date,
    error::{Fault, Role, TrustError},
    hex::hex_up_to,
    json::Value,
    key::{Key, Kinds},
};

/// Bytes of one document at most.
pub const DOCUMENT_BYTES_MAX: usize = coracle_format::bundle::METADATA_BYTES_MAX;
/// Signatures on one document at most.
const SIGNATURES_MAX: usize = 64;
/// Bytes of a signature at most that is of a kind that counts.
const SIGNATURE_BYTES_MAX: usize = 80;
/// Keys in one root, or for the delegations of one document, at most.
const KEYS_MAX: usize = 64;

/// A public Ed25519 key.
pub type PublicKey = [u8; 32];

/// A document of which nothing but its form has been checked.
#[derive(Clone, Debug)]
pub struct Document {
    role: Role,
    signed: Value,
    /// Key id and signature; `None` for what is no signature of a kind that counts.
    signatures: Vec<(String, Option<Vec<u8>>)>,
}

/// Who may sign: key ids with their keys (`None` for keys of kinds that are not supported), and how many must.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The keys.
    pub keys: Vec<(String, Option<Key>)>,
    /// How many distinct ones must sign.
    pub threshold: u32,
}

impl Authority {
    /// Whether a key is among them.
    pub fn has(&self, key: &PublicKey) -> bool {
        self.keys.iter().any(|(_, known)| known.as_ref().and_then(Key::ed25519) == Some(key))
    }

    /// What a role of a root or a delegation says, with the keys that the document lists.
    pub(crate) fn read(kinds: Kinds, stated: &Value, keys: &[(String, Value)]) -> Result<Self, Fault> {
        let threshold = stated.get("threshold").and_then(Value::number);
        let threshold = threshold.and_then(|number| u32::try_from(number).ok());
        let threshold = threshold.ok_or(Fault::Field("threshold"))?;
        if threshold == 0 {
            return Err(Fault::Threshold);
        }
        if keys.len() > KEYS_MAX {
            return Err(Fault::Field("keys"));
        }
        let ids = stated.get("keyids").and_then(Value::list).filter(|ids| ids.len() <= KEYS_MAX);
        let mut named: Vec<(String, Option<Key>)> = Vec::new();
        for id in ids.ok_or(Fault::Field("keyids"))? {
            let id = id.text().ok_or(Fault::Field("keyids"))?;
            if named.iter().any(|(known, _)| known == id) {
                return Err(Fault::Field("keyids"));
            }
            // A key that is named but not there is a key that never signs.
            let key = keys.iter().find(|(known, _)| known == id).and_then(|(_, key)| Key::read(kinds, key));
            named.push((id.to_owned(), key));
        }
        Ok(Self { keys: named, threshold })
    }
}

impl Document {
    /// Takes a document apart: `signatures`, and `signed`, which must say that it is of this role and follows TUF 1.
    /// Other fields are ignored, as the specification demands.
    pub fn parse(role: Role, bytes: &[u8]) -> Result<Self, TrustError> {
        let fault = |why| TrustError::Document { role, why };
        if bytes.len() > DOCUMENT_BYTES_MAX {
            return Err(fault(Fault::TooLarge));
        }
        let Value::Map(members) = Value::parse(bytes).map_err(fault)? else {
            return Err(fault(Fault::Field("signed")));
        };
        let (mut signed, mut signatures) = (None, None);
        for (name, value) in members {
            match name.as_str() {
                "signed" => signed = Some(value),
                "signatures" => signatures = Some(value),
                _ => {}
            }
        }
        let signatures = signatures.as_ref().and_then(Value::list).and_then(read_signatures);
        let signatures = signatures.ok_or_else(|| fault(Fault::Field("signatures")))?;
        let signed =
            signed.filter(|signed| signed.map().is_some()).ok_or_else(|| fault(Fault::Field("signed")))?;
        let this = Self { role, signed, signatures };
        if this.field("_type")?.text() != Some(role.name()) {
            return Err(fault(Fault::Type));
        }
        if !this.field("spec_version")?.text().is_some_and(is_known_specification) {
            return Err(fault(Fault::Specification));
        }
        Ok(this)
    }

    /// Checks that enough distinct keys have signed the canonical form. `by` is the version of the root that says so.
    pub fn verify(&self, authority: &Authority, by: u32) -> Result<(), TrustError> {
        let (valid, threshold) = (self.valid(authority), authority.threshold);
        if reaches(valid, threshold) {
            return Ok(());
        }
        Err(TrustError::Signatures { role: self.role, valid, threshold, by })
    }

    /// The same for a document of a delegated role; the error is how many distinct keys have signed it.
    pub(crate) fn verify_delegated(&self, authority: &Authority) -> Result<(), usize> {
        let valid = self.valid(authority);
        if reaches(valid, authority.threshold) { Ok(()) } else { Err(valid) }
    }

    /// How many distinct keys have signed.
    fn valid(&self, authority: &Authority) -> usize {
        let message = self.signed.canonical();
        let mut valid: Vec<&Key> = Vec::new();
        for (id, signature) in &self.signatures {
            let known = authority.keys.iter().find(|(known, _)| known == id);
            let (Some((_, Some(key))), Some(signature)) = (known, signature) else {
                continue;
            };
            // By the key and not by its id: one key under two names is still one key.
            if !valid.contains(&key) && key.has_signed(&message, signature) {
                valid.push(key);
            }
        }
        valid.len()
    }

    /// Ids of the keys that the document says it is signed by. Proves nothing.
    pub fn signers(&self) -> impl Iterator<Item = &str> {
        self.signatures.iter().map(|(id, _)| id.as_str())
    }

    /// The document's own version.
    pub fn version(&self) -> Result<u32, TrustError> {
        let version = self.field("version")?.number().and_then(|number| u32::try_from(number).ok());
        version.filter(|version| *version > 0).ok_or_else(|| self.wrong("version"))
    }

    /// When it expires, seconds since 1970.
    pub fn expires(&self) -> Result<u64, TrustError> {
        self.field("expires")?.text().and_then(date::parse).ok_or_else(|| self.wrong("expires"))
    }

    /// A field of what is signed.
    pub(crate) fn field(&self, name: &'static str) -> Result<&Value, TrustError> {
        self.signed.get(name).ok_or_else(|| self.wrong(name))
    }

    /// The error for a field that is not what it must be.
    pub(crate) const fn wrong(&self, name: &'static str) -> TrustError {
        TrustError::Document { role: self.role, why: Fault::Field(name) }
    }
}

fn reaches(valid: usize, threshold: u32) -> bool {
    threshold > 0 && u32::try_from(valid).is_ok_and(|valid| valid >= threshold)
}

fn read_signatures(list: &[Value]) -> Option<Vec<(String, Option<Vec<u8>>)>> {
    if list.len() > SIGNATURES_MAX {
        return None;
    }
    let mut out: Vec<(String, Option<Vec<u8>>)> = Vec::new();
    for item in list {
        let (id, signature) = (item.get("keyid")?.text()?, item.get("sig")?.text()?);
        // One key signs once: a document that says otherwise is not well-formed.
        if out.iter().any(|(known, _)| known == id) {
            return None;
        }
        out.push((id.to_owned(), hex_up_to(signature, SIGNATURE_BYTES_MAX)));
    }
    Some(out)
}

/// `1.0.31` and the like: the first number is what breaks compatibility.
fn is_known_specification(text: &str) -> bool {
    let mut parts = text.split('.');
    let decimal = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    text.len() <= 32
        && parts.next() == Some("1")
        && (1..=2).contains(&parts.clone().count())
        && parts.all(decimal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_the_specification_are_told_apart() {
        for good in ["1.0", "1.0.0", "1.0.31", "1.5"] {
            assert!(is_known_specification(good), "{good}");
        }
        for bad in ["", "1", "1.", "1..0", "2.0.0", "0.9", "1.0.0.0", "1.x", "11.0", "1.0.0-rc"] {
            assert!(!is_known_specification(bad), "{bad}");
        }
    }
}
