//! `hello`: one container answering, on both architectures, through both firmwares.

#![expect(clippy::tests_outside_test_module, reason = "the whole crate is a test")]

use anyhow::{Result, ensure};
use coracle::machine::Firmware;
use coracle_qemu_tests::{Guest, MILESTONE, Setup, get, image};

fn answers_and_stops(manifest: &str, test: &str, firmware: Firmware) -> Result<()> {
    let image = image(manifest)?;
    let mut guest = Guest::boot(&image, test, &Setup::new(firmware, &[8080]))?;
    guest.phase("container-web")?;
    let answer = get(guest.port(8080)?, "/", MILESTONE)?;
    ensure!(answer.contains("200 OK") && answer.contains("Coracle"), "unexpected answer: {answer}");
    let last = guest.power_off()?;
    ensure!(last.iter().any(|line| line.contains("coracle: stopped")), "no ordered stop: {last:#?}");
    Ok(())
}

#[test]
fn hello_answers_through_uefi_on_x86_64() -> Result<()> {
    answers_and_stops("hello", "uefi", Firmware::Uefi)
}

#[test]
fn hello_answers_through_direct_boot_on_x86_64() -> Result<()> {
    answers_and_stops("hello", "direct", Firmware::Direct)
}

#[test]
fn hello_answers_through_uefi_on_aarch64() -> Result<()> {
    answers_and_stops("hello-arm64", "uefi", Firmware::Uefi)
}

#[test]
fn hello_answers_through_direct_boot_on_aarch64() -> Result<()> {
    answers_and_stops("hello-arm64", "direct", Firmware::Direct)
}
