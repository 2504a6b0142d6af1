//! What an attacker could send.

use crate::{
    Fault, Release, Role, TrustError, Verified,
    document::PublicKey,
    json::Value,
    publish::{self, Signers},
    root::Root,
    verify_bundle,
};
use coracle_format::{
    bundle::{Encoding, Frame, Index, Metadata, Part, Whole},
    slot::{Arch, Text},
    version::Version,
};
use ed25519_dalek::{Signer as _, SigningKey};
use proptest::prelude::*;

const EXPIRES: u64 = 2_000_000_000;
const NOW: u64 = 1_800_000_000;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn public(key: &SigningKey) -> PublicKey {
    key.verifying_key().to_bytes()
}

fn sign(signed: &[u8], keys: &[SigningKey]) -> Vec<u8> {
    let signatures: Vec<_> = keys.iter().map(|key| (public(key), key.sign(signed).to_bytes())).collect();
    publish::document(signed, &signatures)
}

/// A root whose roles have these keys; `threshold` is that of root and targets.
struct Plan {
    version: u32,
    root: Vec<SigningKey>,
    targets: Vec<SigningKey>,
    threshold: u32,
    expires: u64,
}

impl Plan {
    fn one() -> Self {
        Self { version: 1, root: vec![key(1)], targets: vec![key(2)], threshold: 1, expires: EXPIRES }
    }

    fn signed(&self) -> Vec<u8> {
        let signers = |role, keys: &[SigningKey], threshold| Signers {
            role,
            keys: keys.iter().map(public).collect(),
            threshold,
        };
        let online = [key(3)];
        let roles = [
            signers(Role::Root, &self.root, self.threshold),
            signers(Role::Targets, &self.targets, self.threshold),
            signers(Role::Snapshot, &online, 1),
            signers(Role::Timestamp, &online, 1),
        ];
        publish::root(self.version, self.expires, &roles).unwrap()
    }

    fn document(&self) -> Vec<u8> {
        sign(&self.signed(), &self.root)
    }

    /// Signed by the keys of the one before it as well.
    fn after(&self, before: &Self) -> Vec<u8> {
        let mut keys = before.root.clone();
        keys.extend(self.root.iter().filter(|key| !before.root.contains(key)).cloned());
        sign(&self.signed(), &keys)
    }
}

fn release() -> Release {
    Release {
        name: "hello".into(),
        arch: Arch::X86_64,
        version: Version::parse("1.2.3").unwrap(),
        epoch: 4,
        released: 1_795_305_600,
        replaces: None,
    }
}

fn index() -> Vec<u8> {
    let frame = |part, plain| {
        let (encoding, sha256, plain_sha256) = (Encoding::Zeros, [0; 32], [9; 32]);
        Frame { part, offset: 0, plain, stored: 0, encoding, sha256, plain_sha256 }
    };
    Index {
        arch: Arch::X86_64,
        name: Text::new("hello").unwrap(),
        version: Text::new("1.2.3").unwrap(),
        root: Whole { bytes: 4096, sha256: [1; 32] },
        boot: Whole { bytes: 100, sha256: [2; 32] },
        root_hash: [3; 32],
        salt: [4; 32],
        frames: vec![frame(Part::Root, 4096), frame(Part::Boot, 100)],
    }
    .encode()
    .unwrap()
}

fn targets(keys: &[SigningKey]) -> Vec<u8> {
    sign(&publish::targets(&release(), &index(), EXPIRES).unwrap(), keys)
}

fn bundle(roots: &[&[u8]], targets: &[u8]) -> Vec<u8> {
    Metadata { roots: roots.to_vec(), targets }.encode().unwrap()
}

fn verify(root: &[u8], roots: &[&[u8]], targets: &[u8]) -> Result<Verified, TrustError> {
    verify_bundle(root, &bundle(roots, targets), Some(NOW), 0)
}

fn too_few(role: Role, valid: usize, threshold: u32, by: u32) -> TrustError {
    TrustError::Signatures { role, valid, threshold, by }
}

/// Rewrites a document as a text with the same or another value.
fn edited(document: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(document.to_vec()).unwrap();
    assert!(text.contains(from), "{from} is in {text}");
    text.replacen(from, to, 1).into_bytes()
}

#[test]
fn an_honest_bundle_yields_its_release_and_index() {
    let plan = Plan::one();
    let verified = verify(&plan.document(), &[], &targets(&plan.targets)).unwrap();
    assert_eq!(verified.release, release());
    assert_eq!((verified.root_version, &verified.root), (1, &plan.document()));
    assert_eq!(verified.index(&index()).unwrap().encode().unwrap(), index());
}

#[test]
fn the_bytes_of_a_targets_document_are_these() {
    let expected = concat!(
        r#"{"signatures":[{"keyid":"ID","sig":"SIG"}],"signed":{"_type":"targets","expires":"2033-05-18T03:33:20Z","#,
        r#""spec_version":"1.0.31","targets":{"hello-x86_64-1.2.3.index":{"custom":{"arch":"x86_64","epoch":4,"#,
        r#""name":"hello","released":"2026-11-22T00:00:00Z","replaces":"2.0.0","version":"1.2.3"},"#,
        r#""hashes":{"sha256":"DIGEST"},"length":464}},"version":1}}"#
    );
    let release = Release { replaces: Version::parse("2"), ..release() };
    let signed = publish::targets(&release, &index(), EXPIRES).unwrap();
    let document = String::from_utf8(sign(&signed, &[key(2)])).unwrap();
    let Value::Map(_) = Value::parse(document.as_bytes()).unwrap() else { panic!("an object") };
    let digest = document.split("\"sha256\":\"").nth(1).unwrap().get(..64).unwrap();
    let sig = document.split("\"sig\":\"").nth(1).unwrap().get(..128).unwrap();
    let shown = document
        .replace(digest, "DIGEST")
        .replace(sig, "SIG")
        .replace(&publish::key_id(&public(&key(2))), "ID");
    assert_eq!(shown, expected);
}

#[test]
fn a_signed_downgrade_exception_arrives() {
    let plan = Plan::one();
    let release = Release { replaces: Version::parse("2.0"), ..release() };
    let signed = publish::targets(&release, &index(), EXPIRES).unwrap();
    let verified = verify(&plan.document(), &[], &sign(&signed, &plan.targets)).unwrap();
    assert_eq!(verified.release.replaces, Version::parse("2.0.0"));
}

#[test]
fn a_foreign_key_signs_in_vain() {
    let plan = Plan::one();
    let foreign = Plan { root: vec![key(8)], targets: vec![key(9)], ..Plan::one() };
    let refused = Err(too_few(Role::Targets, 0, 1, 1));
    assert_eq!(verify(&plan.document(), &[], &targets(&foreign.targets)), refused);
    // Nor does a whole foreign chain help.
    let next = Plan { version: 2, ..foreign };
    let refused = Err(too_few(Role::Root, 0, 1, 1));
    assert_eq!(verify(&plan.document(), &[&next.document()], &targets(&next.targets)), refused);
    // Keys have their own roles.
    assert_eq!(
        verify(&plan.document(), &[], &targets(&[key(1), key(3)])),
        Err(too_few(Role::Targets, 0, 1, 1))
    );
}

#[test]
fn a_signature_under_another_keys_id_does_not_count() {
    let plan = Plan::one();
    let forged = edited(
        &targets(&[key(9)]),
        &publish::key_id(&public(&key(9))),
        &publish::key_id(&public(&plan.targets[0])),
    );
    assert_eq!(verify(&plan.document(), &[], &forged), Err(too_few(Role::Targets, 0, 1, 1)));
}

#[test]
fn one_key_that_signs_twice_is_one_key() {
    let plan =
        Plan { targets: vec![key(2), key(4)], root: vec![key(1), key(5)], threshold: 2, ..Plan::one() };
    let root = plan.document();
    verify(&root, &[], &targets(&plan.targets)).unwrap();
    assert_eq!(verify(&root, &[], &targets(&[key(2)])), Err(too_few(Role::Targets, 1, 2, 1)));
    assert_eq!(verify(&root, &[], &targets(&[key(2), key(9)])), Err(too_few(Role::Targets, 1, 2, 1)));
    let twice = verify(&root, &[], &targets(&[key(2), key(2)]));
    assert_eq!(twice, Err(TrustError::Document { role: Role::Targets, why: Fault::Field("signatures") }));
}

#[test]
fn one_key_under_two_names_is_one_key() {
    let plan =
        Plan { targets: vec![key(2), key(4)], threshold: 2, root: vec![key(1), key(5)], ..Plan::one() };
    // The root names key 2 under the id of key 4 too.
    let hex = |key: &SigningKey| public(key).map(|byte| format!("{byte:02x}")).concat();
    let signed = edited(&plan.signed(), &hex(&key(4)), &hex(&key(2)));
    let signed = Value::parse(&signed).unwrap().canonical();
    let root = sign(&signed, &plan.root);
    let message = publish::targets(&release(), &index(), EXPIRES).unwrap();
    let signature = key(2).sign(&message).to_bytes();
    let both = publish::document(&message, &[(public(&key(2)), signature), (public(&key(4)), signature)]);
    assert_eq!(verify(&root, &[], &both), Err(too_few(Role::Targets, 1, 2, 1)));
}

#[test]
fn a_document_of_another_role_is_refused() {
    let plan = Plan::one();
    let root = plan.document();
    let wrong = |role| Err(TrustError::Document { role, why: Fault::Type });
    assert_eq!(verify(&root, &[], &root), wrong(Role::Targets));
    assert_eq!(verify(&root, &[&targets(&plan.root)], &targets(&plan.targets)), wrong(Role::Root));
    assert_eq!(verify(&targets(&plan.root), &[], &targets(&plan.targets)), wrong(Role::Root));
}

#[test]
fn roots_follow_each_other_when_both_sides_have_signed() {
    let first = Plan::one();
    let second = Plan {
        version: 2,
        root: vec![key(11), key(12)],
        threshold: 2,
        targets: vec![key(13), key(14)],
        ..Plan::one()
    };
    let third = Plan { version: 3, ..Plan { targets: vec![key(15)], ..Plan::one() } };
    let chain = [first.document(), second.after(&first), third.after(&second)];
    let all: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
    let newest = targets(&third.targets);
    // Whoever trusts any of them gets to the last one, whether or not the older ones travel too.
    for (trusted, offered) in
        [(0, &all[..]), (0, &all[1..]), (1, &all[..]), (1, &all[2..]), (2, &all[..]), (2, &[])]
    {
        let verified = verify(all[trusted], offered, &newest).unwrap();
        assert_eq!((verified.root_version, &verified.root), (3, &chain[2]), "from {trusted}");
    }
    // The keys that the newest root has dropped are gone.
    assert_eq!(verify(all[0], &all, &targets(&second.targets)), Err(too_few(Role::Targets, 0, 1, 3)));
}

#[test]
fn a_broken_chain_is_refused() {
    let first = Plan::one();
    let second = Plan { version: 2, root: vec![key(11)], ..Plan::one() };
    let third = Plan { version: 3, root: vec![key(12)], ..Plan::one() };
    let (one, two, three) = (first.document(), second.after(&first), third.after(&second));
    let targets = targets(&first.targets);
    let jump = Plan { version: 3, ..Plan::one() }.after(&first);
    assert_eq!(verify(&one, &[&jump], &targets), Err(TrustError::Chain { trusted: 1, found: 3 }));
    assert_eq!(verify(&one, &[&three], &targets), Err(too_few(Role::Root, 0, 1, 1)));
    assert_eq!(verify(&one, &[&two, &two], &targets), Err(TrustError::Chain { trusted: 2, found: 2 }));
    assert_eq!(verify(&two, &[&two, &one], &targets), Err(TrustError::Chain { trusted: 2, found: 1 }));
    assert_eq!(verify(&one, &[&second.document()], &targets), Err(too_few(Role::Root, 0, 1, 1)));
    // Signed by the old keys only.
    let half = sign(&second.signed(), &first.root);
    assert_eq!(verify(&one, &[&half], &targets), Err(too_few(Role::Root, 0, 1, 2)));
}

#[test]
fn a_root_older_than_the_floor_is_refused() {
    let first = Plan::one();
    let second = Plan { version: 2, ..Plan::one() };
    let (one, two, targets) = (first.document(), second.after(&first), targets(&first.targets));
    let floor = |roots: &[&[u8]], floor| {
        verify_bundle(&one, &bundle(roots, &targets), Some(NOW), floor).map(|verified| verified.root_version)
    };
    assert_eq!(floor(&[&one], 2), Err(TrustError::RootTooOld { found: 1, floor: 2 }));
    assert_eq!(floor(&[&one, &two], 2), Ok(2));
    assert_eq!(floor(&[&one, &two], 3), Err(TrustError::RootTooOld { found: 2, floor: 3 }));
}

#[test]
fn documents_expire_only_for_a_clock_that_is_trusted() {
    let plan = Plan::one();
    let old = Plan { expires: NOW, ..Plan::one() };
    let at = |root: &Plan, now| {
        verify_bundle(&root.document(), &bundle(&[], &targets(&plan.targets)), now, 0)
            .map(|verified| verified.root_version)
    };
    assert_eq!(at(&plan, Some(EXPIRES - 1)), Ok(1));
    assert_eq!(at(&plan, Some(EXPIRES)), Err(TrustError::Expired { role: Role::Root, expires: EXPIRES }));
    let lasting = Plan { expires: EXPIRES + 9, ..Plan::one() };
    assert_eq!(
        at(&lasting, Some(EXPIRES)),
        Err(TrustError::Expired { role: Role::Targets, expires: EXPIRES })
    );
    assert_eq!(at(&old, Some(NOW)), Err(TrustError::Expired { role: Role::Root, expires: NOW }));
    assert_eq!(at(&old, None), Ok(1));
    // An old root on the way to a newer one may have expired.
    let next = Plan { version: 2, ..Plan::one() };
    let chain = next.after(&old);
    verify(&old.document(), &[&chain], &targets(&plan.targets)).unwrap();
}

#[test]
fn unknown_fields_and_another_spelling_of_the_same_value_are_accepted() {
    let plan = Plan::one();
    let root = plan.document();
    let honest = targets(&plan.targets);
    let spaced =
        edited(&edited(&honest, ",\"signed\":", " ,\n\t\"signed\" : "), "\"hello\"", "\"\\u0068ello\"");
    verify(&root, &[], &spaced).unwrap();
    let outside = edited(&honest, "{\"signatures\"", "{\"later\":[1,{}],\"signatures\"");
    verify(&root, &[], &outside).unwrap();
    // Inside of what is signed they are signed too.
    let signed = publish::targets(&release(), &index(), EXPIRES).unwrap();
    let more = edited(
        &edited(&signed, "\"epoch\":4", "\"epoch\":4,\"mood\":\"good\""),
        "\"_type\"",
        "\"A\":null,\"_type\"",
    );
    let document = sign(&more, &plan.targets);
    verify(&root, &[], &document).unwrap();
    assert_eq!(verify(&root, &[], &edited(&document, "good", "evil")), Err(too_few(Role::Targets, 0, 1, 1)));
}

#[test]
fn keys_of_unknown_kinds_are_tolerated_and_never_sign() {
    let plan = Plan::one();
    let signed = edited(&plan.signed(), "\"keytype\":\"ed25519\"", "\"keytype\":\"ml-dsa\"");
    // Only one key is of another kind; whichever it is, its role has nobody left.
    let root = sign(&signed, &plan.root);
    let refused = verify(&root, &[], &targets(&plan.targets));
    let first = [&plan.root, &plan.targets, &vec![key(3)]].map(|keys| publish::key_id(&public(&keys[0])));
    let smallest = first.iter().min().unwrap();
    match smallest {
        id if *id == first[0] => assert_eq!(refused, Err(too_few(Role::Root, 0, 1, 1))),
        id if *id == first[1] => assert_eq!(refused, Err(too_few(Role::Targets, 0, 1, 1))),
        _ => drop(refused.unwrap()),
    }
}

#[test]
fn malformed_documents_are_refused_by_name() {
    let plan = Plan::one();
    let root = plan.document();
    let field = |name| TrustError::Document { role: Role::Root, why: Fault::Field(name) };
    let resigned = |from: &str, to: &str| {
        let signed = edited(&plan.signed(), from, to);
        Root::read(&sign(&signed, &plan.root)).map(|root| root.version())
    };
    assert_eq!(resigned("\"version\":1", "\"version\":0"), Err(field("version")));
    assert_eq!(resigned("\"version\":1", "\"version\":4294967296"), Err(field("version")));
    assert_eq!(resigned("\"version\":1", "\"version\":\"1\""), Err(field("version")));
    assert_eq!(resigned("2033-05-18T03:33:20Z", "soon"), Err(field("expires")));
    assert_eq!(resigned("\"snapshot\":", "\"snapshots\":"), Err(field("roles")));
    assert_eq!(resigned("\"keys\":", "\"keyz\":"), Err(field("keys")));
    let why = |why| Err(TrustError::Document { role: Role::Root, why });
    assert_eq!(resigned("\"threshold\":1", "\"threshold\":0"), why(Fault::Threshold));
    assert_eq!(
        resigned("\"spec_version\":\"1.0.31\"", "\"spec_version\":\"2.0.0\""),
        why(Fault::Specification)
    );
    assert_eq!(Root::read(b"[]").map(|root| root.version()), Err(field("signed")));
    assert_eq!(Root::read(b"{\"signed\":{}}").map(|root| root.version()), Err(field("signatures")));
    let long = [&root[..], &vec![b' '; 1 << 20]].concat();
    assert_eq!(Root::read(&long).map(|root| root.version()), why(Fault::TooLarge));
    let twice = edited(&root, "\"signed\":", "\"signed\":{},\"signed\":");
    assert!(matches!(Root::read(&twice), Err(TrustError::Document { why: Fault::Json(_), .. })));
}

#[test]
fn what_does_not_describe_one_release_is_refused() {
    let plan = Plan::one();
    let resigned = |from: &str, to: &str| {
        let signed = edited(&publish::targets(&release(), &index(), EXPIRES).unwrap(), from, to);
        let document = sign(&Value::parse(&signed).unwrap().canonical(), &plan.targets);
        verify(&plan.document(), &[], &document).map(|verified| verified.release.name)
    };
    for (from, to, what) in [
        ("\"targets\":{", "\"targets\":{\"a\":{},", "number of targets"),
        ("\"length\":464", "\"length\":4194305", "length"),
        ("\"length\":464", "\"length\":0", "length"),
        ("\"sha256\"", "\"sha512\"", "sha256"),
        ("\"custom\"", "\"custum\"", "custom"),
        ("\"x86_64\"", "\"riscv64\"", "arch"),
        ("\"hello\"", "\"../hello\"", "name"),
        ("\"hello\"", "\"\"", "name"),
        ("\"1.2.3\"", "\"1.2.x\"", "version"),
        ("\"epoch\":4", "\"epoch\":-4", "epoch"),
        ("\"2026-11-22T00:00:00Z\"", "7", "released"),
        ("\"epoch\":4", "\"epoch\":4,\"replaces\":null", "replaces"),
    ] {
        assert_eq!(resigned(from, to), Err(TrustError::NotARelease(what)), "{from} {to}");
    }
}

#[test]
fn another_index_than_the_signed_one_is_refused() {
    let plan = Plan::one();
    let verified = verify(&plan.document(), &[], &targets(&plan.targets)).unwrap();
    let bytes = index();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert_eq!(verified.index(&damaged), Err(TrustError::Index), "byte {at}");
    }
    assert_eq!(verified.index(&[&bytes[..], &[0]].concat()), Err(TrustError::Index));
    let with = |release: Release| {
        let document = sign(&publish::targets(&release, &index(), EXPIRES).unwrap(), &plan.targets);
        verify(&plan.document(), &[], &document).unwrap().index(&index())
    };
    assert_eq!(with(Release { name: "other".into(), ..release() }), Err(TrustError::Disagree("name")));
    assert_eq!(with(Release { arch: Arch::Aarch64, ..release() }), Err(TrustError::Disagree("architecture")));
    assert_eq!(
        with(Release { version: Version::from_u64(1), ..release() }),
        Err(TrustError::Disagree("version"))
    );
}

#[test]
fn a_flipped_bit_in_any_byte_of_root_and_targets_is_refused() {
    let first = Plan::one();
    let second = Plan { version: 2, ..Plan::one() };
    let next = second.after(&first);
    let metadata = bundle(&[&next], &targets(&second.targets));
    let root = first.document();
    verify_bundle(&root, &metadata, None, 0).unwrap();
    for at in 0..metadata.len() {
        let mut damaged = metadata.clone();
        damaged[at] ^= 1 << (at % 8);
        assert!(verify_bundle(&root, &damaged, None, 0).is_err(), "byte {at}");
    }
}

#[test]
fn cuts_and_trailing_bytes_are_refused() {
    let plan = Plan::one();
    let root = plan.document();
    let metadata = bundle(&[], &targets(&plan.targets));
    for end in 0..metadata.len() {
        assert!(verify_bundle(&root, &metadata[..end], None, 0).is_err(), "cut at {end}");
    }
    for byte in [0, b' ', b'\n', b'}', 0xff] {
        verify_bundle(&root, &[&metadata[..], &[byte]].concat(), None, 0).unwrap_err();
        // Inside the last document.
        let longer = [&targets(&plan.targets)[..], &[byte]].concat();
        assert_eq!(verify(&root, &[], &longer).is_ok(), byte.is_ascii_whitespace(), "{byte}");
    }
}

proptest! {
    #[test]
    fn several_changed_bytes_are_refused(changes in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..6)) {
        let plan = Plan::one();
        let metadata = bundle(&[], &targets(&plan.targets));
        let mut damaged = metadata.clone();
        for (at, change) in changes {
            let at = at.index(damaged.len());
            damaged[at] ^= change;
        }
        prop_assume!(damaged != metadata);
        prop_assert!(verify_bundle(&plan.document(), &damaged, None, 0).is_err());
    }

    #[test]
    fn any_bytes_are_refused(bytes: Vec<u8>) {
        prop_assert!(verify_bundle(&Plan::one().document(), &bytes, None, 0).is_err());
        prop_assert!(verify_bundle(&bytes, &bytes, None, 0).is_err());
    }
}
