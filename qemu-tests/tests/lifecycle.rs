//! What a machine keeps over its boots, however they end. One machine is set up once; every test goes on with a copy of
//! its disk.

#![expect(clippy::tests_outside_test_module, reason = "the whole crate is a test")]

use anyhow::{Context as _, Result, anyhow, ensure};
use coracle::{build::Built, launch, machine::Firmware};
use coracle_qemu_tests::{Guest, MILESTONE, Setup, StateDisk, get, image_of, scratch};
use std::{fs, path::PathBuf, sync::LazyLock};

const MIB: u64 = 1 << 20;
const DISK: u64 = 1024 * MIB;
/// Port of the container that keeps data, and of the one that needs none.
const KEEPER: u16 = 8080;
const FREE: u16 = 8081;

/// A machine that has been set up, written to and switched off.
#[derive(Debug)]
struct Settled {
    image: Built,
    disk: PathBuf,
    machine_id: String,
}

fn settled() -> Result<&'static Settled> {
    static ONE: LazyLock<Result<Settled, String>> =
        LazyLock::new(|| settle().map_err(|error| format!("{error:#}")));
    ONE.as_ref().map_err(|why| anyhow!("cannot set a machine up: {why}"))
}

fn settle() -> Result<Settled> {
    let image = image_of(include_str!("../images/keeper.toml"), "keeper")?;
    let mut guest = Guest::boot(&image, "first", &setup(None))?;
    guest.phase("container-keeper")?;
    ensure!(boots(&guest)? == 1, "a new machine has kept something");
    guest.power_off()?;
    let disk = guest.disk();
    let machine_id = StateDisk::open(&disk)?.read("/lib/machine-id")?;
    ensure!(machine_id.len() == 32, "not a machine id: {machine_id:?}");
    Ok(Settled { image, disk, machine_id })
}

fn setup(disk: Option<PathBuf>) -> Setup {
    Setup { disk_bytes: DISK, disk, ..Setup::new(Firmware::Direct, &[KEEPER, FREE]) }
}

impl Settled {
    /// A copy of the disk, `bytes` long, for the test of this name.
    fn copy(&self, test: &str, bytes: u64) -> Result<PathBuf> {
        let dir = scratch("keeper")?.join(test);
        fs::create_dir_all(&dir)?;
        let disk = dir.join("disk.raw");
        launch::copy_disk(&self.disk, &disk, bytes)?;
        Ok(disk)
    }

    fn boot(&self, test: &str, disk: PathBuf) -> Result<Guest> {
        Guest::boot(&self.image, test, &setup(Some(disk)))
    }
}

/// How many starts the keeper has on record.
fn boots(guest: &Guest) -> Result<usize> {
    let answer = get(guest.port(KEEPER)?, "/boots", MILESTONE)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("not an answer")?;
    ensure!(head.contains("200 OK") && body.lines().all(|line| line == "boot"), "unexpected: {answer}");
    Ok(body.lines().count())
}

fn needs_nothing_and_answers(guest: &Guest) -> Result<()> {
    let answer = get(guest.port(FREE)?, "/", MILESTONE)?;
    ensure!(answer.contains("needs nothing"), "unexpected answer: {answer}");
    Ok(())
}

#[test]
fn ctrl_alt_del_reboots_in_order_into_the_same_machine() -> Result<()> {
    let settled = settled()?;
    let disk = settled.copy("ctrl-alt-del", DISK)?;
    let mut guest = settled.boot("ctrl-alt-del", disk.clone())?;
    guest.phase("boot")?;
    ensure!(boots(&guest)? == 2, "the first boot's data are gone");
    guest.press(&["ctrl", "alt", "delete"])?;
    for phase in ["stop-services", "stop-processes", "sync"] {
        guest.phase(phase)?;
    }
    guest.line("coracle: stopped, rebooting")?;
    guest.phase("boot").context("the boot after the reboot")?;
    ensure!(boots(&guest)? == 3, "the data did not outlive the reboot");
    guest.power_off()?;
    let id = StateDisk::open(&disk)?.read("/lib/machine-id")?;
    ensure!(id == settled.machine_id, "the machine was {} and is {id}", settled.machine_id);
    Ok(())
}

#[test]
fn state_fills_a_disk_that_has_grown() -> Result<()> {
    let settled = settled()?;
    let before = StateDisk::open(&settled.disk)?.bytes;
    let disk = settled.copy("grown", DISK + 512 * MIB)?;
    let mut guest = settled.boot("grown", disk.clone())?;
    let line = guest.line("coracle: state has grown")?;
    guest.phase("boot")?;
    ensure!(boots(&guest)? == 2, "growing has lost the data");
    guest.power_off()?;
    let after = StateDisk::open(&disk)?.bytes;
    ensure!(after == before + 512 * MIB, "the partition had {before} bytes and has {after}");
    let blocks = format!("to {} blocks of 4096 bytes", after / 4096);
    ensure!(line.contains(&blocks), "the partition has {after} bytes, the file system: {line}");
    Ok(())
}

#[test]
fn state_is_whole_after_the_power_was_cut() -> Result<()> {
    let settled = settled()?;
    let disk = settled.copy("cut", DISK)?;
    let mut guest = settled.boot("cut", disk.clone())?;
    guest.phase("container-keeper")?;
    ensure!(boots(&guest)? == 2, "the first boot's data are gone");
    guest.cut_power();
    let mut guest = settled.boot("after-cut", disk.clone())?;
    guest.phase("state-check")?;
    guest.phase("boot")?;
    ensure!(boots(&guest)? == 3, "what was synced before the cut is gone");
    guest.power_off()?;
    let id = StateDisk::open(&disk)?.read("/lib/machine-id")?;
    ensure!(id == settled.machine_id, "the machine was {} and is {id}", settled.machine_id);
    Ok(())
}

#[test]
fn a_disk_without_room_for_state_runs_what_needs_none_and_says_how_much_is_missing() -> Result<()> {
    let image = &settled()?.image;
    let bytes = 600 * MIB;
    let mut guest = Guest::boot(image, "small", &Setup { disk_bytes: bytes, ..setup(None) })?;
    let why = guest.failed_phase("state-layout")?;
    for part in ["state", &format!("the disk has {bytes} bytes"), "more are needed"] {
        ensure!(why.contains(part), "no {part:?} in {why:?}");
    }
    needs_nothing_and_answers(&guest)?;
    let last = guest.power_off()?;
    ensure!(
        !last.iter().any(|line| line.contains("phase=container-keeper")),
        "data without a place: {last:#?}"
    );
    Ok(())
}

#[test]
fn state_that_held_data_and_is_blank_is_never_formatted_again() -> Result<()> {
    let settled = settled()?;
    let disk = settled.copy("blank", DISK)?;
    StateDisk::open(&disk)?.wipe_all()?;
    let mut guest = settled.boot("blank", disk.clone())?;
    let why = guest.failed_phase("state-check")?;
    ensure!(why.contains("super"), "the reason does not tell what is missing: {why}");
    guest.line("the machine runs without its state file system")?;
    needs_nothing_and_answers(&guest)?;
    guest.power_off()?;
    let head = StateDisk::open(&disk)?.head(2 << 20)?;
    ensure!(head.iter().all(|byte| *byte == 0), "something was written to the blank partition");
    Ok(())
}
