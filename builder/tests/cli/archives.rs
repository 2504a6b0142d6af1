//! Hostile and damaged container images that a manifest names: refused with the file's name, exit code 3.

use super::{
    fixture::{member, tar},
    shop::{ELF, GOOD, Shop},
};
use coracle::{digest::Digest, files::replace};
use serde_json::{Value, json};
use std::{io, path::Path};

/// Archives that no container may come from, and a word of the reason.
fn cases() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let whole = tar(&[member("bin/app", b'0', "", &[7; 4096])]);
    let mut sum = whole.clone();
    sum[0] = b'X';
    vec![
        ("climbs", tar(&[member("../etc/passwd", b'0', "", b"x")]), ".."),
        ("climbs-inside", tar(&[member("bin/../../x", b'0', "", b"x")]), ".."),
        ("absolute-link", tar(&[member("bin/app", b'1', "/etc/shadow", b"")]), "bin/app"),
        ("climbing-link", tar(&[member("bin/app", b'1', "../../etc/shadow", b"")]), ".."),
        ("block-device", tar(&[member("etc/sda", b'4', "", b"")]), "etc/sda is a device node"),
        ("pipe", tar(&[member("srv/pipe", b'6', "", b"")]), "srv/pipe is a device node or named pipe"),
        ("cut", whole[..2000].to_vec(), ""),
        ("checksum", sum, ""),
        ("page", b"<!doctype html><title>Not found</title>".repeat(40), ""),
        ("bomb", zstd::encode_all(io::Read::take(io::repeat(0), 80 << 20), 1).unwrap(), "limit"),
    ]
}

fn with_source(line: &str) -> String {
    GOOD.replace("packages = [\"app\"]", line)
}

/// An OCI layout with one layer, whose bytes are claimed to have the digest `diff`.
fn layout(dir: &Path, layer: &[u8], diff: &Digest) {
    let blob = |bytes: &[u8], kind: &str| -> Value {
        let digest = Digest::of(bytes);
        replace(&dir.join(format!("blobs/sha256/{digest}")), bytes).unwrap();
        json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"),
            "digest": format!("sha256:{digest}"),
            "size": bytes.len(),
        })
    };
    let suffix = if layer.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) { "+zstd" } else { "" };
    let layer = blob(layer, &format!("layer.v1.tar{suffix}"));
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/bin/app"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{diff}")]},
    });
    let config = blob(config.to_string().as_bytes(), "config.v1+json");
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": [layer]});
    let entry = blob(manifest.to_string().as_bytes(), "manifest.v1+json");
    let index = json!({"schemaVersion": 2, "manifests": [entry]});
    replace(&dir.join("index.json"), index.to_string().as_bytes()).unwrap();
    replace(&dir.join("oci-layout"), b"{\"imageLayoutVersion\":\"1.0.0\"}").unwrap();
}

#[test]
fn a_hostile_root_file_system_is_refused_by_name_and_spoils_nothing() {
    let shop = Shop::open();
    for (name, bytes, why) in cases() {
        let file = format!("{name}.tar");
        replace(&shop.path(&file), &bytes).unwrap();
        shop.write_manifest(&with_source(&format!("rootfs = {file:?}")));
        let outcome = shop.build(&[]);
        outcome.says(3, &["cannot prepare container web", &file, why]);
        shop.nothing_is_made();
    }
    shop.write_manifest(GOOD);
    shop.recovers();
}

#[test]
fn a_hostile_layer_is_refused_by_the_name_of_its_image_and_spoils_nothing() {
    let shop = Shop::open();
    for (name, bytes, why) in cases() {
        let plain = match zstd::decode_all(&bytes[..]) {
            Ok(plain) => plain,
            Err(_) => bytes.clone(),
        };
        layout(&shop.path(name), &bytes, &Digest::of(&plain));
        shop.write_manifest(&with_source(&format!("oci = {name:?}")));
        let outcome = shop.build(&[]);
        outcome.says(3, &["cannot prepare container web", name, why]);
        shop.nothing_is_made();
    }
    shop.write_manifest(GOOD);
    shop.recovers();
}

#[test]
fn devices_below_dev_are_left_out_and_the_user_is_told() {
    let shop = Shop::open();
    let members = [
        member("bin/app", b'0', "", ELF),
        member("dev/sda", b'4', "", b""),
        member("dev/mem", b'3', "", b""),
    ];
    replace(&shop.path("root.tar"), &tar(&members)).unwrap();
    shop.write_manifest(&with_source("rootfs = \"root.tar\""));
    let outcome = shop.build(&["--verbose"]);
    outcome.is_done();
    assert!(outcome.stderr.contains("left out 2 device nodes"), "{outcome}");
}

#[test]
fn a_layer_that_is_not_what_its_image_says_is_refused() {
    let shop = Shop::open();
    let layer = tar(&[member("bin/app", b'0', "", ELF)]);
    shop.write_manifest(&with_source("oci = \"image\""));
    layout(&shop.path("image"), &layer, &Digest::of(&layer));
    let blob = shop.path("image").join(format!("blobs/sha256/{}", Digest::of(&layer)));
    let mut bytes = layer.clone();
    bytes[600] ^= 1;
    replace(&blob, &bytes).unwrap();
    shop.build(&[]).says(3, &["cannot prepare container web", "does not match its digest", "hint: "]);
    layout(&shop.path("image"), &layer, &Digest::of(b"other"));
    shop.build(&[]).says(3, &["cannot prepare container web", "image image", "but the image says"]);
    layout(&shop.path("image"), &layer, &Digest::of(&layer));
    shop.recovers();
}

#[test]
fn a_directory_with_a_pipe_in_it_is_refused() {
    let shop = Shop::open();
    replace(&shop.path("root/bin/app"), ELF).unwrap();
    let pipe = shop.path("root/run-pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    shop.write_manifest(&with_source("rootfs = \"root\""));
    shop.build(&[])
        .says(3, &["cannot prepare container web", "run-pipe is a device, pipe or socket", "hint: "]);
    std::fs::remove_file(pipe).unwrap();
}

#[test]
fn a_kernel_that_is_none_is_refused_with_what_to_give() {
    let shop = Shop::open();
    let good = std::fs::read(shop.path("bzImage")).unwrap();
    replace(&shop.path("bzImage"), &[0x1f, 0x8b, 8, 0]).unwrap();
    shop.build(&[]).says(3, &["cannot use kernel", "bzImage", "hint: it is compressed with gzip"]);
    replace(&shop.path("bzImage"), &good).unwrap();
    shop.recovers();
}
