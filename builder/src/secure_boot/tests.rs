use super::*;
use crate::image::esp;
use coracle_format::slot::Arch;
use proptest::prelude::*;
use std::os::unix::fs::PermissionsExt as _;

/// A small PE file: headers of 512 bytes, two sections, a few bytes behind them.
fn program() -> Vec<u8> {
    let mut out = vec![0; 512];
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &64_u32.to_le_bytes());
    put(64, b"PE\0\0");
    put(64 + 4, &0x8664_u16.to_le_bytes());
    put(64 + 6, &2_u16.to_le_bytes());
    put(64 + 20, &240_u16.to_le_bytes());
    let optional = 64 + 24;
    put(optional, &0x20b_u16.to_le_bytes());
    put(optional + 60, &512_u32.to_le_bytes());
    put(optional + 64, &0x1234_u32.to_le_bytes());
    put(optional + 108, &16_u32.to_le_bytes());
    for (index, at) in [(0, 512_u32), (1, 1024)] {
        let header = optional + 240 + index * 40;
        put(header + 16, &512_u32.to_le_bytes());
        put(header + 20, &at.to_le_bytes());
    }
    out.extend((0..1027_u32).map(|index| u8::try_from(index % 251).unwrap()));
    out
}

fn signer() -> (tempfile::TempDir, Signer) {
    let directory = tempfile::tempdir().unwrap();
    let (key, certificate) = create(directory.path(), "test").unwrap();
    let signer = Signer::read(&key, &certificate).unwrap();
    (directory, signer)
}

fn put(path: impl AsRef<std::path::Path>, bytes: impl AsRef<[u8]>) -> crate::error::Result<()> {
    crate::files::replace(path.as_ref(), bytes.as_ref())
}

#[test]
fn a_signed_file_without_its_signature_is_the_file() {
    let (_keep, keys) = signer();
    let file = program();
    let signed = sign_file(&file, &keys).unwrap();
    assert!(is_signed(&signed).unwrap() && !is_signed(&file).unwrap());
    assert_eq!(signed.len() % 8, 0);
    let digest = |bytes: &[u8]| authenticode::Executable::parse(bytes).unwrap().digest();
    assert_eq!(digest(&signed), digest(&file));
    let mut stripped = strip(&signed).unwrap();
    stripped.truncate(file.len());
    let mut without_checksum = file.clone();
    without_checksum[64 + 24 + 64..64 + 24 + 68].fill(0);
    assert_eq!(stripped, without_checksum);
    // Signing again replaces the signature.
    assert_eq!(sign_file(&signed, &keys).unwrap().len(), signed.len());
}

#[test]
fn a_signature_of_another_file_is_not_attached() {
    let (_keep, keys) = signer();
    let file = program();
    let detached = sign_detached(&file, &keys).unwrap();
    assert_eq!(attach(&file, &detached).unwrap(), sign_file(&file, &keys).unwrap());
    let mut other = file;
    other[600] ^= 1;
    assert_eq!(attach(&other, &detached).unwrap_err().kind(), Kind::Digest);
    assert_eq!(attach(&other, b"no signature").unwrap_err().kind(), Kind::Digest);
}

#[test]
fn keys_are_not_replaced_and_must_belong_together() {
    let (one, _) = signer();
    let (other, _) = signer();
    assert_eq!(create(one.path(), "again").unwrap_err().kind(), Kind::Usage);
    let mixed = Signer::read(&one.path().join(KEY), &other.path().join(CERTIFICATE)).unwrap_err();
    assert!(mixed.to_string().contains("it is not the certificate of"), "{mixed}");
    let swapped = Signer::read(&one.path().join(CERTIFICATE), &one.path().join(KEY)).unwrap_err();
    assert!(swapped.to_string().contains("no private key"), "{swapped}");
    let mode = std::fs::metadata(one.path().join(KEY)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn the_selector_is_read_back_from_the_partition() {
    for arch in [Arch::X86_64, Arch::Aarch64] {
        let selector = vec![7; 60_000];
        let bytes = esp::build(arch, &selector, &crate::digest::Digest::of(b"seed")).unwrap();
        assert_eq!(esp::selector(&bytes, arch).unwrap(), selector);
        assert_eq!(esp::selector(&bytes[..1000], arch).unwrap_err().kind(), Kind::Hostile);
    }
}

#[test]
fn a_variable_store_that_is_none_is_refused() {
    let (_keep, keys) = signer();
    for store in [&[][..], &[0; 100], &[0xff; 4096]] {
        assert_eq!(enrol(store, keys.certificate()).unwrap_err().kind(), Kind::Hostile);
    }
}

/// The two programs, and a directory for their way elsewhere.
fn parts() -> (tempfile::TempDir, Parts) {
    let (selector, mut boot) = (program(), program());
    boot[700] ^= 1;
    (tempfile::tempdir().unwrap(), Parts { selector, boot, arch: Arch::X86_64 })
}

#[test]
fn programs_signed_elsewhere_come_back_as_if_signed_here() {
    let (_keep, keys) = signer();
    let (work, parts) = parts();
    let signed = parts.signed(&keys).unwrap();
    assert!(signed.are_signed().unwrap() && !parts.are_signed().unwrap());
    // Another tool signs the exported programs.
    parts.export(work.path()).unwrap();
    for name in [SELECTOR, BOOT] {
        let path = work.path().join(name);
        let elsewhere = sign_file(&std::fs::read(&path).unwrap(), &keys).unwrap();
        put(path, elsewhere).unwrap();
    }
    assert_eq!(parts.import(work.path()).unwrap(), signed);
    // Or it gives the signatures alone.
    let (signatures, _) = self::parts();
    parts.detach(&keys, signatures.path()).unwrap();
    assert_eq!(parts.import(signatures.path()).unwrap(), signed);
    // What is signed already goes out without its signature.
    signed.export(work.path()).unwrap();
    assert!(!is_signed(&std::fs::read(work.path().join(BOOT)).unwrap()).unwrap());
}

#[test]
fn what_comes_back_unsigned_or_as_another_program_is_refused() {
    let (_keep, keys) = signer();
    let (work, parts) = parts();
    let missing = parts.import(work.path()).unwrap_err();
    assert_eq!(missing.kind(), Kind::NotFound, "{missing}");
    parts.export(work.path()).unwrap();
    let unsigned = parts.import(work.path()).unwrap_err();
    assert_eq!(unsigned.kind(), Kind::Signature);
    assert!(unsigned.to_string().contains("it has no signature"), "{unsigned}");
    let signed = parts.signed(&keys).unwrap();
    put(work.path().join(SELECTOR), &signed.selector).unwrap();
    put(work.path().join(BOOT), &signed.selector).unwrap();
    let other = parts.import(work.path()).unwrap_err();
    assert_eq!(other.kind(), Kind::Signature);
    assert!(other.to_string().contains("another program"), "{other}");
    put(work.path().join(format!("{BOOT}.p7")), sign_detached(&signed.selector, &keys).unwrap()).unwrap();
    assert_eq!(parts.import(work.path()).unwrap_err().kind(), Kind::Digest);
    put(work.path().join(SELECTOR), b"no program").unwrap();
    assert_eq!(parts.import(work.path()).unwrap_err().kind(), Kind::Hostile);
}

proptest! {
    #[test]
    fn any_bytes_are_signed_or_refused(at in 0..1539_usize, value: u8, length in 0..1539_usize) {
        let mut file = program();
        if let Some(byte) = file.get_mut(at) {
            *byte = value;
        }
        file.truncate(length);
        if let Ok(executable) = authenticode::Executable::parse(&file) {
            executable.digest();
            executable.strip();
        }
    }
}
