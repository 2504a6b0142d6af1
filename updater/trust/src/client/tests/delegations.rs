//! Who is asked about a path, and who is believed.

use super::repository::{DOCUMENT, EXPIRES, Machine, Repository, public};
use crate::{
    client::{ClientError, ROLES_MAX},
    hex::to_hex,
    publish::{self, Listed},
};

/// A delegation: role, seed of its key, pattern, whether it ends the search.
type Edge<'a> = (&'a str, u8, &'a str, bool);

/// A targets document that delegates, and has some targets.
fn document(edges: &[Edge<'_>], targets: &[&str], by: u8) -> Vec<u8> {
    let key = |(_, seed, ..): &Edge<'_>| {
        let public = to_hex(&public(*seed));
        format!(r#""{seed}":{{"keytype":"ed25519","keyval":{{"public":"{public}"}},"scheme":"ed25519"}}"#)
    };
    let mut keys: Vec<String> = edges.iter().map(key).collect();
    keys.sort();
    keys.dedup();
    let role = |(name, seed, pattern, ends): &Edge<'_>| {
        format!(
            r#"{{"keyids":["{seed}"],"name":"{name}","paths":["{pattern}"],"terminating":{ends},"threshold":1}}"#
        )
    };
    let roles: Vec<String> = edges.iter().map(role).collect();
    let target =
        |path: &&str| format!(r#""{path}":{{"hashes":{{"sha256":"{}"}},"length":{by}}}"#, "00".repeat(32));
    let targets: Vec<String> = targets.iter().map(target).collect();
    let text = format!(
        r#"{{"_type":"targets","delegations":{{"keys":{{{}}},"roles":[{}]}},"expires":"2033-05-18T03:33:20Z","spec_version":"1.0.31","targets":{{{}}},"version":1}}"#,
        keys.join(","),
        roles.join(","),
        targets.join(",")
    );
    let canonical = crate::json::Value::parse(text.as_bytes()).unwrap().canonical();
    let signature = ed25519_dalek::Signer::sign(&super::repository::key(by), &canonical).to_bytes();
    // Ids are names: these are the seeds.
    let signed = String::from_utf8(publish::document(&canonical, &[(public(by), signature)])).unwrap();
    let id = if by == 2 { publish::key_id(&public(by)) } else { by.to_string() };
    signed.replace(&publish::key_id(&public(by)), &id).into_bytes()
}

/// A repository of these documents; the first is the top-level one.
fn repository(documents: &[(&str, Vec<u8>)]) -> Repository {
    let mut repository = Repository::new();
    let mut listed = vec![];
    for (role, bytes) in documents {
        repository.files.insert(format!("1.{role}.json"), bytes.clone());
        listed.push((*role, Listed::of(1, bytes)));
    }
    repository.publish_snapshot_of(&listed);
    repository.publish_timestamp();
    repository
}

/// The length of the target (which is the seed of who signed it), and who was asked.
fn search(repository: &mut Repository, path: &str) -> (Result<Option<u64>, ClientError>, Vec<String>) {
    let mut machine = Machine::new(repository);
    let mut trusted = machine.sees(repository);
    repository.asked();
    let found = trusted.target(path, repository, &mut machine.store);
    let asked = repository.asked();
    let role = |file: String| file.split('.').nth(1).unwrap_or_default().to_owned();
    (found.map(|target| target.map(|target| target.length)), asked.into_iter().map(role).collect())
}

#[test]
fn roles_are_asked_depth_first_in_the_order_in_which_they_are_stated() {
    let mut repository = repository(&[
        ("targets", document(&[("A", 50, "*", false), ("B", 51, "*", false)], &["top"], 2)),
        ("A", document(&[("C", 52, "*", false), ("D", 53, "b*", false)], &["a"], 50)),
        ("B", document(&[("C", 52, "*", false), ("A", 50, "*", false)], &["a", "b"], 51)),
        ("C", document(&[], &["c"], 52)),
        ("D", document(&[], &["x"], 53)),
    ]);
    for (path, found, asked) in [
        ("top", Some(2), &[][..]),
        ("a", Some(50), &["A"]),
        ("b", Some(51), &["A", "C", "D", "B"]),
        ("c", Some(52), &["A", "C"]),
        // D is not asked about a path that is not delegated to it; nobody is asked twice.
        ("x", None, &["A", "C", "B"]),
        ("dir/a", None, &[]),
    ] {
        assert_eq!(
            search(&mut repository, path),
            (Ok(found), asked.iter().map(ToString::to_string).collect())
        );
    }
}

#[test]
fn roles_that_delegate_in_a_circle_are_asked_once() {
    let mut repository = repository(&[
        ("targets", document(&[("A", 50, "*", false)], &[], 2)),
        ("A", document(&[("B", 51, "*", false)], &[], 50)),
        ("B", document(&[("A", 50, "*", false)], &[], 51)),
    ]);
    assert_eq!(search(&mut repository, "x"), (Ok(None), ["A", "B"].map(str::to_owned).to_vec()));
}

#[test]
fn after_a_terminating_role_nobody_else_is_asked() {
    let mut repository = repository(&[
        ("targets", document(&[("A", 50, "*", false), ("B", 51, "*", false)], &[], 2)),
        ("A", document(&[("C", 52, "*", true), ("D", 53, "*", false)], &[], 50)),
        ("B", document(&[], &["x"], 51)),
        ("C", document(&[("E", 54, "*", false)], &[], 52)),
        ("D", document(&[], &["x"], 53)),
        ("E", document(&[], &[], 54)),
    ]);
    let asked = ["A", "C", "E"].map(str::to_owned).to_vec();
    assert_eq!(search(&mut repository, "x"), (Ok(None), asked));
}

#[test]
fn a_role_is_believed_by_the_keys_of_who_delegates_to_it_here() {
    // C is what A trusts. B delegates other paths to the same name, with another key.
    let mut repository = repository(&[
        ("targets", document(&[("A", 50, "a/*", false), ("B", 51, "b/*", false)], &[], 2)),
        ("A", document(&[("C", 52, "a/*", false)], &[], 50)),
        ("B", document(&[("C", 53, "b/*", false)], &[], 51)),
        ("C", document(&[], &["a/x", "b/x"], 52)),
    ]);
    let mut machine = Machine::new(&repository);
    let mut trusted = machine.sees(&mut repository);
    let mut target = |path: &str| {
        let found = trusted.target(path, &mut repository, &mut machine.store);
        found.map(|target| target.map(|target| target.length))
    };
    assert_eq!(target("a/x"), Ok(Some(52)));
    let refused = ClientError::Delegated { file: "1.C.json".into(), valid: 0, threshold: 1 };
    assert_eq!(target("b/x"), Err(refused));
    assert_eq!(target("a/x"), Ok(Some(52)));
}

#[test]
fn a_role_that_the_snapshot_does_not_list_is_not_even_fetched() {
    let mut repository = repository(&[("targets", document(&[("A", 50, "*", false)], &[], 2))]);
    repository.files.insert("1.A.json".into(), document(&[], &["x"], 50));
    assert_eq!(search(&mut repository, "x"), (Err(ClientError::NotListed("A.json".into())), vec![]));
}

#[test]
fn the_number_of_roles_is_bounded() {
    let chain = |length: usize| {
        let names: Vec<String> = (0..=length).map(|at| format!("r{at}")).collect();
        let mut documents = vec![("targets", document(&[("r0", 50, "*", false)], &[], 2))];
        for at in 0..length {
            let next: &str = &names[at + 1];
            let below = [(next, 50, "*", false)];
            let below = if at + 1 < length { &below[..] } else { &[] };
            documents.push((names[at].as_str(), document(below, &[], 50)));
        }
        search(&mut repository(&documents), "x").0
    };
    assert_eq!(chain(ROLES_MAX), Ok(None));
    assert_eq!(chain(ROLES_MAX + 1), Err(ClientError::Roles("x".into())));
}

#[test]
fn a_role_cannot_have_the_name_of_another_or_none() {
    for name in ["root", "targets", "snapshot", "timestamp", ""] {
        let top = document(&[(name, 50, "*", false)], &[], 2);
        let (found, asked) = search(&mut repository(&[("targets", top)]), "x");
        let why = found.unwrap_err();
        assert!(why.to_string().contains("delegations") && asked.is_empty(), "{name}: {why}");
    }
}

#[test]
fn a_channel_whose_key_was_taken_away_is_refused_from_then_on() {
    let mut repository = Repository::new();
    let mut machine = Machine::new(&repository);
    let mut trusted = machine.sees(&mut repository);
    trusted.target(DOCUMENT, &mut repository, &mut machine.store).unwrap().unwrap();
    // Targets are signed anew; the channel's document stays as it was.
    repository.keys.channel = vec![25];
    repository.publish_targets();
    repository.publish_snapshot();
    repository.publish_timestamp();
    let mut trusted = machine.sees(&mut repository);
    let refused = ClientError::Delegated { file: "1.stable.json".into(), valid: 0, threshold: 1 };
    assert_eq!(trusted.target(DOCUMENT, &mut repository, &mut machine.store), Err(refused));
    repository.publish();
    let mut trusted = machine.sees(&mut repository);
    trusted.target(DOCUMENT, &mut repository, &mut machine.store).unwrap().unwrap();
    assert_eq!(trusted.expires(), EXPIRES);
}
