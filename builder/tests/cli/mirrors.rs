//! A mirror that lies, is damaged, is away, or is something else.

use super::{
    Pocket,
    fixture::{KEY_MADE, Key},
    server::{Reply, Server},
    shop::{ELF, GOOD, MADE, Outcome, Shop, names, program},
};
use coracle::{digest::Digest, files::replace};
use std::{fs, net::TcpListener, path::Path};

/// Changes the byte at `at`, counted from the end if it is negative.
fn damage(path: &Path, at: impl FnOnce(&[u8]) -> usize) {
    let mut bytes = fs::read(path).unwrap();
    let at = at(&bytes);
    bytes[at] ^= 1;
    replace(path, &bytes).unwrap();
}

fn find(bytes: &[u8], word: &[u8]) -> usize {
    bytes.windows(word.len()).position(|window| window == word).unwrap()
}

#[test]
fn a_changed_release_file_is_refused_and_no_lock_is_written() {
    let shop = Shop::open();
    damage(&shop.path("mirror/dists/trixie/InRelease"), |bytes| find(bytes, b"Suite:"));
    for outcome in [shop.lock(), shop.build(&[])] {
        outcome.says(3, &["cannot use trixie of the mirror", "caused by: "]);
    }
    assert!(!shop.path("trial.toml.lock").exists());
    shop.sign(MADE);
    shop.recovers();
}

#[test]
fn a_release_file_signed_by_a_stranger_is_refused() {
    let shop = Shop::open();
    for (path, bytes) in shop.files.clone().sign(&Key::new(), KEY_MADE).0 {
        if path.ends_with("InRelease") {
            replace(&shop.path("mirror").join(path), &bytes).unwrap();
        }
    }
    shop.lock().says(3, &["cannot use trixie", "key"]);
    shop.sign(MADE);
    shop.lock().is_done();
}

#[test]
fn without_its_own_keyring_the_mirror_is_not_trusted() {
    let shop = Shop::open();
    let words = ["lock", "trial.toml", "--mirror", "mirror"];
    let outcome = Outcome::of(shop.command(&words).output().unwrap());
    outcome.says(3, &["cannot use trixie"]);
    shop.nothing_is_made();
}

#[test]
fn a_changed_package_list_is_refused() {
    let shop = Shop::open();
    let dir = shop.path("mirror/dists/trixie/main/binary-amd64/by-hash/SHA256");
    let list = dir.join(&names(&dir)[0]);
    damage(&list, |bytes| bytes.len() / 2);
    shop.lock().says(3, &["cannot read the packages of trixie", "has digest", "is expected"]);
    assert!(!shop.path("trial.toml.lock").exists());
    shop.sign(MADE);
    shop.lock().is_done();
}

#[test]
fn a_changed_or_shortened_package_is_refused_by_name() {
    let shop = Shop::open();
    let deb = shop.path("mirror/pool/main/app.deb");
    let whole = fs::read(&deb).unwrap();
    damage(&deb, |bytes| bytes.len() / 2);
    shop.build(&[]).says(3, &["cannot fetch package app", "app.deb has digest", "is expected"]);
    replace(&deb, &whole[..whole.len() / 2]).unwrap();
    shop.build(&[]).says(3, &["cannot fetch package app", "app.deb has digest"]);
    replace(&deb, &whole).unwrap();
    shop.recovers();
}

#[test]
fn a_mirror_that_is_down_is_named() {
    let shop = Shop::open();
    // Bound and closed again: nobody listens there.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{address}/debian");
    let outcome = shop.at(&url, "build", &["--out", "out"]);
    outcome.says(1, &[&format!("cannot use trixie of the mirror {url}"), "refused"]);
    assert!(!shop.path("trial.toml.lock").exists());
    shop.recovers();
}

#[test]
fn a_mirror_that_answers_with_a_web_page_is_told_as_such() {
    let shop = Shop::open();
    let page = b"<!DOCTYPE html>\n<title>Please log in</title>";
    let portal = Server::start(move |_| Reply::ok(page).header("Content-Type", "text/html"));
    let outcome = shop.at(&portal.url(""), "build", &["--out", "out"]);
    outcome.says(
        1,
        &["cannot use trixie of the mirror", "/dists/trixie/InRelease: a web page (HTML) came", "hint: "],
    );
    // A lock spares the lists, not the packages.
    shop.lock().is_done();
    let outcome = shop.at(&portal.url(""), "build", &["--out", "out"]);
    outcome.says(1, &["cannot fetch package", ".deb", "hint: "]);
    shop.recovers();
}

#[test]
fn what_is_no_mirror_is_a_mistake_of_usage() {
    let shop = Shop::open();
    shop.at("ftp://127.0.0.1/debian", "build", &["--out", "out"])
        .says(2, &["ftp://127.0.0.1/debian", "hint: "]);
    let absent = shop.path("absent").display().to_string();
    shop.at(&absent, "build", &["--out", "out"]).says(1, &["dists/trixie", &absent]);
    shop.nothing_is_made();
}

#[test]
fn a_package_that_the_mirror_does_not_know_is_named_with_who_asks_for_it() {
    let shop = Shop::open();
    shop.write_manifest(&GOOD.replace("[\"app\"]", "[\"no-such-package\"]"));
    shop.build(&[]).says(1, &["container.web", "no-such-package"]);
    shop.write_manifest(GOOD);
    shop.recovers();
}

#[test]
fn offline_nothing_is_asked_for_and_the_error_says_what_is_missing() {
    let shop = Shop::open();
    let server = Server::start(|_| Reply::status(404, b"none"));
    let outcome = shop.at(&server.url(""), "build", &["--offline", "--out", "out"]);
    outcome.says(1, &["cannot use trixie", "not in the cache", "hint: run once without --offline"]);
    assert!(server.asked().is_empty());
    shop.recovers();
}

#[test]
fn a_package_that_was_damaged_in_the_cache_is_noticed_and_fetched_anew() {
    let mut shop = Shop::open();
    let other = program("./usr/bin/other", ELF);
    shop.files.package(Pocket::Main, "other", "", &other);
    shop.sign(MADE);
    // Vendoring fetches everything and unpacks nothing.
    shop.write_manifest(&GOOD.replace("[\"app\"]", "[\"app\", \"other\"]"));
    shop.at("mirror", "vendor", &["vendored"]).is_done();
    damage(&shop.path("cache/objects").join(Digest::of(&other).to_string()), |bytes| bytes.len() / 2);
    shop.build(&[]).says(3, &["package other 1", "in the cache", "was damaged", "hint: run it again"]);
    shop.recovers();
}
