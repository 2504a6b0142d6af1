//! Keys that may sign, and what their signatures prove.

use crate::{document::PublicKey, hex::hex, json::Value};
use ed25519_dalek::VerifyingKey;

/// Kinds of keys that count. Devices and the builder know one; everything that reads roots can be told another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kinds {
    /// Ed25519 only.
    #[default]
    Ed25519,
    /// ECDSA over P-256 with SHA-256 too: what the public conformance suite signs with.
    #[cfg(feature = "ecdsa")]
    WithEcdsa,
}

/// A public key of a kind that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// Ed25519.
    Ed25519(PublicKey),
    /// ECDSA over P-256.
    #[cfg(feature = "ecdsa")]
    P256(Box<p256::ecdsa::VerifyingKey>),
}

impl Key {
    /// A key as metadata states it; `None` for other kinds, which other clients may understand.
    pub(crate) fn read(kinds: Kinds, stated: &Value) -> Option<Self> {
        let text = |name: &str| stated.get(name).and_then(Value::text);
        let public = stated.get("keyval")?.get("public")?.text()?;
        match (kinds, text("keytype")?, text("scheme")?) {
            (_, "ed25519", "ed25519") => hex(public).map(Self::Ed25519),
            #[cfg(feature = "ecdsa")]
            (Kinds::WithEcdsa, "ecdsa" | "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256") => {
                use p256::pkcs8::DecodePublicKey as _;
                p256::PublicKey::from_public_key_pem(public).ok().map(|key| Self::P256(Box::new(key.into())))
            }
            _ => None,
        }
    }

    /// The Ed25519 key, if it is one.
    pub const fn ed25519(&self) -> Option<&PublicKey> {
        match self {
            Self::Ed25519(key) => Some(key),
            #[cfg(feature = "ecdsa")]
            Self::P256(_) => None,
        }
    }

    /// Strict verification: no key of small order, no second form of a signature.
    pub(crate) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Ed25519(key) => {
                let signature = ed25519_dalek::Signature::from_slice(signature);
                let key = VerifyingKey::from_bytes(key);
                key.and_then(|key| key.verify_strict(message, &signature?)).is_ok()
            }
            #[cfg(feature = "ecdsa")]
            Self::P256(key) => {
                use p256::ecdsa::signature::Verifier as _;
                p256::ecdsa::Signature::from_der(signature)
                    .is_ok_and(|signature| key.verify(message, &signature).is_ok())
            }
        }
    }
}
