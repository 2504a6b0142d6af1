//! SHA-256 and SHA-384 (FIPS 180-4), and HMAC (RFC 2104) with them.

use hmac::{KeyInit as _, Mac as _};
use rustls::crypto::hash::{Context, Hash, HashAlgorithm, Output};
use rustls::crypto::hmac::{Hmac, Key, Tag};
use sha2::Digest as _;

/// SHA-256.
pub(crate) struct Sha256;
/// SHA-384.
pub(crate) struct Sha384;

macro_rules! hash {
    ($name:ident, $algorithm:expr, $bytes:literal) => {
        impl Hash for $name {
            fn start(&self) -> Box<dyn Context> {
                Box::new(Running(sha2::$name::new()))
            }

            fn hash(&self, data: &[u8]) -> Output {
                Output::new(&sha2::$name::digest(data))
            }

            fn output_len(&self) -> usize {
                $bytes
            }

            fn algorithm(&self) -> HashAlgorithm {
                $algorithm
            }
        }

        impl Context for Running<sha2::$name> {
            fn fork_finish(&self) -> Output {
                Output::new(&self.0.clone().finalize())
            }

            fn fork(&self) -> Box<dyn Context> {
                Box::new(Running(self.0.clone()))
            }

            fn finish(self: Box<Self>) -> Output {
                Output::new(&self.0.finalize())
            }

            fn update(&mut self, data: &[u8]) {
                self.0.update(data);
            }
        }

        impl Hmac for $name {
            fn with_key(&self, key: &[u8]) -> Box<dyn Key> {
                // HMAC takes a key of any length; the type cannot say so.
                let mac = hmac::Hmac::<sha2::$name>::new_from_slice(key);
                Box::new(Keyed(mac.unwrap_or_else(|_| hmac::Hmac::new(&Default::default()))))
            }

            fn hash_output_len(&self) -> usize {
                $bytes
            }
        }

        impl Key for Keyed<hmac::Hmac<sha2::$name>> {
            fn sign_concat(&self, first: &[u8], middle: &[&[u8]], last: &[u8]) -> Tag {
                let mut mac = self.0.clone();
                mac.update(first);
                for part in middle {
                    mac.update(part);
                }
                mac.update(last);
                Tag::new(&mac.finalize().into_bytes())
            }

            fn tag_len(&self) -> usize {
                $bytes
            }
        }
    };
}

struct Running<T>(T);
struct Keyed<T>(T);

hash!(Sha256, HashAlgorithm::SHA256, 32);
hash!(Sha384, HashAlgorithm::SHA384, 48);
