//! What an update is made of: the bundle's own tables, and the signed documents in it.

use super::{ignore, seal};
use coracle_format::{
    bundle::{Encoding, Frame, HEADER_BYTES, Header, Index, Metadata, Part, Whole},
    slot::{Arch, Text},
    version::Version,
};
use coracle_trust::{
    Release, Role,
    document::Document,
    json::Value,
    publish::{self, Signers},
    root::Root,
    verify_bundle,
};
use ed25519_dalek::{Signer as _, SigningKey};

pub(super) const EXPIRES: u64 = 2_000_000_000;

/// A header, the index that follows it, and both by themselves.
pub(super) fn bundle(data: &[u8]) {
    let mut sealed = data.to_vec();
    seal::crc32(&mut sealed, 0, HEADER_BYTES - 4, HEADER_BYTES - 4);
    for bytes in [data, &sealed] {
        if let Ok(header) = Header::parse(bytes) {
            assert_eq!(header.encode()[..], bytes[..HEADER_BYTES], "a header has one form");
            ignore((header.total(), header.check_metadata(bytes)));
        }
        for bytes in [bytes, bytes.get(HEADER_BYTES..).unwrap_or_default()] {
            if let Ok(index) = Index::parse(bytes) {
                assert_eq!(index.encode().as_deref(), Ok(bytes), "an index has one form");
                ignore((index.stored_bytes(), index.placed().count(), index.version_number()));
            }
            ignore(Metadata::parse(bytes));
        }
    }
    ignore(str::from_utf8(data).ok().and_then(Version::parse));
}

pub(super) fn bundle_seeds() -> Vec<Vec<u8>> {
    let Some(Ok(index)) = index().map(|index| index.encode()) else {
        return Vec::new();
    };
    let header = Header::of(b"metadata", &index, 5000).map(|header| header.encode());
    let whole = [&header.unwrap_or([0; HEADER_BYTES])[..], &index].concat();
    vec![whole, index]
}

pub(super) fn index() -> Option<Index> {
    let frame = |part, offset, plain, stored, encoding| {
        let sha256 = if encoding == Encoding::Zeros { [0; 32] } else { [7; 32] };
        Frame { part, offset, plain, stored, encoding, sha256, plain_sha256: [7; 32] }
    };
    Some(Index {
        arch: Arch::X86_64,
        name: Text::new("hello")?,
        version: Text::new("1.2.3")?,
        root: Whole { bytes: 12288, sha256: [1; 32] },
        boot: Whole { bytes: 4100, sha256: [2; 32] },
        root_hash: [3; 32],
        salt: [4; 32],
        frames: vec![
            frame(Part::Root, 0, 8192, 900, Encoding::Zstd),
            frame(Part::Root, 8192, 4096, 0, Encoding::Zeros),
            frame(Part::Boot, 0, 4100, 4100, Encoding::Raw),
        ],
    })
}

/// Signed documents, alone and as the metadata of a bundle.
pub(super) fn trust(data: &[u8]) {
    if let Ok(value) = Value::parse(data) {
        ignore(value.canonical());
    }
    for role in Role::ALL {
        if let Ok(document) = Document::parse(role, data) {
            ignore((document.version(), document.expires(), document.signers().count()));
        }
    }
    let trusted = root();
    ignore((Root::read(data), verify_bundle(&trusted, data, None, 0), verify_bundle(data, data, Some(1), 1)));
    let alone = Metadata { roots: vec![data], targets: data }.encode();
    ignore(verify_bundle(&trusted, &alone.unwrap_or_default(), None, 0));
}

pub(super) fn release() -> Release {
    Release {
        name: "hello".to_owned(),
        arch: Arch::X86_64,
        version: Version::from_u64(1 << 48),
        epoch: 1,
        released: 1_795_305_600,
        replaces: Some(Version::from_u64(2 << 48)),
    }
}

pub(super) fn trust_seeds() -> Vec<Vec<u8>> {
    let targets = publish::targets(&release(), b"index", EXPIRES).map(|signed| sign(&signed, 2));
    let (root, targets) = (root(), targets.unwrap_or_default());
    let bundle = Metadata { roots: vec![&root], targets: &targets }.encode().unwrap_or_default();
    vec![root, targets, bundle]
}

pub(super) fn root() -> Vec<u8> {
    let signers = |role, seed| Signers { role, keys: vec![public(seed)], threshold: 1 };
    let roles = [
        signers(Role::Root, 1),
        signers(Role::Targets, 2),
        signers(Role::Snapshot, 3),
        signers(Role::Timestamp, 3),
    ];
    publish::root(1, EXPIRES, &roles).map(|signed| sign(&signed, 1)).unwrap_or_default()
}

pub(super) fn sign(signed: &[u8], seed: u8) -> Vec<u8> {
    let signature = SigningKey::from_bytes(&[seed; 32]).sign(signed).to_bytes();
    publish::document(signed, &[(public(seed), signature)])
}

pub(super) fn public(seed: u8) -> [u8; 32] {
    SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes()
}
