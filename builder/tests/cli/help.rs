//! What `coracle` says about itself, and what programs read of it.

use super::shop::{Outcome, Shop, names};
use coracle::files::replace;
use serde_json::Value;
use std::{env, fs, path::Path};

const VERBS: [&str; 16] = [
    "build",
    "run",
    "lock",
    "vendor",
    "keys",
    "publish",
    "channel",
    "sign",
    "inspect",
    "verify",
    "bench",
    "ctl",
    "delta",
    "device",
    "completions",
    "man",
];

fn run(words: &[&str]) -> Outcome {
    Outcome::of(Shop::bare().command(words).output().unwrap())
}

#[test]
fn the_help_of_every_verb_is_the_recorded_one() {
    for verb in [""].into_iter().chain(VERBS) {
        let words: Vec<_> = [verb, "--help"].into_iter().filter(|word| !word.is_empty()).collect();
        let outcome = run(&words);
        outcome.is_done();
        assert_eq!(outcome.stderr, "");
        let name = if verb.is_empty() { "coracle" } else { verb };
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/cli/golden/{name}.txt"));
        if env::var_os("CORACLE_UPDATE_GOLDEN").is_some() {
            replace(&golden, outcome.stdout.as_bytes()).unwrap();
        }
        let recorded = fs::read_to_string(&golden).unwrap_or_default();
        assert!(
            outcome.stdout == recorded,
            "{name}: run with CORACLE_UPDATE_GOLDEN=1 and review the difference\n{}",
            outcome.stdout
        );
    }
}

#[test]
fn words_that_are_none_of_its_own_are_a_mistake_of_usage() {
    let cases: [&[&str]; 7] = [
        &[],
        &["bild", "x.toml"],
        &["build"],
        &["build", "x.toml", "--lock"],
        &["run", "x.toml", "--firmware", "bios"],
        &["build", "x.toml", "--quiet", "--verbose"],
        &["completions", "cmd"],
    ];
    for words in cases {
        let outcome = run(words);
        assert_eq!(outcome.code, Some(2), "{words:?}: {outcome}");
        assert!(outcome.stdout.is_empty() && outcome.stderr.contains("--help"), "{words:?}: {outcome}");
    }
}

#[test]
fn with_json_an_error_is_the_last_event_and_the_text_goes_to_stderr() {
    let outcome = run(&["build", "absent.toml", "--json"]);
    outcome.says(2, &["absent.toml"]);
    let events: Vec<Value> = outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.iter().all(|event| event["v"] == 1), "{outcome}");
    let last = events.last().unwrap();
    assert_eq!((&last["event"], &last["kind"]), (&"error".into(), &"usage".into()));
    assert!(last["message"].as_str().unwrap().contains("absent.toml"), "{last}");
    assert!(last.get("hint").is_some(), "{last}");
}

#[test]
fn the_completions_of_every_shell_know_every_verb() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let outcome = run(&["completions", shell]);
        outcome.is_done();
        for word in VERBS.into_iter().chain(["firmware", "offline"]) {
            assert!(outcome.stdout.contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn there_is_a_man_page_for_every_verb() {
    let shop = Shop::bare();
    Outcome::of(shop.command(&["man", "pages"]).output().unwrap()).is_done();
    let mut expected: Vec<_> = VERBS.iter().map(|verb| format!("coracle-{verb}.1")).collect();
    expected.push("coracle.1".to_owned());
    expected.sort();
    // Verbs of a verb have pages too: `coracle-keys-new.1`.
    let nested = |name: &str| VERBS.iter().any(|verb| name.starts_with(&format!("coracle-{verb}-")));
    let found: Vec<_> = names(&shop.path("pages"))
        .into_iter()
        .filter(|name| !name.starts_with("coracle-help") && !nested(name))
        .collect();
    assert_eq!(found, expected);
    for name in expected {
        let page = fs::read_to_string(shop.path("pages").join(&name)).unwrap();
        for part in [".TH ", ".SH NAME", ".SH SYNOPSIS", ".SH OPTIONS"] {
            assert!(page.contains(part), "{name} lacks {part}");
        }
    }
}

#[test]
fn what_is_no_image_is_refused_with_its_name() {
    let shop = Shop::bare();
    replace(&shop.path("page.raw"), &b"<html>".repeat(1000)).unwrap();
    for (name, code) in [("page.raw", 3), ("absent.raw", 1)] {
        Outcome::of(shop.command(&["inspect", name]).output().unwrap()).says(code, &[name]);
    }
}
