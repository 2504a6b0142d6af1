//! What only a machine can show of odd places and bad conditions of an update: a disk of its own, a `state` without
//! room. Directly booted.

#![expect(clippy::tests_outside_test_module, reason = "the whole crate is a test")]

use anyhow::{Result, ensure};
use coracle::{ctl::Reply, machine::Firmware};
use coracle_format::{
    control::{ApplyFrom, Request},
    slot::Arch,
};
use coracle_qemu_tests::{
    Operator, Variant, Voyage, scratch,
    voyage::{NEW, OLD},
};
use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long an update may take to be written, read back and armed.
const APPLY: Duration = Duration::from_mins(8);
/// How long the machine may take to see that a place is none.
const LOOK: Duration = Duration::from_mins(1);
/// A disk has more than the bundle, and in whole sectors.
const STICK_BYTES: u64 = 1 << 20;

/// A disk whose first bytes are the bundle; something else follows.
fn make_stick(bundle: &Path) -> Result<PathBuf> {
    let stick = scratch("bad-input")?.join("stick.raw");
    fs::copy(bundle, &stick)?;
    let file = OpenOptions::new().write(true).open(&stick)?;
    let end = file.metadata()?.len();
    file.set_len((end / STICK_BYTES + 2) * STICK_BYTES)?;
    file.write_all_at(&[0xa5; 4096], end)?;
    Ok(stick)
}

fn apply_from(operator: &Operator, path: &str, within: Duration) -> Result<Reply> {
    let from = ApplyFrom::Path(path.to_owned());
    operator.ask(&Request::Apply { from, reboot: false, json: false }, within)
}

/// The states of slots A and B.
fn is_held(voyage: &Voyage, states: [&str; 2]) -> Result<()> {
    let ((a, _, version), (b, ..)) = (voyage.slot("A")?, voyage.slot("B")?);
    ensure!([a.as_str(), b.as_str()] == states, "slot A is {a}, slot B is {b}");
    ensure!(version == OLD, "slot A has {version}");
    Ok(())
}

#[test]
fn a_machine_updates_itself_from_a_second_disk_that_is_named_to_it() -> Result<()> {
    let bundle = Variant::new("v2", NEW, Arch::X86_64).build()?.bundle;
    let mut voyage = Voyage::begin_with(Firmware::Direct, Arch::X86_64, "second-disk", |_, setup| {
        setup.second_disk = Some(make_stick(&bundle)?);
        Ok(())
    })?;
    let operator = voyage.operator()?;
    for (path, code, words) in [
        ("/dev/vdz", 2, "cannot read /dev/vdz: No such file or directory"),
        ("/dev/null", 2, "cannot read /dev/null: it is neither a block device"),
        ("/state/volumes", 2, "cannot read /state/volumes: it is neither a block device"),
        // The machine's own disk.
        ("/dev/vda", 3, "cannot read /dev/vda: not an update bundle"),
    ] {
        let reply = apply_from(&operator, path, LOOK)?;
        ensure!(reply.code == code && reply.err.contains(words), "{path}: {reply:?}");
    }
    is_held(&voyage, ["good", "empty"])?;
    let reply = apply_from(&operator, "/dev/vdb", APPLY)?;
    ensure!(reply.code == 0, "{reply:?}");
    is_held(&voyage, ["good", "trial"])?;
    operator.reboot()?;
    voyage.starts("B", "on trial")?;
    voyage.guest.phase("commit")?;
    let (state, _, version) = voyage.slot("B")?;
    ensure!((state.as_str(), version.as_str()) == ("good", NEW), "slot B is {state} with {version}");
    Ok(())
}

/// Takes all that `state` has, and whatever becomes free. The container runs as root, so that nothing is kept for others.
const FILLER: &str = r#"
[[container]]
name = "filler"
packages = ["busybox-static"]
command = ["busybox", "sh", "-c", """
n=0
for size in 16777216 1048576 65536 4096; do
  while busybox fallocate -l $size /data/$n; do n=$((n+1)); done
done
busybox sync
echo x > /data/probe && echo "there is room" || echo "full after $n files"
while busybox sleep 1; do busybox fallocate -l 4096 /data/$n && n=$((n+1)); done
"""]
stop_signal = "KILL"
volumes = [{ name = "filler", path = "/data" }]
"#;

#[test]
fn a_machine_whose_state_is_full_takes_an_update_and_says_what_it_cannot_keep() -> Result<()> {
    let full = Variant { more: FILLER, ..Variant::new("v1-full", OLD, Arch::X86_64) }.build()?;
    let bundle = Variant::new("v2", NEW, Arch::X86_64).build()?.bundle;
    let mut voyage = Voyage::begin_from(full, Firmware::Direct, "full-state", |_, _| Ok(()))?;
    voyage.guest.scan("a full state", |line| line.contains("filler: full after ").then_some(()))?;
    let operator = voyage.operator()?;
    let before = operator.status()?;
    ensure!(before["running"] == "A", "{before}");
    let reply = operator.send(&bundle)?;
    ensure!(reply.code == 0, "{reply:?}");
    let said = format!("{}{}", reply.out, reply.err);
    for words in
        ["if this update is interrupted, it starts over", "everything has to be healthy in the trial"]
    {
        ensure!(said.matches(words).count() == 1, "{words:?} is not said once:\n{said}");
    }
    is_held(&voyage, ["good", "trial"])?;
    let again = operator.send(&bundle)?;
    ensure!(again.code == 3 && again.err.contains("waits for its trial"), "{again:?}");
    voyage.guest.scan("the container that goes on", |line| line.contains("ledger: record ").then_some(()))?;
    operator.reboot()?;
    voyage.starts("B", "on trial")?;
    // What needs room fails beside it; the release is kept all the same.
    voyage.guest.scan("the commit", |line| line.contains("coracle: phase=commit ok").then_some(()))
}
