//! Locks that lie, are damaged, do not fit, or name what is gone.

use super::{
    Pocket,
    shop::{ELF, GOOD, MADE, Shop, program},
};
use coracle::{digest::Digest, files::replace};
use std::fs;

fn read_lock(shop: &Shop) -> String {
    fs::read_to_string(shop.path("trial.toml.lock")).unwrap()
}

fn change_lock(shop: &Shop, from: &str, to: &str) {
    let text = read_lock(shop);
    assert!(text.contains(from), "{from:?} is not in {text}");
    replace(&shop.path("trial.toml.lock"), text.replace(from, to).as_bytes()).unwrap();
}

#[test]
fn a_package_that_differs_from_its_locked_digest_is_refused() {
    let shop = Shop::open();
    shop.lock().is_done();
    let good = Digest::of(&program("./usr/bin/app", ELF)).to_string();
    change_lock(&shop, &good, &Digest::of(b"other").to_string());
    let words = ["package app", "app.deb", &good, "is expected"];
    shop.build(&["--locked"]).says(3, &words);
    shop.nothing_is_made();
    shop.lock().is_done();
    shop.recovers();
}

#[test]
fn a_damaged_lock_is_refused_with_the_way_out() {
    let shop = Shop::open();
    shop.lock().is_done();
    change_lock(&shop, "[[package]]", "[[package");
    shop.build(&[]).says(3, &["cannot read the lock trial.toml.lock", "hint: delete it"]);
    replace(&shop.path("trial.toml.lock"), b"\xff\xfe").unwrap();
    shop.build(&[]).says(3, &["cannot read the lock trial.toml.lock", "hint: delete it"]);
    fs::remove_file(shop.path("trial.toml.lock")).unwrap();
    shop.recovers();
}

#[test]
fn locked_refuses_a_lock_that_is_missing_or_does_not_fit() {
    let shop = Shop::open();
    shop.build(&["--locked"])
        .says(3, &["trial.toml.lock", "there is none", "hint: make one with `coracle lock"]);
    shop.lock().is_done();
    shop.write_manifest(&GOOD.replace("[\"app\"]", "[\"app\", \"crun\"]"));
    let before = read_lock(&shop);
    shop.build(&["--locked"]).says(3, &["trial.toml.lock", "container.web", "hint: "]);
    assert_eq!(read_lock(&shop), before);
    shop.nothing_is_made();
}

#[test]
fn a_locked_version_that_left_the_mirror_is_named_with_the_command_that_moves_on() {
    let mut shop = Shop::open();
    shop.lock().is_done();
    let newer = program("./usr/bin/app", &[ELF, b"newer"].concat());
    shop.files.package(Pocket::Updates, "app", "Version: 2\n", &newer);
    shop.sign(MADE + 60);
    fs::remove_file(shop.path("mirror/pool/main/app.deb")).unwrap();
    for words in [&["--locked"][..], &[]] {
        let outcome = shop.build(words);
        outcome.says(1, &["package app 1", "no longer on the mirror mirror", "hint: run `coracle lock`"]);
    }
    shop.nothing_is_made();
    let outcome = shop.lock();
    outcome.is_done();
    assert!(outcome.stdout.contains("app") && outcome.stdout.contains('2'), "{outcome}");
    shop.recovers();
}

#[test]
fn what_was_vendored_builds_the_same_disk_offline_with_an_empty_cache() {
    let shop = Shop::open();
    shop.recovers();
    let vendored = shop.at("mirror", "vendor", &["vendored"]);
    vendored.is_done();
    fs::remove_dir_all(shop.path("cache")).unwrap();
    fs::remove_dir_all(shop.path("mirror")).unwrap();
    shop.at("vendored", "build", &["--locked", "--offline", "--out", "again"]).is_done();
    let digest = |out: &str| Digest::of(&fs::read(shop.path(out).join("disk.raw")).unwrap());
    assert_eq!(digest("again"), digest("out"));
}
