//! TLS 1.3 for device programs: a [rustls](rustls) crypto provider made of RustCrypto's pure Rust crates, so that no C
//! compiler for the device's architecture is needed.
//!
//! What it speaks: TLS 1.3 (RFC 8446) alone, with ChaCha20-Poly1305 and AES-GCM, X25519 and P-256, certificates of ECDSA
//! (P-256, P-384), Ed25519 and RSA keys. It is a client: it holds no private key.
//!
//! What an update is trusted for is decided by its signed metadata, never by the connection it came over: TLS keeps
//! what a machine fetches from being read and saves it from fetching rubbish. [`client`] therefore takes a clock that
//! may not be set: then the dates of certificates are not judged, everything else is.
#![forbid(unsafe_code)]

mod aead;
mod certificate;
mod exchange;
mod hash;
mod signature;

pub use certificate::{Clock, client};

use rustls::crypto::{CryptoProvider, GetRandomFailed, KeyProvider, SecureRandom};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::SigningKey;
use std::sync::Arc;

/// The provider.
pub fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: aead::SUITES.to_vec(),
        kx_groups: exchange::GROUPS.to_vec(),
        signature_verification_algorithms: signature::ALGORITHMS,
        secure_random: &Kernel,
        key_provider: &NoKeys,
    }
}

/// The kernel's random numbers.
#[derive(Debug)]
struct Kernel;

impl SecureRandom for Kernel {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), GetRandomFailed> {
        getrandom::fill(buffer).or(Err(GetRandomFailed))
    }
}

/// A client without certificates of its own.
#[derive(Debug)]
struct NoKeys;

impl KeyProvider for NoKeys {
    fn load_private_key(&self, _: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        Err(rustls::Error::General("this client holds no private key".to_owned()))
    }
}
