//! Hostile and damaged packages that a signed mirror serves: refused with the package's name, exit code 3.

use super::{
    Pocket,
    fixture::{ar, deb, member, tar, xz},
    shop::{ELF, GOOD, MADE, Shop, package, program},
};

fn cases() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let whole = program("./usr/bin/app", ELF);
    let body = xz(&tar(&[member("./usr/bin/app", b'0', "", &[7; 4096])]));
    vec![
        ("climbs", package(&[member("./usr/../../etc/passwd", b'0', "", b"x")]), ".."),
        ("hard-link", package(&[member("./usr/x", b'1', "/etc/shadow", b"")]), "/usr/x"),
        ("device", package(&[member("./dev/sda", b'4', "", b"")]), "/dev/sda"),
        ("character", package(&[member("./dev/mem", b'3', "", b"")]), "/dev/mem"),
        ("pipe", package(&[member("./run/pipe", b'6', "", b"")]), "/run/pipe"),
        ("cut", whole[..whole.len() / 2].to_vec(), "ends too early"),
        ("cut-inside", deb("data.tar.xz", &body[..body.len() / 2]), "data.tar"),
        ("no-package", b"<!doctype html>".repeat(9), "not a Debian package"),
        ("no-files", ar(&[("debian-binary", b"2.0\n"), ("control.tar.xz", b"odd")]), "not a Debian package"),
    ]
}

#[test]
fn a_hostile_package_is_refused_by_name_and_spoils_nothing() {
    let mut shop = Shop::open();
    for (name, bytes, _) in cases() {
        shop.files.package(Pocket::Main, name, "", &bytes);
    }
    shop.sign(MADE);
    for (name, _, why) in cases() {
        shop.write_manifest(&GOOD.replace("packages = [\"app\"]", &format!("packages = [{name:?}]")));
        let outcome = shop.build(&[]);
        outcome.says(3, &["cannot", &format!("package {name}"), why]);
        shop.nothing_is_made();
    }
    shop.write_manifest(GOOD);
    shop.recovers();
}

#[test]
fn a_program_that_no_package_brings_is_named_before_anything_is_written() {
    let shop = Shop::open();
    shop.write_manifest(&GOOD.replace("/bin/app", "/bin/absent"));
    shop.build(&[]).says(2, &["cannot prepare container web", "/bin/absent"]);
    shop.write_manifest(GOOD);
    shop.recovers();
}

#[test]
fn images_that_take_updates_bring_zstd_and_say_when_it_is_not_the_one_of_deltas() {
    let mut shop = Shop::open();
    for (version, warned) in [("1.5.6+dfsg-1", true), ("1.5.7+dfsg-1", false)] {
        shop.files = Shop::open().files;
        let fields = format!("Version: {version}\n");
        shop.files.package(Pocket::Main, "zstd", &fields, &program("./usr/bin/zstd", ELF));
        shop.sign(MADE);
        shop.write_manifest(&format!("{GOOD}\n[update]\nroot = \"bzImage\"\n"));
        shop.lock().is_done();
        let built = shop.build(&[]);
        built.is_done();
        let warning = format!("zstd {version} (amd64) is not zstd 1.5.7");
        assert_eq!(built.stderr.contains(&warning), warned, "{built}");
        let record = std::fs::read_to_string(shop.path("out/build.json")).unwrap();
        assert!(record.contains(&format!("runtime zstd {version} amd64")), "{record}");
    }
}
