use super::*;
use crate::{cache::Cache, report::Report};
use std::os::unix::fs::PermissionsExt as _;

fn context(dir: &Path) -> Context {
    Context::new(Cache::open(dir.join("cache")).unwrap(), Report::silent())
}

const PLAN: Plan = Plan { root: (3, 2), targets: (2, 1), days: 10 };

#[test]
fn new_keys_are_private_and_their_root_names_them() {
    let dir = tempfile::tempdir().unwrap();
    let keys = KeyDir::new(dir.path().join("keys"));
    keys.create(&context(dir.path()), &PLAN, None).unwrap();
    let root = keys.root().unwrap();
    assert_eq!(root.version(), 1);
    for (role, count, threshold) in
        [(Role::Root, 3, 2), (Role::Targets, 2, 1), (Role::Snapshot, 1, 1), (Role::Timestamp, 1, 1)]
    {
        let authority = root.authority(role);
        assert_eq!((authority.keys.len(), authority.threshold), (count, threshold), "{role}");
        assert_eq!(keys.signers(&context(dir.path()), role).unwrap().len(), count, "{role}");
    }
    let files = keys.files().unwrap();
    assert_eq!(files.len(), 6);
    for file in &files {
        assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(keys.chain().unwrap(), [fs::read(keys.root_path()).unwrap()]);
}

#[test]
fn keys_are_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let keys = KeyDir::new(dir.path().join("keys"));
    keys.create(&context(dir.path()), &PLAN, None).unwrap();
    let publics = || keys.files().unwrap().iter().map(KeyFile::public).collect::<Vec<_>>();
    let before = publics();
    let error = keys.create(&context(dir.path()), &PLAN, None).unwrap_err();
    assert_eq!(error.kind(), Kind::Usage);
    assert_eq!(publics(), before);
}

#[test]
fn thresholds_that_cannot_be_met_are_refused_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let keys = KeyDir::new(dir.path().join("keys"));
    for root in [(1, 0), (1, 2), (17, 1), (0, 0)] {
        let error = keys.create(&context(dir.path()), &Plan { root, ..PLAN }, None).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage, "{root:?}");
    }
    assert!(!dir.path().join("keys").exists());
}

#[test]
fn root_metadata_that_was_changed_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let keys = KeyDir::new(dir.path().join("keys"));
    keys.create(&context(dir.path()), &PLAN, None).unwrap();
    let text = fs::read_to_string(keys.root_path()).unwrap();
    files::replace(&keys.root_path(), text.replace("\"threshold\":2", "\"threshold\":1").as_bytes()).unwrap();
    assert_eq!(keys.root().unwrap_err().kind(), Kind::Signature);
    fs::remove_file(keys.root_path()).unwrap();
    assert!(keys.root().unwrap_err().hint_text().unwrap().contains("coracle keys new"));
}
