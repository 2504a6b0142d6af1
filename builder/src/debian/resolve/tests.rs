use super::*;
use crate::debian::{Pocket, index::compact};
use proptest::prelude::*;

const DIGEST: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// Entries as `name version: field value; field value`.
fn index(entries: &[&str]) -> Index {
    let stanza = |entry: &&str| {
        let (head, fields) = entry.split_once(':').unwrap_or((entry, ""));
        let (name, version) = head.split_once(' ').unwrap_or((head, "1"));
        let mut lines = vec![
            format!("Package: {name}"),
            format!("Version: {version}"),
            "Architecture: amd64".to_owned(),
            format!("Filename: pool/{name}.deb"),
            "Size: 1".to_owned(),
            format!("SHA256: {DIGEST}"),
        ];
        for field in fields.split(';').filter(|field| !field.trim().is_empty()) {
            let (field, value) = field.trim().split_once(' ').unwrap();
            lines.push(format!("{field}: {value}"));
        }
        lines.join("\n")
    };
    let text = entries.iter().map(stanza).collect::<Vec<_>>().join("\n\n");
    Index::new("trixie", "amd64", vec![(Pocket::Main, compact(&text).unwrap())])
}

fn names(index: &Index, request: &Request) -> Vec<String> {
    let packages = index.resolve(request).unwrap();
    packages.into_iter().map(|package| package.name).collect()
}

#[test]
fn depends_and_pre_depends_are_followed_and_recommends_never() {
    let index = index(&["a: Depends b (>= 1); Recommends x", "b: Pre-Depends c:any", "c: Depends a", "x"]);
    assert_eq!(names(&index, &Request::closure_of(["a"])), ["a", "b", "c"]);
    assert_eq!(names(&index, &Request::only(["a"])), ["a"]);
}

#[test]
fn an_alternative_that_is_taken_anyway_wins_and_else_the_first_that_can_be_met() {
    let index = index(&["a: Depends p | q", "b: Depends missing | p (>= 2) | q | p", "p", "q"]);
    assert_eq!(names(&index, &Request::closure_of(["a"])), ["a", "p"]);
    assert_eq!(names(&index, &Request::closure_of(["a", "q"])), ["a", "q"]);
    assert_eq!(names(&index, &Request::closure_of(["b"])), ["b", "q"]);
}

#[test]
fn virtual_packages_are_provided_with_their_versions() {
    let index = index(&[
        "a: Depends mail",
        "b: Depends api (>= 2)",
        "exim: Provides mail; Priority optional",
        "basic: Provides mail; Priority important",
        "old: Provides api (= 1)",
        "unversioned: Provides api",
        "recent: Provides api (= 2.1)",
    ]);
    assert_eq!(names(&index, &Request::closure_of(["a"])), ["a", "basic"]);
    assert_eq!(names(&index, &Request::closure_of(["a", "exim"])), ["a", "exim"]);
    assert_eq!(names(&index, &Request::closure_of(["b"])), ["b", "recent"]);
    assert_eq!(names(&index, &Request::closure_of(["mail"])), ["basic"]);
}

#[test]
fn excluded_names_count_as_met() {
    let index = index(&["a: Depends b | c, d", "b", "c", "d: Depends gone"]);
    let request = Request::closure_of(["a"]).without(["b", "gone"]);
    assert_eq!(names(&index, &request), ["a", "d"]);
}

#[test]
fn every_unmet_dependency_is_told_with_its_chain_and_a_near_name() {
    let index = index(&["a: Depends b, libfop1", "b: Depends c (>= 2)", "c", "libfoo1"]);
    let error = index.resolve(&Request::closure_of(["a", "nothing-like-it"])).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert_eq!(
        error.render(),
        "error: 3 packages are not in trixie (amd64)\n  \
         caused by: nothing-like-it, needed by the request\n             \
         libfop1, needed by a\n             \
         c (>= 2), needed by b, needed by a\n\n\
         hint: did you mean libfoo1?\n"
    );
}

#[test]
fn a_distance_is_counted_in_letters() {
    assert_eq!(distance_within("curn", "crun", 2), Some(1));
    assert_eq!(distance_within("ngnix", "nginx", 2), Some(1));
    assert_eq!(distance_within("crxx", "crun", 2), Some(2));
    assert_eq!(distance_within("crum", "crun", 2), Some(1));
    assert_eq!(distance_within("crun", "runc-tools", 2), None);
}

/// What a package depends on, in pairs of alternatives, and whether it provides the shared name.
type Made = (Vec<(u8, u8)>, bool);

/// A small archive where each package may depend on others by number, and some provide a shared name.
fn archive() -> impl Strategy<Value = Vec<Made>> {
    let dependencies = prop::collection::vec((0_u8..14, 0_u8..14), 0..4);
    prop::collection::vec((dependencies, any::<bool>()), 1..12)
}

fn entries(archive: &[Made]) -> Vec<String> {
    let name = |number: u8| {
        if number == 13 { "shared".to_owned() } else { format!("p{number}") }
    };
    let entry = |(number, (dependencies, provides)): (usize, &Made)| {
        let groups: Vec<String> =
            dependencies.iter().map(|(one, other)| format!("{} | {}", name(*one), name(*other))).collect();
        let mut text = format!("p{number} 1:");
        if !groups.is_empty() {
            text.extend(["Depends ", &groups.join(", "), ";"]);
        }
        if *provides {
            text += "Provides shared;";
        }
        text
    };
    archive.iter().enumerate().map(entry).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_result_is_closed_under_dependencies_and_the_same_each_time(archive in archive()) {
        let entries = entries(&archive);
        let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
        let index = index(&entries);
        let request = Request::closure_of(["p0"]);
        let Ok(packages) = index.resolve(&request) else {
            return Ok(());
        };
        prop_assert_eq!(&packages, &index.resolve(&request).unwrap());
        let taken: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
        prop_assert!(taken.contains("p0"));
        let has = |name: &str| {
            taken.contains(name)
                || index.providers(name).iter().any(|entry| taken.contains(entry.name))
        };
        for package in &packages {
            let entry = index.newest(&package.name).unwrap();
            for field in entry.dependencies() {
                for group in relation::parse(field, "amd64").unwrap() {
                    prop_assert!(group.iter().any(|relation| has(relation.name)));
                }
            }
        }
    }
}
