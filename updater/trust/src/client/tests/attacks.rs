//! One test per attack that the specification names.

use super::repository::{
    CHANNEL, DOCUMENT, EXPIRES, Machine, Memory, NOW, Repository, Versions, rollback, sign, vouched,
};
use crate::{
    Role, TrustError,
    client::{ClientError, FetchError, Floors, TIMESTAMP_BYTES_MAX},
    publish::{self, Listed},
};

fn too_few(file: &str, role: Role, valid: usize, threshold: u32, by: u32) -> ClientError {
    ClientError::Untrusted { file: file.into(), why: TrustError::Signatures { role, valid, threshold, by } }
}

/// A repository that a machine has seen in its second version, and how both were before.
fn seen_twice() -> (Repository, Repository, Machine) {
    let mut repository = Repository::new();
    let first = repository.clone();
    let mut machine = Machine::new(&repository);
    machine.sees(&mut repository);
    repository.releases.push(vouched("2.0"));
    repository.publish();
    let mut trusted = machine.sees(&mut repository);
    trusted.target(DOCUMENT, &mut repository, &mut machine.store).unwrap().unwrap();
    (first, repository, machine)
}

#[test]
fn arbitrary_software_every_changed_byte_of_every_document_is_refused() {
    let mut repository = Repository::new();
    repository.keys.root = vec![21];
    repository.publish_root(&[1]);
    for file in ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json", "1.stable.json"] {
        let honest = repository.files[file].clone();
        for at in 0..honest.len() {
            repository.files.get_mut(file).unwrap()[at] ^= 1 << (at % 8);
            let mut machine = Machine::new(&repository);
            let seen = machine.look(&mut repository);
            let seen = seen.and_then(|mut it| it.target(DOCUMENT, &mut repository, &mut machine.store));
            assert!(seen.is_err(), "{file} byte {at}");
            repository.files.insert(file.into(), honest.clone());
        }
    }
}

#[test]
fn arbitrary_software_documents_of_foreign_keys_are_refused() {
    for (role, file) in [
        (Role::Timestamp, "timestamp.json"),
        (Role::Snapshot, "2.snapshot.json"),
        (Role::Targets, "2.targets.json"),
    ] {
        let mut repository = Repository::new();
        let mut machine = Machine::new(&repository);
        machine.sees(&mut repository);
        match role {
            Role::Timestamp => repository.keys.timestamp = vec![99],
            Role::Snapshot => repository.keys.snapshot = vec![99],
            Role::Root | Role::Targets => repository.keys.targets = vec![99],
        }
        repository.publish();
        assert_eq!(machine.refuses(&mut repository), too_few(file, role, 0, 1, 1));
    }
}

#[test]
fn arbitrary_software_who_chooses_the_release_cannot_make_one() {
    let mut repository = Repository::new();
    // The channel's key signs a release of its own, under the path of a bundle and under its own.
    let evil = vouched("9.0");
    for path in [evil.path(), format!("{CHANNEL}/{}", evil.path())] {
        repository.versions.channel += 1;
        let signed =
            publish::releases(repository.versions.channel, EXPIRES, std::slice::from_ref(&evil), &[])
                .unwrap();
        let signed = String::from_utf8(signed).unwrap().replace(&evil.path(), &path);
        repository.files.insert(repository.name(CHANNEL), sign(signed.as_bytes(), &[5]));
        repository.publish_snapshot();
        repository.publish_timestamp();
        let mut machine = Machine::new(&repository);
        let mut trusted = machine.sees(&mut repository);
        assert_eq!(trusted.releases(), [vouched("1.0")]);
        assert_eq!(trusted.release(&path), Ok(None));
        // What it signs outside of its paths is not even a target.
        let target = trusted.target(&path, &mut repository, &mut machine.store).unwrap();
        assert_eq!(target.is_some(), path.starts_with(CHANNEL));
    }
}

#[test]
fn rollback_of_the_timestamp_is_refused() {
    let (mut first, _, mut machine) = seen_twice();
    let before = machine.store.clone();
    assert_eq!(machine.refuses(&mut first), rollback("timestamp.json", 1, 2));
    assert_eq!(machine.store, before);
    // Floors are not raised at every look: the store alone forbids it too.
    machine.floors.timestamp_version = 1;
    assert_eq!(machine.refuses(&mut first), rollback("timestamp.json", 1, 2));
}

#[test]
fn rollback_of_the_snapshot_is_refused_even_with_the_timestamp_key() {
    let (first, repository, mut machine) = seen_twice();
    let before = machine.store.clone();
    let mut evil = repository.clone();
    evil.versions.snapshot = 1;
    evil.files.insert("1.snapshot.json".into(), first.files["1.snapshot.json"].clone());
    evil.publish_timestamp();
    assert_eq!(machine.refuses(&mut evil), rollback("snapshot.json", 1, 2));
    assert_eq!(machine.store, before);
}

#[test]
fn rollback_of_targets_and_channel_is_refused_even_with_both_online_keys() {
    for file in ["targets.json", "stable.json"] {
        let (_, mut repository, mut machine) = seen_twice();
        match file {
            "targets.json" => repository.versions.targets = 1,
            _ => repository.versions.channel = 1,
        }
        repository.publish_snapshot();
        repository.publish_timestamp();
        assert_eq!(machine.refuses(&mut repository), rollback(file, 1, 2));
    }
}

#[test]
fn rollback_a_document_that_is_no_longer_listed_is_missed() {
    let (_, mut repository, mut machine) = seen_twice();
    repository.versions.snapshot += 1;
    let targets = Listed::of(2, &repository.files["2.targets.json"]);
    repository.publish_snapshot_of(&[("targets", targets)]);
    repository.publish_timestamp();
    assert_eq!(machine.refuses(&mut repository), ClientError::Vanished("stable.json".into()));
}

#[test]
fn rollback_of_the_root_is_refused_by_its_floor() {
    let (_, mut repository, mut machine) = seen_twice();
    machine.floors.root_version = 2;
    let why = TrustError::RootTooOld { found: 1, floor: 2 };
    assert_eq!(machine.refuses(&mut repository), ClientError::Untrusted { file: "1.root.json".into(), why });
}

#[test]
fn replay_after_the_store_was_wiped_is_refused_by_the_floors() {
    let (mut first, mut repository, mut machine) = seen_twice();
    machine.store = Memory::default();
    assert_eq!(machine.refuses(&mut first), rollback("timestamp.json", 1, 2));
    // Nor does a store help that was put back to what it once was.
    let mut old = Machine::new(&first);
    old.sees(&mut first);
    machine.store = old.store;
    assert_eq!(machine.refuses(&mut first), rollback("timestamp.json", 1, 2));
    machine.sees(&mut repository);
}

#[test]
fn fast_forward_is_recovered_from_by_replacing_the_key() {
    let mut repository = Repository::new();
    let mut machine = Machine::new(&repository);
    machine.sees(&mut repository);
    // Whoever has stolen the online keys goes as far ahead as can be, in versions and in time.
    let mut evil = repository.clone();
    (evil.versions.timestamp, evil.versions.snapshot, evil.issued) =
        (u32::MAX - 1, u32::MAX - 1, EXPIRES - 1);
    evil.publish_snapshot();
    evil.publish_timestamp();
    machine.sees(&mut evil);
    assert_eq!(machine.floors, Floors { root_version: 1, timestamp_version: u32::MAX, issued: EXPIRES - 1 });
    repository.publish();
    assert_eq!(machine.refuses(&mut repository), rollback("timestamp.json", 2, u32::MAX));
    // The owner replaces them.
    (repository.keys.timestamp, repository.keys.snapshot) = (vec![24], vec![23]);
    repository.publish_root(&[1]);
    // Long before the date that the thief has stated.
    repository.expires = NOW + 1000;
    repository.publish();
    for wiped in [false, true] {
        let mut machine = machine.clone();
        if wiped {
            machine.store = Memory::default();
        }
        let trusted = machine.sees(&mut repository);
        assert!(trusted.is_recovered());
        let after = Floors { root_version: 2, timestamp_version: 3, issued: NOW - 100 };
        assert_eq!((trusted.floors(), machine.floors), (after, after));
        // Once: from here on everything counts again.
        assert!(!machine.sees(&mut repository).is_recovered());
        machine.floors.timestamp_version = 9;
        assert_eq!(machine.refuses(&mut repository), rollback("timestamp.json", 3, 9));
    }
}

#[test]
fn fast_forward_is_forgotten_even_if_a_key_that_stays_has_signed_it_too() {
    let mut repository = Repository::new();
    repository.keys.timestamp = vec![4, 24];
    repository.publish_root(&[1]);
    let mut machine = Machine::new(&repository);
    let mut ahead = repository.clone();
    (ahead.versions.timestamp, ahead.versions.snapshot) = (90, 90);
    ahead.publish();
    machine.sees(&mut ahead);
    repository.keys.timestamp = vec![24];
    repository.publish_root(&[1]);
    repository.publish();
    assert!(machine.sees(&mut repository).is_recovered());
    assert_eq!(machine.floors.timestamp_version, 2);
}

#[test]
fn fast_forward_a_root_that_takes_no_timestamp_key_away_forgives_nothing() {
    let (first, mut repository, mut machine) = seen_twice();
    repository.keys.timestamp = vec![4, 24];
    repository.keys.root = vec![21];
    repository.publish_root(&[1]);
    let mut replayed = repository.clone();
    replayed.files.insert("timestamp.json".into(), first.files["timestamp.json"].clone());
    machine.store = Memory::default();
    assert_eq!(machine.refuses(&mut replayed), rollback("timestamp.json", 1, 2));
    assert!(!machine.sees(&mut repository).is_recovered());
}

#[test]
fn freeze_an_old_timestamp_serves_until_it_expires() {
    let mut repository = Repository::new();
    repository.expires = NOW + 10;
    repository.publish();
    let mut machine = Machine::new(&repository);
    machine.sees(&mut repository);
    machine.now = Some(NOW + 9);
    machine.sees(&mut repository);
    machine.now = Some(NOW + 10);
    let why = TrustError::Expired { role: Role::Timestamp, expires: NOW + 10 };
    let expired = ClientError::Untrusted { file: "timestamp.json".into(), why };
    assert_eq!(machine.refuses(&mut repository), expired);
    // Nor is it believed for being new, or remembered.
    machine.store = Memory::default();
    machine.floors = Floors::default();
    assert_eq!(machine.refuses(&mut repository), expired);
    assert_eq!(machine.store, Memory::default());
}

#[test]
fn freeze_every_document_below_the_timestamp_expires_too() {
    for (role, file) in [(Role::Snapshot, "2.snapshot.json"), (Role::Targets, "2.targets.json")] {
        let mut repository = Repository::new();
        let mut machine = Machine::new(&repository);
        repository.versions.snapshot = 1;
        repository.expires = if role == Role::Targets { NOW } else { EXPIRES };
        repository.publish_targets();
        repository.publish_channel();
        repository.expires = if role == Role::Snapshot { NOW } else { EXPIRES };
        repository.publish_snapshot();
        repository.expires = EXPIRES;
        repository.publish_timestamp();
        let why = TrustError::Expired { role, expires: NOW };
        let expired = ClientError::Untrusted { file: file.into(), why };
        assert_eq!(machine.refuses(&mut repository), expired);
        assert!(!machine.store.files.contains_key(&format!("{role}.json")));
    }
}

#[test]
fn mix_and_match_documents_of_different_times_are_refused() {
    let (first, mut repository, _) = seen_twice();
    // All of them are signed by the right keys; each is served in place of the other version.
    for (role, file) in
        [("snapshot", "2.snapshot.json"), ("targets", "2.targets.json"), ("stable", "2.stable.json")]
    {
        let honest = repository.files[file].clone();
        repository.files.insert(file.into(), first.files[&format!("1.{role}.json")].clone());
        let mut machine = Machine::new(&first);
        let seen = machine.look(&mut repository);
        let seen = seen.and_then(|mut it| it.target(DOCUMENT, &mut repository, &mut machine.store));
        assert_eq!(seen, Err(ClientError::Mismatch(file.into())));
        repository.files.insert(file.into(), honest);
    }
}

#[test]
fn freeze_the_document_of_a_channel_expires_whether_it_is_new_or_known() {
    let mut repository = Repository::new();
    repository.expires = NOW + 10;
    repository.publish_channel();
    repository.expires = EXPIRES;
    repository.publish_snapshot();
    repository.publish_timestamp();
    let mut machine = Machine::new(&repository);
    for (file, now, fine) in [
        ("2.stable.json", NOW + 10, false),
        ("2.stable.json", NOW + 9, true),
        ("delegated.stable.json", NOW + 10, false),
    ] {
        machine.now = Some(now);
        let mut trusted = machine.sees(&mut repository);
        let found =
            trusted.target(DOCUMENT, &mut repository, &mut machine.store).map(|found| found.is_some());
        let why = TrustError::Expired { role: Role::Targets, expires: NOW + 10 };
        let expired = ClientError::Untrusted { file: file.into(), why };
        assert_eq!(found, if fine { Ok(true) } else { Err(expired) });
    }
}

#[test]
fn mix_and_match_another_document_of_the_same_version_is_refused() {
    for file in ["1.snapshot.json", "1.targets.json", "1.stable.json"] {
        let mut repository = Repository::new();
        let mut other = Repository { expires: EXPIRES - 1, ..Repository::new() };
        other.versions = Versions { root: 1, ..Versions::default() };
        other.publish();
        // Signed by the right keys, of the right version, and not what was vouched for.
        repository.files.insert(file.into(), other.files[file].clone());
        let mut machine = Machine::new(&repository);
        let seen = machine.look(&mut repository);
        let seen = seen.and_then(|mut it| it.target(DOCUMENT, &mut repository, &mut machine.store));
        assert_eq!(seen, Err(ClientError::Mismatch(file.into())));
    }
}

#[test]
fn mix_and_match_a_version_other_than_the_listed_one_is_refused_without_digests_too() {
    let mut repository = Repository::new();
    let bytes = repository.files["1.targets.json"].clone();
    let stripped = |version: u32| {
        let listed = format!("{{\"targets.json\":{{\"version\":{version}}}}}");
        let signed = publish::snapshot(2, EXPIRES, &[]).unwrap();
        let signed = String::from_utf8(signed).unwrap().replace("\"meta\":{}", &format!("\"meta\":{listed}"));
        sign(signed.as_bytes(), &[3])
    };
    repository.versions.snapshot = 2;
    for (version, accepted) in [(1, true), (2, false)] {
        repository.files.insert("2.snapshot.json".into(), stripped(version));
        repository.files.insert(format!("{version}.targets.json"), bytes.clone());
        repository.publish_timestamp();
        let seen = Machine::new(&repository).look(&mut repository).map(|_| ());
        assert_eq!(seen, if accepted { Ok(()) } else { Err(ClientError::Mismatch("2.targets.json".into())) });
    }
    // The same for the snapshot.
    repository.files.insert("3.snapshot.json".into(), stripped(1));
    for (version, accepted) in [(2, true), (3, false)] {
        let signed = publish::timestamp(9, NOW, EXPIRES, &Listed::of(1, b"")).unwrap();
        let text = String::from_utf8(signed).unwrap();
        let (before, rest) = text.split_once("{\"snapshot.json\":").unwrap();
        let after = rest.split_once("}},").unwrap().1;
        let signed = format!("{before}{{\"snapshot.json\":{{\"version\":{version}}}}},{after}");
        repository.files.insert("2.snapshot.json".into(), stripped(1));
        repository.files.insert("timestamp.json".into(), sign(signed.as_bytes(), &[4]));
        let seen = Machine::new(&repository).look(&mut repository).map(|_| ());
        assert_eq!(
            seen,
            if accepted { Ok(()) } else { Err(ClientError::Mismatch("3.snapshot.json".into())) }
        );
    }
}

#[test]
fn endless_data_is_asked_for_up_to_its_limit_and_never_parsed_beyond() {
    let mut repository = Repository::new();
    let mut machine = Machine::new(&repository);
    machine.sees(&mut repository);
    let listed = |file: &str| u64::try_from(repository.files[file].len()).unwrap();
    let limits: Vec<u64> = repository.asked.iter().map(|(_, limit)| *limit).collect();
    assert_eq!(limits[1..], [TIMESTAMP_BYTES_MAX, listed("1.snapshot.json"), listed("1.targets.json")]);
    for file in ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"] {
        let mut evil = repository.clone();
        evil.files.insert(file.into(), vec![b' '; 1 << 20]);
        let why = Machine::new(&repository).refuses(&mut evil);
        assert_eq!(why, ClientError::Fetch { file: file.into(), why: FetchError::TooLarge });
    }
    // A length that nobody would have is refused before anything is fetched.
    repository.versions.snapshot += 1;
    let listed = Listed { version: 2, length: 1 << 40, sha256: [0; 32] };
    repository.versions.timestamp += 1;
    let signed = publish::timestamp(2, NOW, EXPIRES, &listed).unwrap();
    repository.files.insert("timestamp.json".into(), sign(&signed, &[4]));
    repository.asked();
    let why = machine.refuses(&mut repository);
    assert_eq!(why, ClientError::Fetch { file: "2.snapshot.json".into(), why: FetchError::TooLarge });
    assert_eq!(repository.asked(), ["2.root.json", "timestamp.json"]);
}

#[test]
fn compromise_below_the_threshold_changes_nothing() {
    let mut repository = Repository::new();
    (repository.keys.root, repository.keys.targets) = (vec![1, 21], vec![2, 22]);
    repository.keys.threshold = 2;
    repository.publish_root(&[1]);
    repository.publish();
    let mut machine = Machine::new(&repository);
    machine.sees(&mut repository);
    let mut evil = repository.clone();
    evil.keys.targets = vec![2];
    evil.releases.push(vouched("6.6"));
    evil.publish();
    assert_eq!(machine.refuses(&mut evil), too_few("3.targets.json", Role::Targets, 1, 2, 2));
    // One of two root keys makes no root either, not even with as many others as you like.
    let mut evil = repository.clone();
    (evil.keys.root, evil.keys.threshold) = (vec![1, 91, 92], 1);
    evil.publish_root(&[]);
    assert_eq!(machine.refuses(&mut evil), too_few("3.root.json", Role::Root, 1, 2, 2));
    // The owner goes past the versions that the stolen online keys have signed.
    repository.publish();
    repository.publish();
    assert_eq!(machine.sees(&mut repository).releases(), [vouched("1.0")]);
}

#[test]
fn rotation_over_five_versions_is_followed_from_any_of_them_and_across_a_rollback() {
    let mut repository = Repository::new();
    let mut images = vec![repository.files["1.root.json"].clone()];
    for step in 1..=5 {
        let before = repository.keys.root.clone();
        repository.keys.root = vec![10 * step + 1, 10 * step + 2];
        repository.keys.threshold = 2;
        repository.keys.targets = vec![10 * step + 3, 10 * step + 4];
        repository.publish_root(&before);
        images.push(repository.files[&repository.name("root")].clone());
    }
    repository.publish();
    let mut machine = Machine::new(&repository);
    for image in images.iter().chain([&images[0], &images[3]]) {
        // With and without what was fetched before; an older image is what a rollback starts.
        machine.root.clone_from(image);
        assert_eq!(machine.sees(&mut repository).root().version(), 6);
        let mut wiped = Machine { store: Memory::default(), ..machine.clone() };
        assert_eq!(wiped.sees(&mut repository).root().version(), 6);
        assert_eq!(machine.floors.root_version, 6);
    }
    // A repository that hides the newest roots from an old image is found out.
    let mut hiding = repository.clone();
    hiding.files.remove("6.root.json");
    machine.store = Memory::default();
    machine.root.clone_from(&images[0]);
    let why = TrustError::RootTooOld { found: 5, floor: 6 };
    assert_eq!(machine.refuses(&mut hiding), ClientError::Untrusted { file: "5.root.json".into(), why });
}

#[test]
fn rotation_without_end_is_taken_in_portions() {
    let mut repository = Repository::new();
    for _ in 0..300 {
        repository.publish_root(&[1]);
    }
    let mut machine = Machine::new(&repository);
    assert_eq!(machine.refuses(&mut repository), ClientError::Roots);
    assert_eq!(machine.sees(&mut repository).root().version(), 301);
}

#[test]
fn a_timestamp_of_a_known_version_is_what_it_was() {
    let (_, mut repository, mut machine) = seen_twice();
    let before = machine.store.clone();
    repository.versions.timestamp -= 1;
    repository.versions.snapshot += 40;
    let snapshot = repository.files["2.snapshot.json"].clone();
    repository.files.insert("42.snapshot.json".into(), snapshot);
    repository.publish_timestamp();
    repository.asked();
    assert_eq!(machine.sees(&mut repository).snapshot_version(), 2);
    assert_eq!(repository.asked(), ["2.root.json", "timestamp.json"]);
    assert_eq!(machine.store, before);
}
