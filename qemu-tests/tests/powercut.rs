//! A sample of the power-cut campaigns; the program `coracle-qemu-tests power-cut` makes all of them.

#![expect(clippy::tests_outside_test_module, reason = "the whole crate is a test")]

use anyhow::{Result, ensure};
use coracle_format::slot::Arch;
use coracle_qemu_tests::campaign::{Backend, Name, Options, run};

fn nothing_is_lost(options: Options) -> Result<()> {
    let summary = run(options)?;
    let failures = summary.failures();
    ensure!(failures.is_empty(), "{}{}", summary.table(), failures.join("\n"));
    Ok(())
}

#[test]
fn a_few_random_power_cuts_lose_nothing() -> Result<()> {
    nothing_is_lost(Options { sample: Some(3), ..Options::random(Backend::Direct, Arch::X86_64, 12, 1) })
}

#[test]
fn a_few_random_power_cuts_of_an_update_by_delta_lose_nothing() -> Result<()> {
    let options = Options::random(Backend::Direct, Arch::X86_64, 12, 2);
    nothing_is_lost(Options { delta: true, recording: Some(Name::Update), sample: Some(2), ..options })
}

#[test]
#[ignore = "long: every flush boundary of both backends, by bundle and by delta"]
fn no_power_cut_at_a_flush_loses_anything() -> Result<()> {
    for (backend, delta) in
        [(Backend::Direct, false), (Backend::Uefi, false), (Backend::Direct, true), (Backend::Uefi, true)]
    {
        let options = Options::random(backend, Arch::X86_64, 0, 0);
        nothing_is_lost(Options { every_flush: true, random: None, delta, ..options })?;
    }
    Ok(())
}
