//! What a user or a machine's console hands in: manifests, locks, lines.

use super::ignore;
use coracle::machine::Phase;
use coracle_manifests::{
    Lock,
    lock::{LockedDebian, LockedGroup, LockedPackage, LockedRelease},
};
use std::path::Path;

pub(super) fn manifest(data: &[u8]) {
    if let Err(faults) = coracle_manifests::parse(&String::from_utf8_lossy(data), Path::new("fuzz.toml")) {
        ignore(faults.render());
    }
}

pub(super) fn manifest_seeds() -> Vec<Vec<u8>> {
    [
        include_str!("../../../manifests/images/hello.toml"),
        include_str!("../../../manifests/images/nginx.toml"),
        include_str!("../../../manifests/images/redis.toml"),
        include_str!("../../../manifests/images/oci.toml"),
        include_str!("../../../manifests/tests/broken/every-kind-at-once.toml"),
        include_str!("../../../manifests/tests/broken/network.toml"),
        include_str!("../../../manifests/tests/broken/paths.toml"),
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}

pub(super) fn lock(data: &[u8]) {
    if let Ok(lock) = Lock::parse(&String::from_utf8_lossy(data)) {
        ignore(lock.to_toml());
        ignore(lock.packages_of("runtime"));
    }
}

pub(super) fn lock_seeds() -> Vec<Vec<u8>> {
    let mut lock = Lock::new("hello", "x86_64", 1_763_000_000);
    let empty = lock.to_toml();
    lock.debian = Some(LockedDebian {
        suite: "trixie".to_owned(),
        releases: vec![LockedRelease {
            pocket: "main".to_owned(),
            date: 1_763_000_000,
            sha256: "a".repeat(64),
        }],
    });
    let package = LockedPackage {
        name: "crun".to_owned(),
        version: "1.21-1".to_owned(),
        arch: "amd64".to_owned(),
        pocket: "main".to_owned(),
        filename: "pool/main/c/crun/crun_1.21-1_amd64.deb".to_owned(),
        size: 3,
        sha256: "b".repeat(64),
    };
    lock.group = vec![LockedGroup {
        name: "runtime".to_owned(),
        request: vec!["crun".to_owned()],
        packages: vec![package.reference()],
    }];
    lock.package = vec![package];
    [empty, lock.to_toml()].into_iter().flatten().map(String::into_bytes).collect()
}

pub(super) fn console(data: &[u8]) {
    for line in String::from_utf8_lossy(data).lines() {
        ignore(Phase::parse(line));
    }
}

pub(super) fn console_seeds() -> Vec<Vec<u8>> {
    [
        "[    6.222783] coracle: phase=api-mounts ok ms=21 at=6243\n",
        "coracle: phase=root-verity failed ms=3 at=7112 why=\"cannot find the root: no such disk\"\n",
    ]
    .map(|line| line.as_bytes().to_vec())
    .into()
}
