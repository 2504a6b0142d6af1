//! Boot artefacts that real firmware cannot start: the other slot runs, the console says why, and the slot record says
//! afterwards what it must. One short test for every change, the rest on demand. A third kind of refusal, by Secure Boot,
//! is in `secure_boot.rs`.

#![expect(clippy::tests_outside_test_module, reason = "the whole crate is a test")]

use anyhow::{Context as _, Result, ensure};
use coracle::{build::Built, launch, machine::Firmware};
use coracle_format::slot::Arch;
use coracle_qemu_tests::{Guest, Setup, TwoSlots, image, scratch};
use coracle_slots::{Record, Slot, SlotState, Verdict, history::Event};
use sha2::{Digest as _, Sha256};
use std::{fs, path::PathBuf};

const DISK_BYTES: u64 = 1 << 30;

/// What has become of a boot artefact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ruin {
    /// Its first half is left.
    Truncated,
    /// Bytes that mean nothing.
    Random,
    /// Zeros.
    Zeroed,
}

/// Who can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judge {
    /// The firmware alone: the slot's descriptor fits the bytes.
    Firmware,
    /// The selector: they do not match the digest in the descriptor.
    Selector,
}

/// Every ruin, for every judge.
const RUINS: [(Ruin, Judge); 6] = [
    (Ruin::Truncated, Judge::Firmware),
    (Ruin::Random, Judge::Firmware),
    (Ruin::Zeroed, Judge::Firmware),
    (Ruin::Truncated, Judge::Selector),
    (Ruin::Random, Judge::Selector),
    (Ruin::Zeroed, Judge::Selector),
];

impl Ruin {
    fn of(self, whole: &[u8]) -> Vec<u8> {
        match self {
            Self::Truncated => whole[..whole.len() / 2].to_vec(),
            Self::Random => {
                let noise = (0_u32..4096).flat_map(|number| Sha256::digest(number.to_le_bytes()));
                noise.collect::<Vec<u8>>().into_iter().cycle().take(whole.len()).collect()
            }
            Self::Zeroed => vec![0; whole.len()],
        }
    }
}

impl Judge {
    /// What the console says of its verdict.
    const fn words(self) -> &'static str {
        match self {
            Self::Firmware => "the firmware refuses it",
            Self::Selector => "boot artefact does not match its digest",
        }
    }
}

/// A machine with the same release in both slots.
struct Machine {
    image: Built,
    path: PathBuf,
    slots: TwoSlots,
}

impl Machine {
    fn new(arch: Arch, test: &str) -> Result<Self> {
        let image = image(match arch {
            Arch::X86_64 => "hello",
            Arch::Aarch64 => "hello-arm64",
        })?;
        let dir = scratch("refused-images")?.join(format!("{test}-{}", arch.name()));
        fs::create_dir_all(&dir)?;
        let path = dir.join("disk.raw");
        let options = launch::Options { disk_bytes: DISK_BYTES, ..launch::Options::new(&image) };
        launch::make_disk(&image, &options, &path)?;
        let slots = TwoSlots::make(&path)?;
        Ok(Self { image, path, slots })
    }

    fn ruin(&self, slot: Slot, ruin: Ruin, judge: Judge) -> Result<()> {
        let whole = self.slots.boot(slot)?;
        let mut bytes = ruin.of(&whole);
        match judge {
            Judge::Firmware => self.slots.replace_boot(slot, &bytes),
            Judge::Selector => {
                bytes.resize(whole.len(), 0);
                self.slots.damage_boot(slot, &bytes)
            }
        }
    }

    fn boot(&self) -> Result<Guest> {
        let setup = Setup {
            disk: Some(self.path.clone()),
            log: Some(self.path.with_file_name("console.log")),
            ..Setup::new(Firmware::Uefi, &[])
        };
        Guest::boot(&self.image, "refused-images", &setup)
    }

    /// Boots; the selector must choose these slots in this order, say why it cannot start the first, and the second must
    /// run. The record that is left.
    fn falls_through(&self, chosen: [&str; 2], judge: Judge) -> Result<Record> {
        let mut guest = self.boot()?;
        let [first, second] = chosen.map(|slot| format!("coracle: slot {slot}"));
        let said = guest.line("coracle: slot ")?;
        ensure!(said.contains(&first), "the selector chose: {said}");
        let why = guest.line("coracle: slot ")?;
        let slot = &chosen[0][..1];
        ensure!(why.contains(&format!("coracle: slot {slot} cannot be started: {}", judge.words())), "{why}");
        let said = guest.line("coracle: slot ")?;
        ensure!(said.contains(&second), "the selector chose: {said}");
        let root = guest.line("coracle: root is slot-")?;
        let runs = chosen[1][..1].to_lowercase();
        ensure!(root.contains(&format!("root is slot-{runs}")), "another slot runs: {root}");
        guest.phase("boot")?;
        guest.cut_power();
        self.slots.record()
    }

    /// What happened last to the slots, as the machine remembers it.
    fn remembers(&self, event: Event, slot: Slot, judge: Judge) -> Result<()> {
        let history = self.slots.history()?;
        let told: Vec<_> = history.iter().filter(|entry| entry.event == event).collect();
        let [entry] = told[..] else {
            anyhow::bail!("told {} times: {history:?}", told.len());
        };
        ensure!(entry.slot == slot && entry.detail.to_string().contains(judge.words()), "{entry:?}");
        Ok(())
    }
}

/// A release on trial is ruined: it has failed for good, and the last good slot runs at once.
fn fails_its_trial(arch: Arch, test: &str, ruin: Ruin, judge: Judge) -> Result<()> {
    let machine = Machine::new(arch, test)?;
    machine.ruin(Slot::B, ruin, judge)?;
    machine.slots.put_on_trial()?;
    let release = machine.slots.record()?.release(Slot::B);
    let record = machine.falls_through(["B (on trial)", "A (last good)"], judge)?;
    ensure!(record.state(Slot::B) == SlotState::Failed(Verdict::Refused), "{record:?}");
    ensure!(record.blocked(&release) == Some(Verdict::Refused), "the release may be tried again: {record:?}");
    ensure!(record.state(Slot::A) == SlotState::Good && record.last_good() == Slot::A, "{record:?}");
    ensure!(record.booting() == Slot::A, "{record:?}");
    machine.remembers(Event::Failed, Slot::B, judge)
}

/// What a record says, without the count of its writes: the selector notes each slot that it tries.
fn meaning(record: &Record) -> Vec<u8> {
    record.encode()[24..508].to_vec()
}

/// A committed release is ruined: the other good slot runs, at every start, and the ruined one stays good, since the
/// firmware may take it another time.
fn gives_way(arch: Arch, test: &str, ruin: Ruin, judge: Judge) -> Result<()> {
    let machine = Machine::new(arch, test)?;
    machine.ruin(Slot::A, ruin, judge)?;
    machine.slots.make_good()?;
    let order = ["A (last good)", "B (the other slot cannot be used)"];
    let record = machine.falls_through(order, judge)?;
    let again = machine.falls_through(order, judge)?;
    ensure!(meaning(&again) == meaning(&record), "the second start has changed {record:?} to {again:?}");
    ensure!(Slot::ALL.map(|slot| record.state(slot)) == [SlotState::Good; 2], "{record:?}");
    ensure!(record.booting() == Slot::B, "{record:?}");
    machine.remembers(Event::NotStarted, Slot::A, judge)
}

/// Neither slot can be started: the machine says why and waits, longer each time, and keeps what it knows; when one can
/// be started again it runs at once.
fn backs_off(arch: Arch) -> Result<()> {
    let machine = Machine::new(arch, "both")?;
    let whole = machine.slots.boot(Slot::A)?;
    machine.ruin(Slot::A, Ruin::Random, Judge::Firmware)?;
    machine.ruin(Slot::B, Ruin::Truncated, Judge::Selector)?;
    machine.slots.make_good()?;
    let mut guest = machine.boot()?;
    for seconds in [10, 20] {
        for (slot, judge) in [("A", Judge::Firmware), ("B", Judge::Selector)] {
            guest.line(&format!("coracle: slot {slot} cannot be started: {}", judge.words()))?;
        }
        guest.line("coracle: no slot can be started")?;
        let waits = guest.line("coracle: waiting ")?;
        ensure!(waits.contains(&format!("waiting {seconds} s")), "{waits}");
    }
    guest.line("coracle: slot A (last good)").context("after the second pause")?;
    guest.cut_power();
    let record = machine.slots.record()?;
    ensure!(Slot::ALL.map(|slot| record.state(slot)) == [SlotState::Good; 2], "{record:?}");
    machine.slots.replace_boot(Slot::A, &whole)?;
    let mut guest = machine.boot()?;
    guest.line("coracle: slot A (last good)")?;
    guest.line("coracle: root is slot-a")?;
    guest.phase("boot")?;
    ensure!(machine.slots.record()?.booting() == Slot::A);
    Ok(())
}

#[test]
fn random_bytes_on_trial_are_refused_by_the_firmware_and_the_last_good_slot_runs() -> Result<()> {
    fails_its_trial(Arch::X86_64, "random-trial", Ruin::Random, Judge::Firmware)
}

#[test]
#[ignore = "long: six boots"]
fn whatever_became_of_a_boot_artefact_on_trial_the_last_good_slot_runs() -> Result<()> {
    for (ruin, judge) in RUINS {
        fails_its_trial(Arch::X86_64, "trial", ruin, judge)
            .with_context(|| format!("{ruin:?}, {judge:?}"))?;
    }
    Ok(())
}

#[test]
#[ignore = "long: twelve boots"]
fn whatever_became_of_a_committed_boot_artefact_the_other_slot_runs() -> Result<()> {
    for (ruin, judge) in RUINS {
        gives_way(Arch::X86_64, "committed", ruin, judge).with_context(|| format!("{ruin:?}, {judge:?}"))?;
    }
    Ok(())
}

#[test]
#[ignore = "long: pauses of half a minute"]
fn two_slots_that_cannot_be_started_are_told_and_tried_again_after_longer_and_longer_pauses() -> Result<()> {
    backs_off(Arch::X86_64)
}

#[test]
#[ignore = "long: an emulated machine of the other architecture"]
fn random_bytes_on_trial_are_refused_by_arm_firmware_too() -> Result<()> {
    fails_its_trial(Arch::Aarch64, "random-trial", Ruin::Random, Judge::Firmware)
}

#[test]
#[ignore = "long: an emulated machine of the other architecture"]
fn a_truncated_boot_artefact_on_trial_is_refused_by_arm_firmware_too() -> Result<()> {
    fails_its_trial(Arch::Aarch64, "truncated-trial", Ruin::Truncated, Judge::Firmware)
}

#[test]
#[ignore = "long: an emulated machine of the other architecture"]
fn random_bytes_in_the_committed_slot_give_way_to_the_other_one_under_arm_firmware_too() -> Result<()> {
    gives_way(Arch::Aarch64, "random-committed", Ruin::Random, Judge::Firmware)
}

#[test]
#[ignore = "long: an emulated machine of the other architecture"]
fn two_slots_that_cannot_be_started_are_told_under_arm_firmware_too() -> Result<()> {
    backs_off(Arch::Aarch64)
}
