//! An operator's key pair.

use crate::{error::Result, keys::SecretKey};
use coracle_format::control::{KEY_PREFIX, SIGNATURE_BYTES};
use std::{fmt, path::Path};

/// Signs requests to machines.
#[derive(Clone)]
pub struct OperatorKey(SecretKey);

impl OperatorKey {
    /// A new one.
    pub fn generate() -> Result<Self> {
        SecretKey::generate().map(Self)
    }

    /// The one in a file.
    pub fn load(path: &Path) -> Result<Self> {
        let loaded = SecretKey::load(path).map(Self);
        loaded.map_err(|error| error.hint("coracle keys operator FILE makes one"))
    }

    /// Writes it to a new file that only its owner can read.
    pub fn save(&self, path: &Path) -> Result<()> {
        self.0.save(path)
    }

    /// The public key.
    pub fn public(&self) -> [u8; 32] {
        self.0.public()
    }

    pub(super) fn sign(&self, bytes: &[u8]) -> [u8; SIGNATURE_BYTES] {
        self.0.sign(bytes)
    }
}

/// A public key as it stands in a manifest's `[control] keys`.
pub fn public_line(key: &[u8; 32]) -> String {
    key.iter().fold(KEY_PREFIX.to_owned(), |line, byte| line + &format!("{byte:02x}"))
}

impl fmt::Debug for OperatorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OperatorKey").field(&public_line(&self.public())).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{error::Kind, files};

    #[test]
    fn the_public_line_is_what_a_manifest_takes() {
        let key = OperatorKey::generate().unwrap();
        let line = public_line(&key.public());
        assert_eq!(coracle_format::control::parse_key(&line), Some(key.public()));
    }

    #[test]
    fn what_is_no_key_is_said_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        files::replace(&path, b"hello").unwrap();
        assert_eq!(OperatorKey::load(&path).unwrap_err().kind(), Kind::Usage);
    }
}
