//! Deltas beside the bundles of a channel.

use super::*;
use crate::bundle::fixture::{Contents, noise};
use coracle_trust::Vouched;

/// Most of a release is that of every other.
fn bundle(yard: &Yard, version: &str, seed: u8) -> PathBuf {
    let contents = Contents {
        image: noise(1, 16),
        linux: crate::image::uki::tests::stub(0x8664, 1),
        initrd: [noise(2, 16), noise(seed, 1)].concat(),
        uname: "6.12.0".to_owned(),
    };
    yard.bundle_of(version, (0, Arch::X86_64), Some(contents))
}

fn with(deltas: u8, bundle: PathBuf) -> Request {
    Request { deltas, ..fixture::request(bundle) }
}

fn vouched(yard: &Yard, version: &str) -> Vouched {
    let shown = channel::show(&yard.repository).unwrap();
    shown.state.releases.into_iter().find(|vouched| vouched.release.version.to_string() == version).unwrap()
}

#[test]
fn a_release_gets_deltas_from_the_newest_before_it_which_are_checked_with_it() {
    let yard = Yard::open();
    for (version, seed) in [("1.0.0", 10), ("2.0.0", 20), ("3.0.0", 30)] {
        yard.publish(&with(0, bundle(&yard, version, seed))).unwrap();
    }
    yard.publish(&with(2, bundle(&yard, "4.0.0", 40))).unwrap();
    let newest = vouched(&yard, "4.0.0");
    let from: Vec<[u8; 32]> = newest.deltas.iter().map(|delta| delta.from).collect();
    assert_eq!(from, [vouched(&yard, "3.0.0").id, vouched(&yard, "2.0.0").id]);
    for delta in &newest.deltas {
        assert!(delta.length < newest.length / 4, "{delta:?}");
    }
    check(&yard.ctx, &yard.repository, None, NOW).unwrap();
    // The one from a release makes the newest one of it, bit for bit.
    let targets = yard.repository.dir().join(TARGETS);
    let file = targets.join(newest.delta_file(&newest.deltas[0]));
    let out = yard.repository.dir().join("made");
    let old = yard.repository.target(&vouched(&yard, "3.0.0").path(), &vouched(&yard, "3.0.0").sha256);
    crate::delta::apply(&yard.ctx, &file, &old, &out).unwrap();
    let bundle = yard.repository.target(&newest.path(), &newest.sha256);
    assert!(fs::read(out.join("update.bundle")).unwrap() == fs::read(bundle).unwrap());
    // One that was changed is noticed.
    let mut bytes = fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    crate::files::replace(&file, &bytes).unwrap();
    assert_eq!(check(&yard.ctx, &yard.repository, None, NOW).unwrap_err().kind(), Kind::Digest);
}

#[test]
fn a_release_that_is_published_again_keeps_its_deltas() {
    let yard = Yard::open();
    yard.publish(&with(1, bundle(&yard, "1.0.0", 10))).unwrap();
    let second = with(1, bundle(&yard, "2.0.0", 20));
    yard.publish(&second).unwrap();
    let before = yard.files();
    assert_eq!(vouched(&yard, "2.0.0").deltas.len(), 1);
    assert_eq!(yard.publish(&second).unwrap().written.len(), 0);
    assert!(yard.files() == before);
}

#[test]
fn what_saves_nothing_or_whose_bundle_is_gone_has_no_delta_and_is_published_all_the_same() {
    let yard = Yard::open();
    yard.publish(&with(1, bundle(&yard, "1.0.0", 10))).unwrap();
    let gone = vouched(&yard, "1.0.0");
    fs::remove_file(yard.repository.target(&gone.path(), &gone.sha256)).unwrap();
    yard.publish(&with(1, bundle(&yard, "2.0.0", 20))).unwrap();
    assert_eq!(vouched(&yard, "2.0.0").deltas, []);
    // Noise has nothing in common with anything.
    yard.publish(&with(1, yard.bundle("3.0.0", 9))).unwrap();
    assert_eq!(vouched(&yard, "3.0.0").deltas, []);
    assert_eq!(versions(&seen(&yard)).len(), 3);
}
