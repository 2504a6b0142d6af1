use super::*;
use crate::debian::fixture::{DAY, KEY_MADE, Key};
use pgp::composed::KeyType;

const TEXT: &str = "Suite: stable\n- dash: yes\nEnd: yes\n";
const MADE: u32 = KEY_MADE + DAY;

fn at(seconds: u32) -> Judge {
    Judge { now: u64::from(seconds), freshness: Freshness::Enforced }
}

fn ring(public: &[u8]) -> Keyring {
    Keyring::parse(public).unwrap()
}

/// The reason of a refusal.
fn refusal(ring: &Keyring, message: &str, judge: Judge) -> String {
    let error = ring.verify(message.as_bytes(), judge).unwrap_err();
    assert_eq!(error.kind(), Kind::Signature);
    error.to_string()
}

#[test]
fn the_built_in_keys_are_the_ones_the_readme_lists() {
    let readme = include_str!("../../../data/keyrings/README.md");
    let listed: Vec<&str> = readme
        .split('`')
        .filter(|word| word.len() == 40 && word.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .collect();
    let ring = Keyring::debian().unwrap();
    let mut expected: Vec<&str> = ring.fingerprints().iter().map(String::as_str).collect();
    let signers = ring.signers.iter().map(|signer| signer.fingerprint.as_str());
    expected.extend(signers);
    expected.sort_unstable();
    expected.dedup();
    let mut sorted = listed.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, expected);
    assert_eq!(ring.fingerprints().len(), DEBIAN_KEYS.len());
    assert!(ring.signers.iter().all(|signer| signer.expires.is_some()));
}

#[test]
fn the_signed_text_comes_back_and_names_its_signer() {
    let key = Key::new();
    let ring = ring(&key.public());
    let signed = ring.verify(key.sign(TEXT, MADE).as_bytes(), at(MADE + DAY)).unwrap();
    assert_eq!(signed.text, "Suite: stable\n- dash: yes\nEnd: yes\n");
    assert_eq!(signed.signer, ring.signers[0].fingerprint);
    assert_ne!(signed.signer, ring.fingerprints()[0]);
}

#[test]
fn a_changed_word_is_refused_and_so_is_text_around_the_signed_part() {
    let key = Key::new();
    let ring = ring(&key.public());
    let good = key.sign(TEXT, MADE);
    let changed = good.replace("stable", "unstable");
    assert!(refusal(&ring, &changed, at(MADE)).contains("wrong or by an unknown key"));
    for message in [
        format!("Suite: evil\n\n{good}"),
        format!("{good}\nSuite: evil\n"),
        good.replacen("Hash: SHA256", "Hash: SHA256\nSuite: evil", 1),
        good[..good.len() / 2].to_owned(),
        "<html>".to_owned(),
        String::new(),
    ] {
        refusal(&ring, &message, at(MADE));
    }
    refusal(&ring, &good.replace("SIGNED", "S\u{130}GNED"), at(MADE));
    ring.verify(b"\xff\xfe", at(MADE)).unwrap_err();
}

#[test]
fn an_unknown_key_is_refused_with_its_fingerprint() {
    let (key, other) = (Key::new(), Key::new());
    let known = ring(&other.public());
    let unknown = ring(&key.public());
    let reason = refusal(&known, &key.sign(TEXT, MADE), at(MADE));
    assert!(reason.contains(&unknown.signers[0].fingerprint), "{reason}");
}

#[test]
fn a_key_that_may_only_certify_does_not_sign() {
    let key = Key::new();
    refusal(&ring(&key.public()), &key.sign_with_primary(TEXT, MADE), at(MADE));
}

#[test]
fn an_expired_key_counts_only_for_what_it_signed_in_its_time() {
    let key = Key::new();
    let ring = ring(&key.public_until(10 * DAY));
    let message = key.sign(TEXT, MADE);
    let end = KEY_MADE + 10 * DAY;
    ring.verify(message.as_bytes(), at(end - 1)).unwrap();
    assert!(refusal(&ring, &message, at(end)).contains("has expired"));
    let lenient = Judge { freshness: Freshness::Ignored, ..at(end) };
    ring.verify(message.as_bytes(), lenient).unwrap();
    let late = key.sign(TEXT, end);
    assert!(refusal(&ring, &late, lenient).contains("has expired"));
}

#[test]
fn a_revoked_key_never_counts() {
    let key = Key::new();
    let lenient = Judge { freshness: Freshness::Ignored, ..at(MADE) };
    let ring = ring(&key.public_revoked());
    assert!(ring.signers.is_empty());
    refusal(&ring, &key.sign(TEXT, MADE), lenient);
}

#[test]
fn a_signature_of_the_future_or_older_than_its_key_is_refused() {
    let key = Key::new();
    let ring = ring(&key.public());
    let tolerance = u32::try_from(CLOCK_TOLERANCE).unwrap();
    let message = key.sign(TEXT, MADE);
    ring.verify(message.as_bytes(), at(MADE - tolerance)).unwrap();
    assert!(refusal(&ring, &message, at(MADE - tolerance - 1)).contains("future"));
    let early = key.sign(TEXT, KEY_MADE - 1);
    assert!(refusal(&ring, &early, at(MADE)).contains("older than the key"));
}

#[test]
fn a_weak_digest_is_refused() {
    let key = Key::of_type(&KeyType::Rsa(2048));
    let ring = ring(&key.public());
    let message = key.sign_with(TEXT, MADE, HashAlgorithm::Sha512);
    ring.verify(message.as_bytes(), at(MADE)).unwrap();
    let message = key.sign_with(TEXT, MADE, HashAlgorithm::Sha1);
    assert!(refusal(&ring, &message, at(MADE)).contains("weak digest"));
}

#[test]
fn what_is_no_keyring_is_refused() {
    for bytes in [&b""[..], b"hello", &[0x99; 100]] {
        assert_eq!(Keyring::parse(bytes).unwrap_err().kind(), Kind::Signature);
    }
}
