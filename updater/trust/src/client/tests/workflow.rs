//! The workflow with an honest repository, whatever fails on the way.

use super::repository::{CHANNEL, DOCUMENT, EXPIRES, Machine, NOW, Repository, sign, vouched};
use crate::{
    Role, TrustError,
    client::{ClientError, Fetch, FetchError, Floors, StoreError},
    publish,
};

#[test]
fn a_refresh_yields_releases_channel_and_floors() {
    let mut repository = Repository::new();
    repository.releases.push(vouched("2.0"));
    repository.publish();
    let mut machine = Machine::new(&repository);
    let mut trusted = machine.sees(&mut repository);
    assert_eq!(repository.asked(), ["2.root.json", "timestamp.json", "2.snapshot.json", "2.targets.json"]);
    assert_eq!(trusted.releases(), [vouched("1.0"), vouched("2.0")]);
    let release = trusted.release(&vouched("2.0").path()).unwrap().unwrap();
    assert_eq!(release, vouched("2.0"));
    assert_eq!(trusted.release(&vouched("3.0").path()), Ok(None));
    let verified = trusted.verified(&release);
    assert_eq!((verified.index_length, verified.index_sha256, verified.root_version), (400, [8; 32], 1));
    assert_eq!((&verified.release, &verified.root), (&release.release, &repository.files["1.root.json"]));
    assert_eq!(machine.floors, Floors { root_version: 1, timestamp_version: 2, issued: NOW - 100 });
    assert!(!trusted.is_recovered());
    let target = trusted.target(DOCUMENT, &mut repository, &mut machine.store).unwrap().unwrap();
    assert_eq!((target.length, target.hashes.sha256), (3, Some([6; 32])));
    assert_eq!(target.file(), format!("{CHANNEL}/{}.hello-x86_64.json", "06".repeat(32)));
    assert_eq!(repository.asked(), ["2.stable.json"]);
}

#[test]
fn an_idle_look_fetches_the_timestamp_and_nothing_else() {
    let mut repository = Repository::new();
    let mut machine = Machine::new(&repository);
    let mut trusted = machine.sees(&mut repository);
    trusted.target(DOCUMENT, &mut repository, &mut machine.store).unwrap();
    let before = machine.store.clone();
    repository.asked();
    let mut trusted = machine.sees(&mut repository);
    trusted.target(DOCUMENT, &mut repository, &mut machine.store).unwrap().unwrap();
    assert_eq!(repository.asked(), ["2.root.json", "timestamp.json"]);
    assert_eq!(machine.store, before);
    assert!(repository.files["timestamp.json"].len() < 1000);
}

#[test]
fn roots_are_fetched_once_however_old_the_image_is() {
    let mut repository = Repository::new();
    for _ in 0..4 {
        let before = repository.keys.root.clone();
        repository.keys.root = vec![before[0] + 20];
        repository.publish_root(&before);
    }
    let mut machine = Machine::new(&repository);
    assert_eq!(machine.sees(&mut repository).root().version(), 5);
    assert_eq!(
        repository.asked()[..5],
        ["2.root.json", "3.root.json", "4.root.json", "5.root.json", "6.root.json"]
    );
    assert_eq!(machine.sees(&mut repository).root_bytes(), repository.files["5.root.json"]);
    assert_eq!(repository.asked(), ["6.root.json", "timestamp.json"]);
}

#[test]
fn a_store_with_any_damaged_byte_changes_nothing_but_what_is_fetched() {
    let mut repository = Repository::new();
    repository.keys.root = vec![21];
    repository.publish_root(&[1]);
    let mut machine = Machine::new(&repository);
    let mut trusted = machine.sees(&mut repository);
    trusted.target(DOCUMENT, &mut repository, &mut machine.store).unwrap();
    let intact = machine.store.clone();
    for (file, bytes) in &intact.files {
        for at in (0..bytes.len()).step_by(7) {
            machine.store.files.insert(file.clone(), bytes.clone());
            machine.store.files.get_mut(file).unwrap()[at] ^= 1;
            let mut trusted = machine.sees(&mut repository);
            trusted.target(DOCUMENT, &mut repository, &mut machine.store).unwrap().unwrap();
            assert_eq!(machine.store, intact, "{file} byte {at}");
        }
    }
}

#[test]
fn what_was_accepted_before_a_failure_stays_and_the_next_look_ends_the_same() {
    struct Broken<'a>(&'a mut Repository, usize);
    impl Fetch for Broken<'_> {
        fn metadata(&mut self, file: &str, limit: u64) -> Result<Option<Vec<u8>>, FetchError> {
            self.1 = self.1.checked_sub(1).ok_or_else(|| FetchError::Failed("cut".into()))?;
            self.0.metadata(file, limit)
        }
    }
    let mut repository = Repository::new();
    let old = Machine::new(&repository);
    repository.keys.timestamp = vec![24];
    repository.publish_root(&[1]);
    repository.publish();
    let mut whole = old.clone();
    whole.sees(&mut repository);
    for calls in 0..5 {
        let mut machine = old.clone();
        let why = machine.refuses(&mut Broken(&mut repository, calls));
        assert!(matches!(why, ClientError::Fetch { why: FetchError::Failed(_), .. }), "{calls}: {why}");
        machine.sees(&mut repository);
        assert_eq!((machine.store, machine.floors), (whole.store.clone(), whole.floors), "{calls}");
    }
}

#[test]
fn a_store_that_cannot_remember_ends_the_look() {
    let mut repository = Repository::new();
    let mut machine = Machine::new(&repository);
    machine.store.is_full = true;
    let why = ClientError::Store { file: "timestamp.json".into(), why: StoreError("full".into()) };
    assert_eq!(machine.refuses(&mut repository), why);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let whole = Repository::new();
    for file in ["timestamp.json", "1.snapshot.json", "1.targets.json"] {
        let mut repository = whole.clone();
        repository.files.remove(file);
        let why = Machine::new(&whole).refuses(&mut repository);
        assert_eq!(why, ClientError::Missing(file.into()));
    }
}

#[test]
fn expiry_is_judged_by_the_clock_or_else_by_the_newest_signed_date() {
    let mut repository = Repository::new();
    let expired = |file: &str, role| ClientError::Untrusted {
        file: file.into(),
        why: TrustError::Expired { role, expires: EXPIRES },
    };
    let mut machine = Machine::new(&repository);
    machine.now = Some(EXPIRES);
    assert_eq!(machine.refuses(&mut repository), expired("root.json", Role::Root));
    machine.now = None;
    machine.sees(&mut repository);
    // A later date was signed once: that time has passed for good, whatever the clock says.
    machine.floors.issued = EXPIRES;
    for now in [None, Some(NOW)] {
        machine.now = now;
        assert_eq!(machine.refuses(&mut repository), expired("root.json", Role::Root));
    }
}

#[test]
fn a_repository_without_consistent_snapshots_is_refused() {
    let mut repository = Repository::new();
    let root = String::from_utf8(repository.files["1.root.json"].clone()).unwrap();
    let from = root.find("\"signed\":").unwrap() + 9;
    let signed =
        root[from..root.len() - 1].replace("\"consistent_snapshot\":true", "\"consistent_snapshot\":false");
    let mut machine = Machine::new(&repository);
    machine.root = sign(signed.as_bytes(), &[1]);
    let why = machine.refuses(&mut repository);
    assert!(why.to_string().contains("consistent_snapshot"), "{why}");
}

#[test]
fn a_date_of_issue_after_the_expiry_is_refused_and_none_is_accepted() {
    let mut repository = Repository::new();
    repository.issued = EXPIRES + 1;
    repository.publish_timestamp();
    let mut machine = Machine::new(&repository);
    let why = machine.refuses(&mut repository);
    assert!(why.to_string().contains("issued"), "{why}");
    let listed = publish::Listed::of(1, &repository.files["1.snapshot.json"]);
    let text = String::from_utf8(publish::timestamp(3, NOW, EXPIRES, &listed).unwrap()).unwrap();
    let (before, after) = text.split_once("\"issued\"").unwrap();
    let without = [before, after.split_once(',').unwrap().1].concat();
    repository.files.insert("timestamp.json".into(), sign(without.as_bytes(), &[4]));
    machine.floors.issued = 77;
    assert_eq!(machine.sees(&mut repository).issued(), None);
    assert_eq!(machine.floors.issued, 77);
}

#[test]
fn the_bytes_of_a_timestamp_are_these() {
    let listed = publish::Listed { version: 7, length: 99, sha256: [0xab; 32] };
    let signed = publish::timestamp(8, NOW, EXPIRES, &listed).unwrap();
    let expected = concat!(
        r#"{"_type":"timestamp","expires":"2033-05-18T03:33:20Z","issued":"2027-01-15T08:00:00Z","#,
        r#""meta":{"snapshot.json":{"hashes":{"sha256":"DIGEST"},"length":99,"version":7}},"#,
        r#""spec_version":"1.0.31","version":8}"#
    );
    assert_eq!(String::from_utf8(signed).unwrap().replace(&"ab".repeat(32), "DIGEST"), expected);
}
