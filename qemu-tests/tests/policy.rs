//! The project's own rules about itself: licences, banned crates, where `unsafe` may stand, how long a file may be.

use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Longer files hold two things that want a room each.
const FILE_LINES_MAX: usize = 600;

#[derive(serde::Deserialize)]
struct Deny {
    licenses: Licenses,
    bans: Bans,
}

#[derive(serde::Deserialize)]
struct Licenses {
    allow: Vec<String>,
    exceptions: Vec<Exception>,
}

#[derive(serde::Deserialize)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: Vec<String>,
}

#[derive(serde::Deserialize)]
struct Bans {
    deny: Vec<Banned>,
}

#[derive(serde::Deserialize)]
struct Banned {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace holds this crate")
}

fn deny() -> Deny {
    toml::from_str(&fs::read_to_string(root().join("deny.toml")).unwrap()).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "cargo itself is asked; this is no part of the builder")]
fn packages() -> Vec<Value> {
    let args = ["metadata", "--format-version", "1", "--locked"];
    let output = Command::new(env!("CARGO")).args(args).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// Whether the licence expression can be met with `allowed` alone: one side of every OR, both sides of every AND.
fn permitted(expression: &str, allowed: &dyn Fn(&str) -> bool) -> bool {
    let text = expression.replace('/', " OR ").replace(['(', ')'], " ( ");
    // Parentheses only ever group alternatives inside an AND, so cutting at AND first is right for them too.
    text.split(" AND ")
        .all(|part| part.split(" OR ").any(|licence| allowed(licence.replace('(', " ").trim())))
}

#[test]
fn every_linked_crate_has_a_permissive_licence() {
    let licenses = deny().licenses;
    let mut wrong = Vec::new();
    for package in packages().iter().filter(|package| !package["source"].is_null()) {
        let name = package["name"].as_str().unwrap();
        let expression = package["license"].as_str().unwrap_or("none");
        let allowed = |licence: &str| {
            licenses.allow.iter().any(|allowed| allowed == licence)
                || licenses.exceptions.iter().any(|exception| {
                    exception.name == name && exception.allow.iter().any(|allowed| allowed == licence)
                })
        };
        if !permitted(expression, &allowed) {
            wrong.push(format!("{name}: {expression}"));
        }
    }
    assert!(wrong.is_empty(), "licences that deny.toml does not allow: {wrong:#?}");
}

#[test]
fn licence_expressions_are_read_as_spdx_means_them() {
    let mit = |licence: &str| licence == "MIT";
    assert!(permitted("MIT OR GPL-3.0", &mit));
    assert!(permitted("Apache-2.0/MIT", &mit));
    assert!(!permitted("MIT AND GPL-3.0", &mit));
    assert!(!permitted("(MIT OR Apache-2.0) AND Unicode-3.0", &mit));
    assert!(!permitted("none", &mit));
}

#[test]
fn banned_crates_are_not_linked() {
    let bans = deny().bans.deny;
    let packages = packages();
    for banned in &bans {
        let found = packages.iter().any(|package| package["name"] == banned.name.as_str());
        assert!(!found, "{} is linked: {}", banned.name, banned.reason);
    }
}

fn sources(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "target" && name != "out" && !name.to_string_lossy().starts_with('.') {
            sources(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

fn all_sources() -> Vec<(String, String)> {
    let mut paths = Vec::new();
    sources(root(), &mut paths);
    paths
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(&path).unwrap())
        })
        .collect()
}

#[test]
fn unsafe_code_stands_only_where_the_kernel_or_the_firmware_demands_it() {
    let keyword = ["unsafe", " {"].concat();
    for (name, text) in all_sources() {
        let allowed = name.starts_with("init/src/sys") || name == "updater/selector/src/firmware.rs";
        assert!(allowed || !text.contains(&keyword), "{name} has an unsafe block");
    }
}

#[test]
fn files_stay_small() {
    let long: Vec<_> = all_sources()
        .into_iter()
        .filter(|(_, text)| text.lines().count() > FILE_LINES_MAX)
        .map(|(name, text)| format!("{name}: {} lines", text.lines().count()))
        .collect();
    assert!(long.is_empty(), "over {FILE_LINES_MAX} lines: {long:#?}");
}
