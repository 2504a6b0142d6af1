use super::*;
use crate::{cache::Cache, error::Kind, report::Report};
use std::collections::BTreeSet;

fn context() -> (tempfile::TempDir, Context) {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path().join("cache")).unwrap();
    (dir, Context::new(cache, Report::silent()))
}

fn put_file(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
}

fn fake_programs(text: &str) -> Programs {
    let content = |name: &str| {
        let bytes = format!("{name} {text}").into_bytes();
        Content::from(bytes)
    };
    Programs {
        init: content("init"),
        services: content("services"),
        update: content("update"),
        probe: content("probe"),
        selector: content("selector"),
    }
}

fn fake_artefact(ctx: &Context, out: &Path) -> Digest {
    let all = ARCHES.map(|arch| (arch, fake_programs(arch.name())));
    artefact::pack(ctx, &all, out).unwrap()
}

#[test]
fn an_artefact_gives_back_what_was_packed_and_is_the_same_every_time() {
    let (dir, ctx) = context();
    let out = dir.path().join("a.tar.zst");
    let sha256 = fake_artefact(&ctx, &out);
    assert_eq!(fake_artefact(&ctx, &dir.path().join("b.tar.zst")), sha256);
    let source = Source::artefact(out.to_str().unwrap(), Some(&sha256.to_string()), None).unwrap();
    for arch in ARCHES {
        let programs = programs(&ctx, &source, arch).unwrap();
        assert_eq!(programs.init.read().unwrap(), format!("init {}", arch.name()).as_bytes());
        assert_eq!(programs.selector.read().unwrap(), format!("selector {}", arch.name()).as_bytes());
    }
}

#[test]
fn an_artefact_with_another_digest_is_refused() {
    let (dir, ctx) = context();
    let out = dir.path().join("a.tar.zst");
    fake_artefact(&ctx, &out);
    let source = Source::Artefact { location: Location::File(out), sha256: Digest::of(b"other") };
    let error = programs(&ctx, &source, Arch::X86_64).unwrap_err();
    assert_eq!(error.kind(), Kind::Digest);
}

#[test]
fn an_artefact_of_another_version_is_refused() {
    let (dir, ctx) = context();
    let mut tree = crate::tree::Tree::new();
    tree.file("device.json", 0o644, r#"{"version":"0.0.0","files":{}}"#).unwrap();
    let mut bytes = Vec::new();
    crate::image::tar::write(&tree, 0, &mut bytes).unwrap();
    let out = dir.path().join("old.tar");
    File::create(&out).unwrap().write_all(&bytes).unwrap();
    let source = Source::Artefact { location: Location::File(out), sha256: Digest::of(&bytes) };
    let error = programs(&ctx, &source, Arch::X86_64).unwrap_err();
    assert_eq!(error.kind(), Kind::Locked);
}

#[test]
fn an_artefact_needs_a_digest_from_the_environment_or_the_lock() {
    let error = Source::artefact("x", None, None).unwrap_err();
    assert!(error.hint_text().unwrap().contains("CORACLE_DEVICE_SHA256"));
    assert_eq!(Source::artefact("x", Some("abc"), None).unwrap_err().kind(), Kind::Usage);
    let digest = Digest::of(b"x");
    let source = Source::artefact("https://example.org/x", None, Some(digest)).unwrap();
    let location = Location::Url("https://example.org/x".into());
    assert_eq!(source, Source::Artefact { location, sha256: digest });
}

#[test]
fn the_fingerprint_follows_the_sources_and_nothing_else() {
    let (dir, _) = context();
    let root = dir.path();
    put_file(&root.join("Cargo.lock"), "lock");
    put_file(&root.join("init/src/main.rs"), "fn main() {}");
    put_file(&root.join("updater/Cargo.toml"), "");
    let before = fingerprint::of_sources(root).unwrap();
    put_file(&root.join("builder/src/main.rs"), "other");
    put_file(&root.join("init/tests/all.rs"), "other");
    put_file(&root.join("init/target/x"), "other");
    assert_eq!(fingerprint::of_sources(root).unwrap(), before);
    put_file(&root.join("init/src/main.rs"), "fn main() { }");
    assert_ne!(fingerprint::of_sources(root).unwrap(), before);
}

#[test]
fn the_fingerprint_covers_every_crate_that_a_program_is_made_of() {
    let Source::Workspace(root) = Source::workspace().unwrap() else { panic!("no workspace") };
    let parse = |path: &Path| fs::read_to_string(path).unwrap().parse::<toml::Table>().unwrap();
    let workspace = parse(&root.join("Cargo.toml"));
    let paths = workspace["workspace"]["dependencies"].as_table().unwrap();
    let mut queue: Vec<String> =
        ["init", "init/services", "init/probe", "updater/selector"].map(str::to_owned).into();
    let mut seen = BTreeSet::new();
    while let Some(dir) = queue.pop() {
        if !seen.insert(dir.clone()) {
            continue;
        }
        assert!(
            fingerprint::SOURCE_DIRS.iter().any(|top| dir == *top || dir.starts_with(&format!("{top}/"))),
            "{dir}"
        );
        let manifest = parse(&root.join(&dir).join("Cargo.toml"));
        for name in manifest.get("dependencies").and_then(|table| table.as_table()).unwrap().keys() {
            if let Some(path) = paths.get(name).and_then(|dependency| dependency.get("path")) {
                queue.push(path.as_str().unwrap().to_owned());
            }
        }
    }
    assert!(seen.contains("updater/slots"));
}

#[test]
fn a_directory_that_is_not_this_version_is_not_taken_for_the_sources() {
    let (dir, _) = context();
    assert!(!source::is_ours(dir.path()).unwrap());
    put_file(&dir.path().join("builder/Cargo.toml"), "[package]\nname = \"coracle\"\n");
    put_file(&dir.path().join("init/Cargo.toml"), "");
    put_file(&dir.path().join("Cargo.toml"), "version = \"0.0.1\"\n");
    assert!(!source::is_ours(dir.path()).unwrap());
    put_file(&dir.path().join("Cargo.toml"), &format!("version = \"{}\"\n", source::VERSION));
    assert!(source::is_ours(dir.path()).unwrap());
}
