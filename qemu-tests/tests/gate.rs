//! What decides whether a release is kept: the health gate, its deadline, and containers that wait for the decision.
//! Directly booted; `long` ones only on demand.

#![expect(clippy::tests_outside_test_module, reason = "the whole crate is a test")]

use anyhow::{Context as _, Result, ensure};
use coracle::machine::Firmware;
use coracle_format::slot::Arch;
use coracle_qemu_tests::{
    Spoil, Variant, Voyage,
    voyage::{NEW, OLD},
};

const DIRECT: Firmware = Firmware::Direct;
/// The release after the next.
const NEWEST: &str = "3.0.0";

const fn release(name: &'static str, version: &'static str, more: &'static str) -> Variant {
    Variant { more, ..Variant::new(name, version, Arch::X86_64) }
}

/// A container and a check that are never well, beside a container that works.
const SICK: &str = r#"
[[container]]
name = "crash"
packages = ["busybox-static"]
command = ["busybox", "false"]
backoff = { first = "500 ms", longest = "1 s" }

[[health]]
name = "nobody-listens"
tcp = "127.0.0.1:9"

[[container]]
name = "worker"
packages = ["busybox-static"]
command = ["busybox", "sleep", "1000000"]
stop_signal = "KILL"
"#;

/// The same, but that the container does not work any more.
const SICKER: &str = r#"
[[container]]
name = "crash"
packages = ["busybox-static"]
command = ["busybox", "false"]
backoff = { first = "500 ms", longest = "1 s" }

[[health]]
name = "nobody-listens"
tcp = "127.0.0.1:9"

[[container]]
name = "worker"
packages = ["busybox-static"]
command = ["busybox", "false"]
restart = "never"
"#;

#[test]
#[ignore = "long: two updates"]
fn with_no_worse_what_was_sick_may_stay_sick_and_what_was_well_may_not_fall_sick() -> Result<()> {
    let old = release("sick-v1", OLD, SICK).build()?;
    let no_worse = |variant| Variant { gate: "no-worse", ..variant };
    let mut voyage = Voyage::begin_from(old, DIRECT, "no-worse", |_, _| Ok(()))?;
    voyage.guest.line("coracle-containers: crash ended with status 1")?;
    voyage.update(&no_worse(release("sick-v2", NEW, SICK)).build()?)?;
    voyage.starts("B", "on trial")?;
    voyage.guest.phase("commit").context("a release that is as sick as the one before")?;
    voyage.guest.line("coracle-containers: crash ended with status 1")?;

    let sicker = no_worse(release("sicker-v3", NEWEST, SICKER)).build()?;
    let fall = voyage.falls_back(&sicker, "unhealthy").context("a release that is sicker")?;
    fall.says_why("container worker")?;
    ensure!(voyage.slot("B")? == ("good".to_owned(), None, NEW.to_owned()), "{:?}", voyage.slot("B")?);
    Ok(())
}

/// Would change data so that an older release could not read it.
const MIGRATE: &str = r#"
[[container]]
name = "migrate"
packages = ["busybox-static"]
command = ["busybox", "echo", "all data is new"]
start = "after-commit"
restart = "never"
"#;

/// The same beside something that is not well, long after everything has started.
const MIGRATE_IN_VAIN: &str = r#"
[[container]]
name = "migrate"
packages = ["busybox-static"]
command = ["busybox", "echo", "all data is new"]
start = "after-commit"
restart = "never"

[[container]]
name = "broken"
packages = ["busybox-static"]
command = ["busybox", "sh", "-c", "busybox sleep 4; exit 1"]
restart = "never"

[[health]]
name = "nobody-listens"
tcp = "127.0.0.1:9"
"#;

#[test]
#[ignore = "long: two updates"]
fn a_container_that_waits_for_the_commit_starts_after_it_and_never_in_a_trial_that_fails() -> Result<()> {
    let mut voyage = Voyage::begin(DIRECT, Arch::X86_64, "after-commit")?;
    let failing = release("migrate-in-vain", NEW, MIGRATE_IN_VAIN).build()?;
    let fall = voyage.falls_back(&failing, "unhealthy")?;
    fall.says_why("container broken")?;
    ensure!(fall.shown("phase=container-broken ok").count() == 1, "nothing was started in the trial");
    for sign in ["phase=container-migrate", "migrate: ", "all data is new"] {
        let found: Vec<_> = fall.shown(sign).collect();
        ensure!(found.is_empty(), "it ran in a trial that failed: {found:#?}");
    }

    voyage.update(&release("migrate", NEWEST, MIGRATE).build()?)?;
    voyage.starts("B", "on trial")?;
    let (mut committed, mut early) = (false, false);
    let mut left = vec!["phase=container-migrate ok", "migrate: all data is new"];
    voyage.guest.scan("the migration", |line| {
        committed |= line.contains("coracle: phase=commit ok");
        let before = left.len();
        left.retain(|sign| !line.contains(sign));
        early |= left.len() < before && !committed;
        left.is_empty().then_some(())
    })?;
    ensure!(!early, "it ran before the commit");
    Ok(())
}

/// A check whose only attempt lasts longer than the trial.
const ENDLESS: &str = r#"
[[health]]
name = "endless"
container = "ledger"
command = ["busybox", "sleep", "1000"]
timeout = "5 min"
"#;

#[test]
#[ignore = "long: a trial until its deadline"]
fn a_check_that_never_ends_fails_the_release_shortly_before_the_deadline() -> Result<()> {
    let variant = Variant { deadline: "50 s", ..release("endless", NEW, ENDLESS) };
    let mut voyage = Voyage::begin(DIRECT, Arch::X86_64, "endless")?;
    let fall = voyage.falls_back(&variant.build()?, "unhealthy")?;
    // What it says of the check is what its last attempt that ended has found, if one has.
    ensure!(fall.text.contains("check endless: ") && fall.text.contains(" at the deadline"), "{}", fall.text);
    Ok(())
}

#[test]
fn a_gate_that_never_decides_ends_at_the_deadline_of_pid_1() -> Result<()> {
    let variant = Variant { deadline: "30 s", ..release("gate-waits", NEW, "") };
    let mut voyage = Voyage::begin(DIRECT, Arch::X86_64, "gate-waits")?;
    let fall = voyage.falls_back(&variant.spoiled(Spoil::GateWaits)?, "deadline")?;
    fall.says_why("there was no commit on the disk at the deadline")?;
    let at = fall.words["boot_ms"].as_u64().context("no time in the last words")?;
    ensure!((30_000..60_000).contains(&at), "the deadline of 30 s was noticed after {at} ms");
    ensure!(fall.trials == 1, "it was tried {} times", fall.trials);
    fall.keeps("coracle: release is on trial")
}
