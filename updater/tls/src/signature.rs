//! The signatures of certificates and handshakes (RFC 8446 §4.2.3).

use rsa::pkcs1::DecodeRsaPublicKey as _;
use rsa::traits::PublicKeyParts as _;
use rsa::{Pkcs1v15Sign, Pss, RsaPublicKey};
use rustls::SignatureScheme;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};
use sha2::{Digest as _, Sha256, Sha384, Sha512};

/// Bits of an RSA key: below, too weak; above, a way to keep the processor busy.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// What is understood.
pub(crate) const ALGORITHMS: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[
        &Algorithm::EcdsaP256Sha256,
        &Algorithm::EcdsaP256Sha384,
        &Algorithm::EcdsaP384Sha256,
        &Algorithm::EcdsaP384Sha384,
        &Algorithm::Ed25519,
        &Algorithm::RsaPkcs1Sha256,
        &Algorithm::RsaPkcs1Sha384,
        &Algorithm::RsaPkcs1Sha512,
        &Algorithm::RsaPssSha256,
        &Algorithm::RsaPssSha384,
        &Algorithm::RsaPssSha512,
    ],
    mapping: &[
        (SignatureScheme::ECDSA_NISTP256_SHA256, &[&Algorithm::EcdsaP256Sha256]),
        (SignatureScheme::ECDSA_NISTP384_SHA384, &[&Algorithm::EcdsaP384Sha384]),
        (SignatureScheme::ED25519, &[&Algorithm::Ed25519]),
        (SignatureScheme::RSA_PSS_SHA256, &[&Algorithm::RsaPssSha256]),
        (SignatureScheme::RSA_PSS_SHA384, &[&Algorithm::RsaPssSha384]),
        (SignatureScheme::RSA_PSS_SHA512, &[&Algorithm::RsaPssSha512]),
        // For certificates only: TLS 1.3 does not sign a handshake with them.
        (SignatureScheme::RSA_PKCS1_SHA256, &[&Algorithm::RsaPkcs1Sha256]),
        (SignatureScheme::RSA_PKCS1_SHA384, &[&Algorithm::RsaPkcs1Sha384]),
        (SignatureScheme::RSA_PKCS1_SHA512, &[&Algorithm::RsaPkcs1Sha512]),
    ],
};

#[derive(Clone, Copy, Debug)]
enum Algorithm {
    EcdsaP256Sha256,
    EcdsaP256Sha384,
    EcdsaP384Sha256,
    EcdsaP384Sha384,
    Ed25519,
    RsaPkcs1Sha256,
    RsaPkcs1Sha384,
    RsaPkcs1Sha512,
    RsaPssSha256,
    RsaPssSha384,
    RsaPssSha512,
}

impl SignatureVerificationAlgorithm for Algorithm {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let valid = match self {
            Self::EcdsaP256Sha256 => p256(key, &Sha256::digest(message), signature),
            Self::EcdsaP256Sha384 => p256(key, &Sha384::digest(message), signature),
            Self::EcdsaP384Sha256 => p384(key, &Sha256::digest(message), signature),
            Self::EcdsaP384Sha384 => p384(key, &Sha384::digest(message), signature),
            Self::Ed25519 => ed25519(key, message, signature),
            Self::RsaPkcs1Sha256 => {
                rsa(key, Pkcs1v15Sign::new::<Sha256>(), &Sha256::digest(message), signature)
            }
            Self::RsaPkcs1Sha384 => {
                rsa(key, Pkcs1v15Sign::new::<Sha384>(), &Sha384::digest(message), signature)
            }
            Self::RsaPkcs1Sha512 => {
                rsa(key, Pkcs1v15Sign::new::<Sha512>(), &Sha512::digest(message), signature)
            }
            Self::RsaPssSha256 => rsa(key, Pss::<Sha256>::new(), &Sha256::digest(message), signature),
            Self::RsaPssSha384 => rsa(key, Pss::<Sha384>::new(), &Sha384::digest(message), signature),
            Self::RsaPssSha512 => rsa(key, Pss::<Sha512>::new(), &Sha512::digest(message), signature),
        };
        valid.ok_or(InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        match self {
            Self::EcdsaP256Sha256 | Self::EcdsaP256Sha384 => alg_id::ECDSA_P256,
            Self::EcdsaP384Sha256 | Self::EcdsaP384Sha384 => alg_id::ECDSA_P384,
            Self::Ed25519 => alg_id::ED25519,
            Self::RsaPkcs1Sha256
            | Self::RsaPkcs1Sha384
            | Self::RsaPkcs1Sha512
            | Self::RsaPssSha256
            | Self::RsaPssSha384
            | Self::RsaPssSha512 => alg_id::RSA_ENCRYPTION,
        }
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        match self {
            Self::EcdsaP256Sha256 | Self::EcdsaP384Sha256 => alg_id::ECDSA_SHA256,
            Self::EcdsaP256Sha384 | Self::EcdsaP384Sha384 => alg_id::ECDSA_SHA384,
            Self::Ed25519 => alg_id::ED25519,
            Self::RsaPkcs1Sha256 => alg_id::RSA_PKCS1_SHA256,
            Self::RsaPkcs1Sha384 => alg_id::RSA_PKCS1_SHA384,
            Self::RsaPkcs1Sha512 => alg_id::RSA_PKCS1_SHA512,
            Self::RsaPssSha256 => alg_id::RSA_PSS_SHA256,
            Self::RsaPssSha384 => alg_id::RSA_PSS_SHA384,
            Self::RsaPssSha512 => alg_id::RSA_PSS_SHA512,
        }
    }
}

fn p256(key: &[u8], digest: &[u8], signature: &[u8]) -> Option<()> {
    use p256::ecdsa::{DerSignature, VerifyingKey, signature::hazmat::PrehashVerifier as _};
    let key = VerifyingKey::from_sec1_bytes(key).ok()?;
    key.verify_prehash(digest, &DerSignature::from_bytes(signature).ok()?).ok()
}

fn p384(key: &[u8], digest: &[u8], signature: &[u8]) -> Option<()> {
    use p384::ecdsa::{DerSignature, VerifyingKey, signature::hazmat::PrehashVerifier as _};
    let key = VerifyingKey::from_sec1_bytes(key).ok()?;
    key.verify_prehash(digest, &DerSignature::from_bytes(signature).ok()?).ok()
}

fn ed25519(key: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    let key = ed25519_dalek::VerifyingKey::from_bytes(key.try_into().ok()?).ok()?;
    key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature.try_into().ok()?)).ok()
}

fn rsa(key: &[u8], scheme: impl rsa::traits::SignatureScheme, digest: &[u8], signature: &[u8]) -> Option<()> {
    let key = RsaPublicKey::from_pkcs1_der(key).ok()?;
    let bits = usize::try_from(key.n().bits()).ok()?;
    RSA_BITS.contains(&bits).then_some(())?;
    key.verify(scheme, digest, signature).ok()
}
