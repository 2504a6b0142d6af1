//! Releases that fail, each in its own way: the machine goes back to the old one by itself, says why, and does not take
//! the failed one again. What is wrong is in the release; the device has no code for tests.

#![expect(clippy::tests_outside_test_module, reason = "the whole crate is a test")]

use anyhow::Result;
use coracle::machine::Firmware;
use coracle_format::slot::Arch;
use coracle_qemu_tests::{Spoil, Variant, Voyage, voyage::NEW};

/// A release whose manifest makes it fail.
fn declared(name: &'static str, more: &'static str) -> Variant {
    Variant { deadline: "60 s", more, ..Variant::new(name, NEW, Arch::X86_64) }
}

fn falls_back(firmware: Firmware, variant: &Variant, verdict: &str) -> Result<()> {
    let release = variant.build()?;
    Voyage::begin(firmware, variant.arch, variant.name)?.falls_back(&release, verdict).map(drop)
}

fn spoiled_falls_back(name: &'static str, spoil: Spoil, verdict: &str) -> Result<()> {
    let variant = Variant { deadline: "60 s", ..Variant::new(name, NEW, Arch::X86_64) };
    let release = variant.spoiled(spoil)?;
    Voyage::begin(Firmware::Direct, variant.arch, name)?.falls_back(&release, verdict).map(drop)
}

const CRASH: &str = r#"
[[container]]
name = "crash"
packages = ["busybox-static"]
command = ["busybox", "false"]
backoff = { first = "500 ms", longest = "1 s" }
"#;

const SICK: &str = r#"
[[health]]
name = "nobody-listens"
tcp = "127.0.0.1:9"
"#;

/// The kernel panics when the container's memory is used up, as the release's own settings demand.
const PANIC: &str = r#"
[system.sysctl]
"vm.panic_on_oom" = "2"

[[container]]
name = "eater"
packages = ["busybox-static"]
command = ["busybox", "sh", "-c", "x=0123456789abcdef; while :; do x=$x$x; done"]
memory = "16 MiB"
"#;

#[test]
fn a_crash_looping_container() -> Result<()> {
    falls_back(Firmware::Direct, &declared("crash-loop", CRASH), "unhealthy")
}

#[test]
#[ignore = "long: the same as under UEFI"]
fn a_failing_health_check() -> Result<()> {
    falls_back(Firmware::Direct, &declared("sick", SICK), "unhealthy")
}

#[test]
fn a_failing_health_check_under_uefi() -> Result<()> {
    falls_back(Firmware::Uefi, &declared("sick", SICK), "unhealthy")
}

#[test]
#[ignore = "long: an emulated machine of the other architecture"]
fn a_failing_health_check_under_uefi_on_aarch64() -> Result<()> {
    let variant = Variant { arch: Arch::Aarch64, ..declared("sick", SICK) };
    falls_back(Firmware::Uefi, &variant, "unhealthy")
}

#[test]
fn a_kernel_that_panics_in_every_start_and_its_last_lines() -> Result<()> {
    let variant = declared("panic", PANIC);
    let mut voyage = Voyage::begin(Firmware::Direct, variant.arch, variant.name)?;
    let fall = voyage.falls_back(&variant.build()?, "panic")?;
    fall.says_why("Out of memory: compulsory panic_on_oom is enabled")?;
    fall.keeps("Kernel panic - not syncing: Out of memory")
}

#[test]
fn a_missing_container_runtime() -> Result<()> {
    spoiled_falls_back("no-runtime", Spoil::NoRuntime, "unhealthy")
}

#[test]
#[ignore = "long: the same path as a gate that was stopped"]
fn a_health_gate_that_ends() -> Result<()> {
    spoiled_falls_back("gate-ends", Spoil::GateEnds, "health gate ended")
}

#[test]
fn a_stopped_updater() -> Result<()> {
    spoiled_falls_back("gate-stopped", Spoil::GateStopped, "health gate ended")
}

#[test]
#[ignore = "long: three starts"]
fn a_first_process_that_ends() -> Result<()> {
    spoiled_falls_back("init-ends", Spoil::InitEnds, "no verdict")
}

#[test]
#[ignore = "long: three starts"]
fn a_kernel_that_panics_before_its_first_process_works() -> Result<()> {
    spoiled_falls_back("early-panic", Spoil::KernelPanics, "no verdict")
}

#[test]
#[ignore = "long: three starts, each of which the watchdog ends"]
fn an_initramfs_that_hangs() -> Result<()> {
    spoiled_falls_back("init-hangs", Spoil::InitHangs, "no verdict")
}
