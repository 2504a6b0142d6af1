//! Archive keys, and the text of a clear-signed message under a good signature.

use super::{Freshness, deb822};
use crate::error::{Doing, Error, Kind, Result};
use pgp::{
    composed::{CleartextSignedMessage, Deserializable, SignedPublicKey, SignedPublicSubKey},
    crypto::hash::HashAlgorithm,
    packet::{KeyFlags, PublicKey, PublicSubkey, Signature, SignatureType},
    types::{KeyDetails, Tag, Timestamp},
};
use std::{fs, path::Path};

/// Most keys in a keyring, and signatures on a message.
const KEYS_MAX: usize = 256;
const SIGNATURES_MAX: usize = 16;
/// Largest keyring file.
const KEYRING_BYTES_MAX: u64 = 4 << 20;
/// How far ahead of this machine's clock a signed date may be, seconds.
pub const CLOCK_TOLERANCE: u64 = 600;

/// Debian's archive keys, as committed in `builder/data/keyrings`; its README lists their fingerprints.
const DEBIAN_KEYS: [&[u8]; 6] = [
    include_bytes!("../../data/keyrings/debian-archive-bookworm-automatic.gpg"),
    include_bytes!("../../data/keyrings/debian-archive-bookworm-security-automatic.gpg"),
    include_bytes!("../../data/keyrings/debian-archive-bookworm-stable.gpg"),
    include_bytes!("../../data/keyrings/debian-archive-trixie-automatic.gpg"),
    include_bytes!("../../data/keyrings/debian-archive-trixie-security-automatic.gpg"),
    include_bytes!("../../data/keyrings/debian-archive-trixie-stable.gpg"),
];

/// When a judgement is made, and how strictly.
#[derive(Clone, Copy, Debug)]
pub struct Judge {
    /// Seconds since 1970.
    pub now: u64,
    /// Whether expiry counts.
    pub freshness: Freshness,
}

/// The keys whose signatures count.
#[derive(Debug)]
pub struct Keyring {
    signers: Vec<Signer>,
    primaries: Vec<String>,
}

/// A key or subkey that may sign.
#[derive(Debug)]
struct Signer {
    key: Key,
    fingerprint: String,
    created: u64,
    expires: Option<u64>,
}

#[derive(Debug)]
enum Key {
    Primary(PublicKey),
    Sub(PublicSubkey),
}

/// What a key of the ring has signed: nothing else of the message may be read.
#[derive(Debug)]
pub struct Signed {
    /// The signed text, with `\n` line ends.
    pub text: String,
    /// Fingerprint of the key or subkey that signed it.
    pub signer: String,
}

impl Keyring {
    /// Debian's archive keys.
    pub fn debian() -> Result<Self> {
        let mut ring = Self::empty();
        for bytes in DEBIAN_KEYS {
            ring.add(bytes).map_err(|error| error_in("the built-in keyring", error))?;
        }
        Ok(ring)
    }

    /// The keys in a file, armoured or not.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::metadata(path).doing("read keyring", path)?.len();
        if bytes > KEYRING_BYTES_MAX {
            let text = format!("keyring {} is larger than {KEYRING_BYTES_MAX} bytes", path.display());
            return Err(Error::new(Kind::Hostile, text));
        }
        let bytes = fs::read(path).doing("read keyring", path)?;
        Self::parse(&bytes).map_err(|error| error_in(&format!("keyring {}", path.display()), error))
    }

    /// The keys in `bytes`, armoured or not.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut ring = Self::empty();
        ring.add(bytes)?;
        Ok(ring)
    }

    fn empty() -> Self {
        Self { signers: Vec::new(), primaries: Vec::new() }
    }

    fn add(&mut self, bytes: &[u8]) -> Result<()> {
        let bad = |source: pgp::errors::Error| {
            Error::new(Kind::Signature, "not a file of OpenPGP public keys").because(source.to_string())
        };
        let (keys, _) = SignedPublicKey::from_reader_many(bytes).map_err(bad)?;
        let before = self.primaries.len();
        for key in keys {
            if self.primaries.len() >= KEYS_MAX {
                let text = format!("more than {KEYS_MAX} keys");
                return Err(Error::new(Kind::Hostile, text));
            }
            self.add_key(key.map_err(bad)?);
        }
        if self.primaries.len() == before {
            return Err(Error::new(Kind::Signature, "there is no public key in it"));
        }
        Ok(())
    }

    /// Takes the key and its subkeys, as far as its own signatures say that they may sign.
    fn add_key(&mut self, key: SignedPublicKey) {
        let primary = &key.primary_key;
        self.primaries.push(fingerprint(primary));
        let Some(binding) = Binding::of_primary(&key) else {
            return;
        };
        let created = u64::from(primary.created_at().as_secs());
        let primary_expires = binding.expires(created);
        for sub in &key.public_subkeys {
            let Some(bound) = Binding::of_sub(primary, sub).filter(|bound| bound.may_sign) else {
                continue;
            };
            let created = u64::from(sub.key.created_at().as_secs());
            self.signers.push(Signer {
                fingerprint: fingerprint(&sub.key),
                key: Key::Sub(sub.key.clone()),
                created,
                expires: earliest(primary_expires, bound.expires(created)),
            });
        }
        if binding.may_sign {
            self.signers.push(Signer {
                fingerprint: fingerprint(primary),
                created,
                expires: primary_expires,
                key: Key::Primary(key.primary_key),
            });
        }
    }

    /// Fingerprints of the primary keys.
    pub fn fingerprints(&self) -> &[String] {
        &self.primaries
    }

    /// The text of a clear-signed message, if at least one key of the ring has signed it well.
    pub fn verify(&self, message: &[u8], judge: Judge) -> Result<Signed> {
        let text =
            str::from_utf8(message).map_err(|source| refused("it is not UTF-8 text").because(source))?;
        if !text.starts_with("-----BEGIN PGP SIGNED MESSAGE-----") {
            let start: String = text.chars().take(40).collect();
            return Err(refused(&format!("it is not a clear-signed message, it begins with {start:?}")));
        }
        let (message, _) = CleartextSignedMessage::from_string(text)
            .map_err(|source| refused("it cannot be read").because(source.to_string()))?;
        if message.signatures().len() > SIGNATURES_MAX {
            let text = format!("it has more than {SIGNATURES_MAX} signatures");
            return Err(refused(&text));
        }
        let text = message.signed_text();
        let mut reasons = Vec::new();
        for signature in message.signatures() {
            match self.judge(signature, text.as_bytes(), judge) {
                Ok(signer) => {
                    return Ok(Signed {
                        signer: signer.fingerprint.clone(),
                        text: deb822::unix_lines(&text).into_owned(),
                    });
                }
                Err(reason) => reasons.push(reason),
            }
        }
        let why = if reasons.is_empty() { "it has no signature".to_owned() } else { reasons.join("; ") };
        Err(refused(&why)
            .hint("give the archive's keys with --keyring FILE, if it is not Debian's own archive"))
    }

    /// Who made this signature, or why it does not count.
    fn judge(
        &self,
        signature: &Signature,
        text: &[u8],
        judge: Judge,
    ) -> std::result::Result<&Signer, String> {
        let issuer = issuer(signature);
        let strong = matches!(
            signature.hash_alg(),
            Some(
                HashAlgorithm::Sha256
                    | HashAlgorithm::Sha384
                    | HashAlgorithm::Sha512
                    | HashAlgorithm::Sha3_256
                    | HashAlgorithm::Sha3_512
            )
        );
        if !strong {
            return Err(format!("the signature by {issuer} uses a weak digest"));
        }
        let kind = signature.typ();
        if !matches!(kind, Some(SignatureType::Text | SignatureType::Binary)) {
            return Err(format!("the signature by {issuer} is not one of a document"));
        }
        let signer = self
            .signers
            .iter()
            .find(|signer| signer.has_signed(signature, text))
            .ok_or_else(|| format!("the signature by {issuer} is wrong or by an unknown key"))?;
        signer.check_dates(signature, judge)?;
        Ok(signer)
    }
}

impl Signer {
    fn has_signed(&self, signature: &Signature, text: &[u8]) -> bool {
        match &self.key {
            Key::Primary(key) => signature.verify(key, text).is_ok(),
            Key::Sub(key) => signature.verify(key, text).is_ok(),
        }
    }

    fn check_dates(&self, signature: &Signature, judge: Judge) -> std::result::Result<(), String> {
        let who = &self.fingerprint;
        let made = signature
            .created()
            .map(|time| u64::from(time.as_secs()))
            .ok_or_else(|| format!("the signature by {who} has no date"))?;
        if made < self.created {
            return Err(format!("the signature by {who} is older than the key"));
        }
        // An old release is judged as it was on the day it was signed.
        let at = match judge.freshness {
            Freshness::Enforced => judge.now,
            Freshness::Ignored => made,
        };
        if made > at.saturating_add(CLOCK_TOLERANCE) {
            return Err(format!("the signature by {who} was made in the future of this machine's clock"));
        }
        if self.expires.is_some_and(|end| at >= end) {
            return Err(format!("the key {who} has expired"));
        }
        let valid_for = signature
            .signature_expiration_time()
            .map(|time| u64::from(time.as_secs()))
            .filter(|seconds| *seconds > 0);
        if valid_for.is_some_and(|seconds| at >= made.saturating_add(seconds)) {
            return Err(format!("the signature by {who} has expired"));
        }
        Ok(())
    }
}

/// What the newest signatures that bind a key say. There is none for a revoked or unsigned key.
struct Binding {
    valid_for: Option<u64>,
    may_sign: bool,
}

impl Binding {
    fn of_primary(key: &SignedPublicKey) -> Option<Self> {
        let primary = &key.primary_key;
        let details = &key.details;
        if details.revocation_signatures.iter().any(|signature| signature.verify_key(primary).is_ok()) {
            return None;
        }
        let of_users = details.users.iter().filter_map(|user| {
            let valid = |signature: &&Signature| {
                signature.verify_certification(primary, Tag::UserId, &user.id).is_ok()
            };
            let newest = newest(user.signatures.iter().filter(valid))?;
            (newest.typ() != Some(SignatureType::CertRevocation)).then_some(newest)
        });
        let user = newest(of_users);
        let direct = newest(
            details.direct_signatures.iter().filter(|signature| signature.verify_key(primary).is_ok()),
        );
        let decisive = user.or(direct)?;
        Some(Self {
            valid_for: earliest(user.and_then(key_lifetime), direct.and_then(key_lifetime)),
            may_sign: may_sign(decisive),
        })
    }

    /// A subkey signs only if it says itself, too, that it belongs to the primary key.
    fn of_sub(primary: &PublicKey, sub: &SignedPublicSubKey) -> Option<Self> {
        let valid = || {
            sub.signatures
                .iter()
                .filter(|signature| signature.verify_subkey_binding(primary, &sub.key).is_ok())
        };
        if valid().any(|signature| signature.typ() == Some(SignatureType::SubkeyRevocation)) {
            return None;
        }
        let binding = newest(valid())?;
        let bound_back = binding
            .embedded_signature()
            .is_some_and(|back| back.verify_primary_key_binding(&sub.key, primary).is_ok());
        Some(Self { valid_for: key_lifetime(binding), may_sign: binding.key_flags().sign() && bound_back })
    }

    fn expires(&self, created: u64) -> Option<u64> {
        self.valid_for.map(|seconds| created.saturating_add(seconds))
    }
}

fn newest<'a>(signatures: impl Iterator<Item = &'a Signature>) -> Option<&'a Signature> {
    signatures.max_by_key(|signature| signature.created().map(Timestamp::as_secs))
}

fn may_sign(signature: &Signature) -> bool {
    let flags = signature.key_flags();
    flags == KeyFlags::default() || flags.sign()
}

fn key_lifetime(signature: &Signature) -> Option<u64> {
    signature.key_expiration_time().map(|time| u64::from(time.as_secs())).filter(|seconds| *seconds > 0)
}

fn earliest(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    a.into_iter().chain(b).min()
}

fn fingerprint(key: &impl KeyDetails) -> String {
    format!("{:X}", key.fingerprint())
}

fn issuer(signature: &Signature) -> String {
    if let Some(fingerprint) = signature.issuer_fingerprint().first() {
        return format!("{fingerprint:X}");
    }
    match signature.issuer_key_id().first() {
        Some(id) => format!("{id:?}"),
        None => "an unnamed key".to_owned(),
    }
}

fn refused(why: &str) -> Error {
    Error::new(Kind::Signature, format!("the signature is refused: {why}"))
}

fn error_in(what: &str, error: Error) -> Error {
    Error::new(error.kind(), format!("cannot use {what}")).because(error)
}

#[cfg(test)]
mod tests;
