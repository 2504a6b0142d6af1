//! What the release that takes over tells of the one that failed, when that could not say anything itself. Directly
//! booted; `long` ones only on demand.

#![expect(clippy::tests_outside_test_module, reason = "the whole crate is a test")]

use anyhow::{Result, ensure};
use coracle::machine::Firmware;
use coracle_format::slot::Arch;
use coracle_qemu_tests::{
    Spoil, Variant, Voyage,
    spoil::SPOILED,
    voyage::{Fall, NEW},
};
use coracle_slots::TRIAL_STARTS;

/// A release that is never committed, on a machine whose watchdog does not wait long.
const NEVER: &str = r#"
[[health]]
name = "nobody-listens"
tcp = "127.0.0.1:9"

[system]
watchdog = "15 s"
"#;

fn fails(name: &'static str, spoil: Spoil, verdict: &str) -> Result<Fall> {
    let variant = Variant { more: NEVER, ..Variant::new(name, NEW, Arch::X86_64) };
    let mut voyage = Voyage::begin(Firmware::Direct, variant.arch, name)?;
    let fall = voyage.falls_back(&variant.spoiled(spoil)?, verdict)?;
    ensure!(fall.shown(SPOILED).next().is_some(), "it was not spoiled");
    Ok(fall)
}

#[test]
#[ignore = "long: until the watchdog notices"]
fn a_first_process_that_hangs_ends_in_a_panic_whose_lines_are_kept() -> Result<()> {
    let fall = fails("init-freezes", Spoil::InitFreezes, "panic")?;
    fall.says_why("watchdog pretimeout event")?;
    fall.keeps("Kernel panic - not syncing: watchdog pretimeout event")?;
    ensure!(fall.word("log").contains(SPOILED), "what it said before is lost:\n{}", fall.word("log"));
    Ok(())
}

#[test]
#[ignore = "long: three starts, each of which the watchdog ends"]
fn of_a_kernel_that_stands_still_the_lines_before_are_kept() -> Result<()> {
    let fall = fails("kernel-stops", Spoil::KernelStops, "no verdict")?;
    ensure!(fall.trials == u32::from(TRIAL_STARTS), "it was tried {} times", fall.trials);
    fall.says_why("it hung, was reset or lost power")?;
    fall.keeps(SPOILED)?;
    // Nothing has recorded the crash: what is kept comes from the copy of the log that was made before.
    ensure!(fall.shown("Kernel panic").next().is_some() && !fall.word("log").contains("Kernel panic"));
    Ok(())
}
