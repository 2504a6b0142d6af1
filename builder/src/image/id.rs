//! Identifiers that look random and are not: derived from a seed, so that equal inputs give equal bytes.

use crate::digest::{Digest, Hasher};
use coracle_format::guid::Guid;

/// 32 bytes for a purpose.
pub fn derive(seed: &Digest, purpose: &str) -> [u8; 32] {
    let mut hasher = Hasher::default();
    hasher.field(&seed.0);
    hasher.field(purpose.as_bytes());
    hasher.digest().0
}

/// A GUID for a purpose.
pub fn guid(seed: &Digest, purpose: &str) -> Guid {
    Guid::from_random(first_half(derive(seed, purpose)))
}

/// A UUID for a purpose, in the order of its text form: what file systems and dm-verity store.
pub fn uuid(seed: &Digest, purpose: &str) -> [u8; 16] {
    let mut bytes = first_half(derive(seed, purpose));
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    bytes
}

/// The text form of a UUID: `aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee`.
pub fn uuid_text(bytes: &[u8; 16]) -> String {
    // A GUID is written with its first three fields little-endian, and printed the other way round.
    let mut mixed = *bytes;
    for field in [0..4, 4..6, 6..8] {
        mixed[field].reverse();
    }
    Guid(mixed).to_string()
}

fn first_half(bytes: [u8; 32]) -> [u8; 16] {
    let mut out = [0; 16];
    out.copy_from_slice(&bytes[..16]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_differ_by_purpose_and_carry_version_and_variant() {
        let seed = Digest::of(b"seed");
        assert_ne!(guid(&seed, "disk"), guid(&seed, "esp"));
        let text = uuid_text(&uuid(&seed, "root"));
        assert_eq!((text.len(), &text[14..15]), (36, "4"));
        assert!(guid(&seed, "root").to_string()[14..].starts_with('4'));
        assert_eq!(
            uuid_text(&std::array::from_fn(|n| u8::try_from(n).unwrap())),
            "00010203-0405-0607-0809-0a0b0c0d0e0f"
        );
    }
}
