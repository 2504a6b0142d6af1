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

fn rotation(roles: &[Role], new: u32, revoke: &[&str], threshold: Option<u32>) -> Rotation {
    let revoke = revoke.iter().map(|name| (*name).to_owned()).collect();
    let change = Change { roles: roles.to_vec(), new, revoke, threshold, ..Change::default() };
    Rotation { change, days: 10, signers: Vec::new() }
}

#[test]
fn a_new_root_follows_the_old_one_and_every_version_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (ctx, keys) = (context(dir.path()), KeyDir::new(dir.path().join("keys")));
    keys.create(&ctx, &PLAN, None).unwrap();
    let first = keys.chain().unwrap();
    let progress = rotate(&ctx, &keys, &rotation(&[Role::Root], 1, &["root-1.pem"], None)).unwrap();
    assert_eq!(progress, Progress::Done { version: 2, path: dir.path().join("keys/2.root.json") });
    let chain = keys.chain().unwrap();
    assert_eq!((chain.len(), &chain[0]), (2, &first[0]));
    let before = Root::read(&chain[0]).unwrap();
    let next = coracle_trust::document::Document::parse(Role::Root, &chain[1]).unwrap();
    let next = before.followed_by(&next).unwrap();
    assert_eq!(next.authority(Role::Root).keys.len(), 3);
    let public = |name: &str| KeyFile::load(&dir.path().join("keys").join(name)).unwrap().public().unwrap();
    assert!(!next.authority(Role::Root).has(&public("root-1.pem")));
    assert!(next.authority(Role::Root).has(&public("root-4.pem")));
    assert!(next.authority(Role::Targets).has(&public("targets-2.pem")));
}

#[test]
fn keys_in_two_places_sign_one_after_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let (ctx, keys) = (context(dir.path()), KeyDir::new(dir.path().join("keys")));
    keys.create(&ctx, &PLAN, None).unwrap();
    // Two of the three root keys lie elsewhere, and each is needed: two must sign.
    let away = dir.path().join("away");
    fs::create_dir(&away).unwrap();
    for name in ["root-2.pem", "root-3.pem"] {
        fs::rename(dir.path().join("keys").join(name), away.join(name)).unwrap();
    }
    let staged = dir.path().join("keys/2.root.json.staged");
    let progress = rotate(&ctx, &keys, &rotation(&[Role::Targets], 1, &["targets-1.pem"], None)).unwrap();
    let missing = |by| Missing { by, have: 1, need: 2 };
    let expected =
        Progress::Staged { version: 2, path: staged.clone(), missing: vec![missing(1), missing(2)] };
    assert_eq!(progress, expected);
    assert_eq!(keys.root().unwrap().version(), 1);
    let again = rotate(&ctx, &keys, &rotation(&[], 0, &[], None)).unwrap_err();
    assert!(again.to_string().contains("under way already"), "{again}");
    // Where no root is at hand, signatures are only added.
    let carried = away.join("2.root.json.staged");
    fs::copy(&staged, &carried).unwrap();
    let signer = |name: &str| Signer::Key(SecretKey::load(&away.join(name)).unwrap());
    let progress = sign_staged(&ctx, &carried, &[signer("root-3.pem")]).unwrap();
    assert!(matches!(progress, Progress::Staged { .. }));
    fs::copy(&carried, &staged).unwrap();
    let progress = sign_staged(&ctx, &staged, &[]).unwrap();
    assert_eq!(progress, Progress::Done { version: 2, path: dir.path().join("keys/2.root.json") });
    assert!(!staged.exists());
    assert_eq!(keys.root().unwrap().version(), 2);
}

#[test]
fn a_key_that_leaves_the_root_still_signs_its_successor() {
    let dir = tempfile::tempdir().unwrap();
    let (ctx, keys) = (context(dir.path()), KeyDir::new(dir.path().join("keys")));
    keys.create(&ctx, &Plan { root: (2, 2), ..PLAN }, None).unwrap();
    let away = dir.path().join("root-2.pem");
    fs::rename(dir.path().join("keys/root-2.pem"), &away).unwrap();
    let revoked = publish::key_id(&SecretKey::load(&away).unwrap().public());
    let turn = rotation(&[Role::Root], 1, &[&revoked[..12]], None);
    assert!(matches!(rotate(&ctx, &keys, &turn).unwrap(), Progress::Staged { .. }));
    // Its signature survives the file, though the new root does not name it.
    let staged = dir.path().join("keys/2.root.json.staged");
    let elsewhere = dir.path().join("2.root.json.staged");
    fs::copy(&staged, &elsewhere).unwrap();
    sign_staged(&ctx, &elsewhere, &[Signer::Key(SecretKey::load(&away).unwrap())]).unwrap();
    fs::copy(&elsewhere, &staged).unwrap();
    assert!(matches!(sign_staged(&ctx, &staged, &[]).unwrap(), Progress::Done { version: 2, .. }));
}

#[test]
fn a_foreign_key_or_a_changed_document_makes_no_root() {
    let dir = tempfile::tempdir().unwrap();
    let (ctx, keys) = (context(dir.path()), KeyDir::new(dir.path().join("keys")));
    keys.create(&ctx, &PLAN, None).unwrap();
    let away = dir.path().join("root-1.pem");
    fs::rename(dir.path().join("keys/root-1.pem"), &away).unwrap();
    fs::rename(dir.path().join("keys/root-2.pem"), dir.path().join("root-2.pem")).unwrap();
    rotate(&ctx, &keys, &rotation(&[Role::Root], 0, &[], Some(1))).unwrap();
    let staged = dir.path().join("keys/2.root.json.staged");
    let foreign = Signer::Key(SecretKey::generate().unwrap());
    assert_eq!(sign_staged(&ctx, &staged, &[foreign]).unwrap_err().kind(), Kind::Usage);
    // Changed after the first signature: that one counts no more, and one is not enough for version 1.
    let text = fs::read_to_string(&staged).unwrap();
    let changed = text.replace("\"threshold\":1},\"timestamp\"", "\"threshold\":3},\"timestamp\"");
    let changed = changed.replacen("\"expires\":\"20", "\"expires\":\"21", 1);
    files::replace(&staged, changed.as_bytes()).unwrap();
    let progress = sign_staged(&ctx, &staged, &[Signer::Key(SecretKey::load(&away).unwrap())]).unwrap();
    let Progress::Staged { missing, .. } = progress else { panic!("{progress:?}") };
    assert_eq!(missing, [Missing { by: 1, have: 1, need: 2 }]);
    assert_eq!(keys.root().unwrap().version(), 1);
}

#[test]
fn a_rotation_that_nobody_could_sign_with_is_refused_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let (ctx, keys) = (context(dir.path()), KeyDir::new(dir.path().join("keys")));
    keys.create(&ctx, &PLAN, None).unwrap();
    let names = || fs::read_dir(dir.path().join("keys")).unwrap().count();
    let before = names();
    for turn in [
        rotation(&[Role::Timestamp], 0, &["online-1.pem"], None),
        rotation(&[Role::Root], 1, &[], Some(5)),
        rotation(&[Role::Root], 1, &[], Some(0)),
        rotation(&[], 1, &[], None),
        rotation(&[Role::Root], 0, &["targets-1.pem"], None),
        rotation(&[Role::Root], 0, &["0"], None),
    ] {
        assert_eq!(rotate(&ctx, &keys, &turn).unwrap_err().kind(), Kind::Usage, "{turn:?}");
    }
    assert_eq!(names(), before);
}

#[test]
fn a_drill_says_who_can_still_sign_and_what_a_thief_could() {
    let dir = tempfile::tempdir().unwrap();
    let (ctx, keys) = (context(dir.path()), KeyDir::new(dir.path().join("keys")));
    keys.create(&ctx, &PLAN, None).unwrap();
    let ask = |lose: &[&str]| {
        let lose: Vec<String> = lose.iter().map(|name| (*name).to_owned()).collect();
        let losses = drill(&keys, &lose).unwrap();
        losses.iter().map(|loss| (loss.works(), loss.is_exposed())).collect::<Vec<_>>()
    };
    let (fine, thief, both, gone) = ((true, false), (true, true), (false, true), (false, true));
    assert_eq!(ask(&["root-1.pem"]), [fine; 4]);
    assert_eq!(ask(&["root-1.pem", "root-2"]), [gone, fine, fine, fine]);
    assert_eq!(ask(&["targets-1.pem"]), [fine, thief, fine, fine]);
    assert_eq!(ask(&["online-1"]), [fine, fine, both, both]);
    let id = publish::key_id(&keys.files().unwrap()[0].public().unwrap());
    assert_eq!(ask(&[&id[..8]]), [fine, fine, both, both]);
    assert_eq!(drill(&keys, &["nobody".to_owned()]).unwrap_err().kind(), Kind::Usage);
}

#[test]
fn encrypted_keys_sign_with_the_passphrase_and_new_ones_are_encrypted_too() {
    let dir = tempfile::tempdir().unwrap();
    let ctx = context(dir.path());
    let keys = KeyDir::new(dir.path().join("keys")).with_passphrase(Passphrase::known("correct horse"));
    keys.create(&ctx, &Plan { root: (1, 1), targets: (1, 1), ..PLAN }, None).unwrap();
    assert_eq!(keys.encrypt(&ctx).unwrap().len(), 3);
    assert!(keys.encrypt(&ctx).unwrap().is_empty());
    assert_eq!(keys.signers(&ctx, Role::Targets).unwrap().len(), 1);
    rotate(&ctx, &keys, &rotation(&[Role::Targets], 1, &[], None)).unwrap();
    assert!(keys.files().unwrap().iter().all(KeyFile::is_sealed));
    let wrong = KeyDir::new(keys.dir()).with_passphrase(Passphrase::known("wrong horse"));
    assert_eq!(wrong.decrypt(&ctx).unwrap_err().kind(), Kind::Usage);
    assert!(keys.files().unwrap().iter().all(KeyFile::is_sealed));
    assert_eq!(keys.decrypt(&ctx).unwrap().len(), 4);
    assert_eq!(wrong.signers(&ctx, Role::Targets).unwrap().len(), 2);
}
