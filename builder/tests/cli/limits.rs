//! No room: files that may not grow (as under a quota) stand for a full disk, which nobody can make without being root.
//! Both fail in the same calls, with another error number; the last test has the number itself.

use super::shop::{Outcome, Shop};
use std::fs::OpenOptions;

/// A shell's words that let no file grow over `kib` KiB; writing more is then an error, not a death.
fn files_up_to(kib: u32) -> String {
    format!("trap '' XFSZ; ulimit -f {}", kib * 2)
}

const BUILD: [&str; 10] = [
    "build",
    "trial.toml",
    "--out",
    "out",
    "--keyring",
    "keys.gpg",
    "--mirror",
    "mirror",
    "--security-mirror",
    "mirror",
];

#[test]
fn a_cache_without_room_is_named_and_is_good_again_with_room() {
    let shop = Shop::open();
    // Enough for the signed lists, too little for the larger packages.
    let outcome = Outcome::of(shop.limited(&files_up_to(500), &BUILD).output().unwrap());
    outcome.says(1, &["cannot write", "/cache/tmp/", "File too large", "hint: free some space"]);
    shop.recovers();
}

#[test]
fn an_output_directory_without_room_gets_no_half_of_a_disk() {
    let shop = Shop::open();
    let outcome = Outcome::of(shop.limited(&files_up_to(48 << 10), &BUILD).output().unwrap());
    outcome.says(1, &["out/disk.raw", "File too large", "hint: free some space"]);
    shop.recovers();
}

#[test]
fn an_output_directory_that_cannot_be_made_is_named() {
    let shop = Shop::open();
    coracle::files::replace(&shop.path("out"), b"a file").unwrap();
    shop.build(&[]).says(1, &["cannot", "out"]);
    assert_eq!(std::fs::read(shop.path("out")).unwrap(), b"a file");
    std::fs::remove_file(shop.path("out")).unwrap();
    shop.recovers();
}

#[test]
fn data_that_standard_output_does_not_take_is_an_error() {
    let shop = Shop::bare();
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = shop.command(&["completions", "bash"]).stdout(full).output().unwrap();
    Outcome::of(output).says(1, &["cannot write to standard output", "No space left on device"]);
}
