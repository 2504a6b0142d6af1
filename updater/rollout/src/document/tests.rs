use super::*;
use coracle_trust::Fault;
use proptest::prelude::*;

/// Never made again: what machines in the field read.
const GOLDEN: &str = include_str!("golden.json");

fn version(text: &str) -> Version {
    Version::parse(text).unwrap()
}

fn seed(first: u8) -> Seed {
    Seed(std::array::from_fn(|index| first + u8::try_from(index).unwrap()))
}

fn golden() -> Rollout {
    let monday = 1_795_392_000;
    let release = |number: &str, state, seed| Offered {
        version: version(number),
        target: format!("shop-x86_64-{number}.bundle"),
        state,
        minimum: None,
        waves: Vec::new(),
        seed,
    };
    let waves = vec![Wave { share: 100, start: monday }, Wave { share: 10_000, start: monday + 86_400 }];
    let withdrawn = State::Withdrawn { instead: Some(version("1.1.0")) };
    Rollout {
        channel: "stable".to_owned(),
        image: "shop".to_owned(),
        arch: Arch::X86_64,
        releases: vec![
            release("1.0.0", State::Active, seed(0)),
            Offered { minimum: Some(version("1.0.0")), waves, ..release("1.1.0", State::Paused, seed(16)) },
            release("2.0.0", withdrawn, seed(32)),
        ],
    }
}

#[test]
fn the_bytes_of_a_document_are_the_ones_in_the_field() {
    assert_eq!(String::from_utf8(golden().encode().unwrap()).unwrap(), GOLDEN);
    assert_eq!(Rollout::parse(GOLDEN.as_bytes()), Ok(golden()));
}

#[test]
fn fields_that_are_not_known_are_passed_over_but_another_format_is_not() {
    let more = GOLDEN.replacen('{', "{\"later\":[1],", 1);
    assert_eq!(Rollout::parse(more.as_bytes()), Ok(golden()));
    for (from, to) in [("\"format\":0", "\"format\":1"), ("coracle-rollout", "targets")] {
        assert_eq!(Rollout::parse(GOLDEN.replace(from, to).as_bytes()), Err(RolloutFault::Format));
    }
}

#[test]
fn a_field_that_is_wrong_is_named() {
    for (from, to, name) in [
        ("\"stable\"", "\"Stable\"", "channel"),
        ("\"stable\"", "\"a/b\"", "channel"),
        ("\"stable\"", "\"root\"", "channel"),
        ("\"stable\"", "\"0123456789abcdef0123456789abcdef0\"", "channel"),
        ("\"shop\"", "\"\"", "image"),
        ("\"shop\"", "\"..\"", "image"),
        ("\"arch\":\"x86_64\"", "\"arch\":\"riscv64\"", "arch"),
        ("shop-x86_64-1.0.0.bundle", "stable/shop.json", "target"),
        ("shop-x86_64-1.0.0.bundle", "../shop", "target"),
        ("\"active\"", "\"gone\"", "state"),
        ("\"withdrawn\"", "\"paused\"", "instead"),
        ("\"minimum\":\"1.0.0\"", "\"minimum\":1", "minimum"),
        ("\"version\":\"2.0.0\"", "\"version\":\"2.0.0-rc1\"", "version"),
        ("000102030405060708090a0b0c0d0e0f", "000102030405060708090A0B0C0D0E0F", "seed"),
        ("\"waves\":[]", "\"waves\":{}", "waves"),
        ("\"share\":100,", "\"share\":100000,", "share"),
        ("\"share\":100,", "\"share\":-1,", "share"),
        ("2026-11-23T00:00:00Z", "2026-11-23", "start"),
        ("\"format\":0,", "", "format"),
        ("\"image\":\"shop\",", "", "image"),
    ] {
        let text = GOLDEN.replacen(from, to, 1);
        assert_ne!(text, GOLDEN, "{from}");
        assert_eq!(Rollout::parse(text.as_bytes()), Err(RolloutFault::Field(name)), "{text}");
    }
}

#[test]
fn releases_stand_in_the_order_of_versions() {
    for (from, to) in
        [("\"version\":\"1.0.0\"", "\"version\":\"1.1\""), ("\"version\":\"1.0.0\"", "\"version\":\"1.2\"")]
    {
        let text = GOLDEN.replace(from, to);
        assert_eq!(Rollout::parse(text.as_bytes()), Err(RolloutFault::Order(version("1.1.0"))));
    }
}

#[test]
fn waves_grow_and_start_one_after_the_other() {
    for (from, to) in [
        ("\"share\":100,", "\"share\":0,"),
        ("\"share\":100,", "\"share\":10000,"),
        ("\"share\":10000,", "\"share\":10001,"),
        ("2026-11-24", "2026-11-22"),
    ] {
        let text = GOLDEN.replace(from, to);
        assert_eq!(Rollout::parse(text.as_bytes()), Err(RolloutFault::Waves(version("1.1.0"))), "{text}");
    }
}

#[test]
fn what_is_named_instead_must_be_there_and_not_be_withdrawn_itself() {
    for instead in ["1.2.0", "2.0.0"] {
        let text = GOLDEN.replace("\"instead\":\"1.1.0\"", &format!("\"instead\":\"{instead}\""));
        let fault = RolloutFault::Instead { withdrawn: version("2.0.0"), instead: version(instead) };
        assert_eq!(Rollout::parse(text.as_bytes()), Err(fault));
    }
}

#[test]
fn size_releases_and_waves_are_bounded_for_readers_and_writers() {
    let mut bytes = GOLDEN.as_bytes().to_vec();
    bytes.resize(BYTES_MAX, b' ');
    assert_eq!(Rollout::parse(&bytes), Ok(golden()));
    bytes.push(b' ');
    assert_eq!(Rollout::parse(&bytes), Err(RolloutFault::TooLarge));
    assert_eq!(Rollout::parse(b"{"), Err(RolloutFault::Json(Fault::Json(1))));

    let mut many = golden();
    let first = many.releases[0].clone();
    many.releases = (1..=64)
        .map(|number| Offered { version: Version::from_u64(number << 48), ..first.clone() })
        .collect();
    assert_eq!(Rollout::parse(&many.encode().unwrap()), Ok(many.clone()));
    many.releases.push(Offered { version: Version::from_u64(65 << 48), ..first.clone() });
    assert_eq!(many.encode(), Err(RolloutFault::TooManyReleases));

    let mut waves = golden();
    waves.releases[0].waves = (1..=32).map(|share| Wave { share, start: 0 }).collect();
    assert_eq!(Rollout::parse(&waves.encode().unwrap()), Ok(waves.clone()));
    waves.releases[0].waves.push(Wave { share: 33, start: 0 });
    assert_eq!(waves.encode(), Err(RolloutFault::TooManyWaves(version("1.0.0"))));
    waves.releases[0].waves = vec![Wave { share: 1, start: u64::MAX }];
    assert_eq!(waves.encode(), Err(RolloutFault::Waves(version("1.0.0"))));
}

proptest! {
    #[test]
    fn what_is_written_is_read_the_same(
        shares in prop::collection::btree_set(1..=EVERYBODY, 0..6),
        first in 0..1_u64 << 37,
        seed: [u8; 16],
        minimum in prop::option::of(any::<u64>()),
        versions in prop::collection::btree_set(any::<u64>(), 1..5),
    ) {
        let mut document = golden();
        let waves: Vec<_> = shares.iter().map(|share| Wave { share: *share, start: first + u64::from(*share) }).collect();
        document.releases = versions.iter().map(|version| Offered {
            version: Version::from_u64(*version),
            minimum: minimum.map(Version::from_u64),
            waves: waves.clone(),
            seed: Seed(seed),
            ..golden().releases[0].clone()
        }).collect();
        let bytes = document.encode().unwrap();
        prop_assert_eq!(Rollout::parse(&bytes), Ok(document));
    }

    #[test]
    fn any_bytes_are_a_document_or_refused(bytes: Vec<u8>, at in 0..GOLDEN.len(), byte: u8) {
        drop(Rollout::parse(&bytes));
        let mut near = GOLDEN.as_bytes().to_vec();
        near[at] = byte;
        if let Ok(document) = Rollout::parse(&near) {
            prop_assert_eq!(Rollout::parse(&document.encode().unwrap()), Ok(document));
        }
    }
}
