//! Faults of a manifest: exit code 2, the place in the file, and nothing touched.

use super::shop::{GOOD, Shop, names};

/// Builds with a manifest that has a fault; no mirror is asked.
#[track_caller]
fn refused(text: &str, words: &[&str]) {
    let shop = Shop::bare();
    shop.write_manifest(text);
    let outcome = shop.build(&[]);
    outcome.says(2, words);
    assert_eq!(outcome.stdout, "");
    assert_eq!(names(&shop.path("")), ["bzImage", "cache", "trial.toml"], "something else was touched");
    shop.nothing_is_made();
    assert!(names(&shop.path("cache/objects")).is_empty());
}

#[test]
fn an_unknown_key_is_named_with_its_place_and_the_nearest_known_one() {
    refused(&GOOD.replace("version =", "verzion ="), &["trial.toml:3:1", "verzion", "version"]);
}

#[test]
fn a_value_of_the_wrong_type_is_named_with_its_place() {
    let text = GOOD.replace("command = [\"/bin/app\"]", "command = [\"/bin/app\"]\nmemory = true");
    refused(&text, &["trial.toml:13:10", "memory"]);
}

#[test]
fn a_file_that_is_missing_is_named_with_its_place() {
    let text = GOOD.replace("packages = [\"app\"]", "rootfs = \"site/root\"");
    refused(&text, &["trial.toml:11:10", "site/root"]);
}

#[test]
fn two_containers_on_one_port_are_both_named() {
    let text = format!(
        "{GOOD}ports = [\"80\"]\n\n[[container]]\nname = \"other\"\npackages = [\"app\"]\ncommand = [\"/bin/app\"]\nports = [\"80\"]\n"
    );
    refused(&text, &["trial.toml:19:10", "80", "web", "other"]);
}

#[test]
fn text_that_is_no_toml_is_pointed_at() {
    refused(&GOOD.replace("[kernel]", "[kernel"), &["trial.toml:6:"]);
}

#[test]
fn several_faults_are_told_at_once() {
    let text = GOOD.replace("version =", "verzion =").replace("command =", "comand =");
    refused(&text, &["faults", "verzion", "comand"]);
}

#[test]
fn a_manifest_that_is_not_there_is_named() {
    let shop = Shop::bare();
    for verb in ["build", "run", "lock", "bench"] {
        let outcome = super::shop::Outcome::of(shop.command(&[verb, "absent.toml"]).output().unwrap());
        outcome.says(2, &["absent.toml"]);
    }
}

#[test]
fn a_slot_that_is_too_small_is_told_with_the_sum_and_leaves_nothing() {
    let shop = Shop::open();
    // The kernel stands in the slot as it is: a large one alone is too much.
    std::fs::copy(shop.path("bzImage"), shop.path("large")).unwrap();
    let large = std::fs::OpenOptions::new().append(true).open(shop.path("large")).unwrap();
    large.set_len(66 << 20).unwrap();
    let text = GOOD.replace("\"bzImage\"", "\"large\"");
    shop.write_manifest(&format!("{text}\n[disk]\nslot_size = \"64 MiB\"\n"));
    let sum = ["does not fit into its slot of 64.0 MiB", "boot artefact 66", "hint: set slot_size to"];
    shop.build(&[]).says(1, &sum);
    shop.write_manifest(GOOD);
    shop.recovers();
}
