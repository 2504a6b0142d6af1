//! The project's own rules about itself: licences, banned crates, where `unsafe` may stand, how long a file may be,
//! and where links lead.

#![expect(
    clippy::tests_outside_test_module,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "the whole crate is a test"
)]

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

/// Every page of the documentation, by its path.
fn pages() -> Vec<PathBuf> {
    fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let (path, name) = (entry.path(), entry.file_name());
            if path.is_dir() {
                if name != "target" && name != "out" && !name.to_string_lossy().starts_with('.') {
                    walk(&path, out);
                }
            } else if path.extension().is_some_and(|extension| extension == "md") {
                out.push(path);
            }
        }
    }
    let mut out = Vec::new();
    walk(root(), &mut out);
    out
}

/// The targets of the links in a page; code, where brackets mean other things, is left out.
fn links(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        fenced ^= line.trim_start().starts_with("```");
        if fenced {
            continue;
        }
        // Every second piece between backticks is code. A link's text may be code too: its end is not.
        let plain: String = line.split('`').step_by(2).collect();
        out.extend(
            plain
                .split("](")
                .skip(1)
                .filter_map(|rest| rest.split_once(')'))
                .map(|(link, _)| link.to_owned()),
        );
    }
    out
}

/// The anchors of a page, made as forges make them.
fn anchors(text: &str) -> Vec<String> {
    let slug = |heading: &str| -> String {
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        heading.trim().to_lowercase().chars().filter(kept).map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    text.lines().filter(|line| line.starts_with('#')).map(|line| slug(line.trim_start_matches('#'))).collect()
}

#[test]
fn every_relative_link_of_the_documentation_leads_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in links(&text).into_iter().filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { page.clone() } else { page.with_file_name(file) };
            let has_anchor = || {
                let is_page = target.extension().is_some_and(|extension| extension == "md");
                !is_page || anchors(&fs::read_to_string(&target).unwrap()).iter().any(|one| one == anchor)
            };
            if !target.exists() || (!anchor.is_empty() && !has_anchor()) {
                broken.push(format!("{}: {link}", page.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere: {broken:#?}");
}

#[test]
fn links_are_told_from_code() {
    let text = "[a](b.md) `c[d](e)` [`f`](g.md#h)\n```\n[i](j)\n```\n";
    assert_eq!(links(text), ["b.md", "g.md#h"]);
    assert_eq!(anchors("## `[[network.interface]]`\n# A b, c\n"), ["networkinterface", "a-b-c"]);
}

#[test]
fn every_complete_manifest_in_the_documentation_is_valid() {
    let mut checked = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for block in text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            if !block.contains("[image]") || !block.contains("[[container]]") {
                continue;
            }
            checked += 1;
            let faults = coracle_manifests::parse(block, &page).err();
            assert!(faults.is_none(), "{}:\n{}", page.display(), faults.unwrap().render());
        }
    }
    assert!(checked >= 3, "README, how-to and reference have one each");
}
