//! What is not published, and not believed.

use super::*;

fn refused(outcome: Result<Changed>, says: &str) {
    let error = outcome.unwrap_err();
    assert_eq!(error.kind().exit(), Exit::Refused, "{error}");
    assert!(error.to_string().contains(says), "{error}");
}

fn withdraw(yard: &Yard, which: &str, instead: Option<&str>) -> Result<Changed> {
    let which = Which { version: Some(version(which)), ..Which::default() };
    let turn = Turn::Withdraw { instead: instead.map(version) };
    steer(&yard.ctx, yard.place(), ("stable", &which, turn), NOW)
}

#[test]
fn the_same_version_with_other_contents_is_refused() {
    let yard = Yard::open();
    yard.publish(&yard.request("1.0.0")).unwrap();
    let before = yard.files();
    let other = request(yard.bundle("1.0.0", 7));
    refused(yard.publish(&other), "shop-x86_64-1.0.0.bundle is published already, with other contents");
    // In another channel too: one name is one release.
    refused(yard.publish(&Request { channel: "beta".to_owned(), ..other }), "with other contents");
    assert!(yard.files() == before);
}

#[test]
fn an_older_version_needs_an_exception() {
    let yard = Yard::open();
    yard.publish(&yard.request("2.0.0")).unwrap();
    let older = yard.request("1.5.0");
    refused(yard.publish(&older), "channel stable has version 2.0.0, which is newer than 1.5.0");
    let low = Request { replaces: Some(version("1.9.0")), ..older.clone() };
    refused(yard.publish(&low), "which is newer");
    yard.publish(&Request { replaces: Some(version("2.0.0")), ..older }).unwrap();
    assert_eq!(versions(&seen(&yard)), ["1.5.0", "2.0.0"]);
    let needless = Request { replaces: Some(version("2.0.0")), ..yard.request("3.0.0") };
    assert_eq!(yard.publish(&needless).unwrap_err().kind(), Kind::Usage);
}

#[test]
fn a_withdrawn_release_does_not_come_back() {
    let yard = Yard::open();
    yard.publish(&yard.request("1.0.0")).unwrap();
    yard.publish(&yard.request("2.0.0")).unwrap();
    withdraw(&yard, "2.0.0", None).unwrap();
    refused(yard.publish(&yard.request("2.0.0")), "was withdrawn");
    for turn in [Turn::Resume, Turn::Pause] {
        let which = Which { version: Some(version("2.0.0")), ..Which::default() };
        refused(steer(&yard.ctx, yard.place(), ("stable", &which, turn), NOW), "was withdrawn");
    }
    let which = Which { version: Some(version("2.0.0")), ..Which::default() };
    refused(
        promote(&yard.ctx, yard.place(), ("stable", "late", &which), (&Waves::Unsaid, NOW)),
        "not promoted",
    );
}

#[test]
fn machines_are_led_back_only_by_an_exception_that_the_targets_key_signs() {
    let yard = Yard::open();
    yard.publish(&yard.request("1.0.0")).unwrap();
    yard.publish(&yard.request("2.0.0")).unwrap();
    refused(withdraw(&yard, "2.0.0", Some("1.0.0")), "has no exception");
    let unknown = withdraw(&yard, "2.0.0", Some("1.1.0")).unwrap_err();
    assert_eq!(unknown.kind(), Kind::NotFound);
    yard.publish(&Request { replaces: Some(version("2.0.0")), ..yard.request("1.0.0") }).unwrap();
    withdraw(&yard, "2.0.0", Some("1.0.0")).unwrap();
    assert_eq!(seen(&yard).releases[1].state, Taken::Withdrawn { instead: Some(version("1.0.0")) });
}

#[test]
fn a_bundle_of_other_keys_or_with_damage_is_refused_and_nothing_is_written() {
    let yard = Yard::open();
    let good = yard.bundle("1.0.0", 0);
    let mut bytes = fs::read(&good).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let damaged = yard.dir.path().join("damaged.bundle");
    crate::files::replace(&damaged, &bytes).unwrap();
    refused(yard.publish(&request(damaged)), "does not match its digest");
    let foreign = Yard::open();
    let change = Change {
        roles: vec![Role::Targets],
        new: 1,
        revoke: vec!["targets-1.pem".to_owned()],
        ..Change::default()
    };
    rotate(&foreign.ctx, &foreign.signing.keys.dir, &Rotation { change, days: 4000, signers: Vec::new() })
        .unwrap();
    refused(foreign.publish(&request(good)), "is not to be believed");
    assert!(!yard.repository.dir().exists() && !foreign.repository.dir().exists());
    let missing = yard.publish(&request(yard.dir.path().join("cache"))).unwrap_err();
    assert!(missing.hint_text().unwrap().contains("--bundle"), "{missing:?}");
}

#[test]
fn a_repository_of_another_chain_of_roots_or_a_newer_one_is_left_alone() {
    let (yard, other) = (Yard::open(), Yard::open());
    yard.publish(&yard.request("1.0.0")).unwrap();
    let change = Change { roles: vec![Role::Targets], new: 1, ..Change::default() };
    let rotation = Rotation { change, days: 4000, signers: Vec::new() };
    rotate(&yard.ctx, &yard.signing.keys.dir, &rotation).unwrap();
    refresh(&yard.ctx, yard.place(), Anew::Everything, NOW).unwrap();
    let before = yard.files();
    refused(
        publish(&other.ctx, (&yard.repository, &other.signing), &yard.request("2.0.0"), NOW),
        "is newer than every root",
    );
    rotate(&other.ctx, &other.signing.keys.dir, &rotation).unwrap();
    let outcome = refresh(&other.ctx, (&yard.repository, &other.signing), Anew::Everything, NOW);
    refused(outcome, "is another root than the one");
    assert!(yard.files() == before);
}

#[test]
fn a_repository_that_somebody_has_changed_is_refused() {
    let yard = Yard::open();
    yard.publish(&yard.request("1.0.0")).unwrap();
    let good = yard.files();
    for (name, bytes) in good.iter().filter(|(name, _)| name.contains(".json")) {
        let path = yard.repository.dir().join(name);
        let mut changed = bytes.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        crate::files::replace(&path, &changed).unwrap();
        refused(yard.publish(&yard.request("2.0.0")), "");
        crate::files::replace(&path, bytes).unwrap();
    }
    yard.publish(&yard.request("2.0.0")).unwrap();
}

#[test]
fn without_the_targets_key_nothing_new_is_vouched_for() {
    let yard = Yard::open();
    yard.publish(&yard.request("1.0.0")).unwrap();
    let before = yard.files();
    let error =
        publish(&yard.ctx, (&yard.repository, &yard.online()), &yard.request("2.0.0"), NOW).unwrap_err();
    assert!(error.to_string().starts_with("cannot sign the list of releases: 0 of the 1 keys"), "{error}");
    assert!(error.hint_text().unwrap().contains("--signer"), "{error:?}");
    assert!(yard.files() == before);
}
