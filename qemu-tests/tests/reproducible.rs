//! The same inputs give the same bytes, whatever surrounds the build.

#![expect(clippy::tests_outside_test_module, reason = "the whole crate is a test")]

use anyhow::{Result, ensure};
use coracle::{device, digest::Digest};
use coracle_qemu_tests::{context, image, scratch, workspace};
use std::{
    ffi::OsStr,
    fs::{self, File},
    path::Path,
    process::Command,
};

fn sha256(path: &Path) -> Result<Digest> {
    Ok(Digest::of_reader(&mut File::open(path)?)?.0)
}

/// An empty cache but for what was downloaded.
fn cache_of_downloads(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            cache_of_downloads(&entry.path(), &target)?;
        } else if fs::hard_link(entry.path(), &target).is_err() {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

/// Runs `coracle` from another directory, with another umask, clock zone and device programs from an artefact.
#[expect(clippy::disallowed_methods, reason = "the program is run as a user runs it")]
fn run_elsewhere(dir: &Path, artefact: (&Path, Digest), args: &[&OsStr]) -> Result<()> {
    let output = Command::new("/bin/sh")
        .args(["-c", "umask 077; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_coracle-under-test")])
        .args(args)
        .current_dir(dir)
        .env("CORACLE_DEVICE", artefact.0)
        .env("CORACLE_DEVICE_SHA256", artefact.1.to_string())
        .env("TZ", "Pacific/Chatham")
        .output()?;
    ensure!(output.status.success(), "the build failed:\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[test]
fn a_build_elsewhere_with_another_umask_cache_and_origin_of_programs_has_the_same_digest() -> Result<()> {
    let ctx = context()?;
    let here = image("hello")?;

    let base = scratch("reproducible")?;
    let other = tempfile::tempdir_in(&base)?;
    let artefact = other.path().join("device.tar.zst");
    let digest = device::pack(&ctx, &artefact)?;
    let cache = other.path().join("cache");
    cache_of_downloads(&ctx.cache.root().join("objects"), &cache.join("objects"))?;
    let manifest = other.path().join("hello.toml");
    fs::copy(workspace().join("manifests/images/hello.toml"), &manifest)?;
    fs::copy(workspace().join("manifests/images/hello.toml.lock"), other.path().join("hello.toml.lock"))?;
    let out = other.path().join("another/output");
    let [offline, cache_flag, verb, locked, out_flag] =
        ["--offline", "--cache", "build", "--locked", "--out"].map(OsStr::new);
    let args = [offline, cache_flag, cache.as_ref(), verb, locked, out_flag, out.as_ref(), manifest.as_ref()];
    run_elsewhere(other.path(), (&artefact, digest), &args)?;

    let (here, there) = (sha256(&here.disk)?, sha256(&out.join("disk.raw"))?);
    ensure!(here == there, "the disk is {here} here and {there} elsewhere");
    Ok(())
}
