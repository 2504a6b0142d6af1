//! The machine around the containers: its network, and what a damaged root image does to it.

#![expect(clippy::tests_outside_test_module, reason = "the whole crate is a test")]

use anyhow::{Context as _, Result, ensure};
use coracle::{launch::copy_disk, machine::Firmware};
use coracle_format::{layout::Role, slot::Arch};
use coracle_qemu_tests::{
    Guest, MILESTONE, Setup, Variant, Voyage, get, image, image_of, scratch,
    spoil::damage_root,
    voyage::{NEW, OLD},
};

#[test]
fn a_fixed_address_is_set_with_its_route_and_ipv6_configures_itself() -> Result<()> {
    let image = image_of(include_str!("../images/fixed.toml"), "fixed")?;
    let mut guest = Guest::boot(&image, "network", &Setup::new(Firmware::Direct, &[8080]))?;
    guest.line("inet 10.0.2.15/24")?;
    guest.line("default via 10.0.2.2")?;
    guest.line("nameserver 10.0.2.3")?;
    guest.line("inet6 fec0:")?;
    let answer = get(guest.port(8080)?, "/hostname", MILESTONE)?;
    ensure!(answer.contains("200 OK"), "unexpected answer: {answer}");
    guest.power_off().map(drop)
}

#[test]
fn a_flipped_byte_of_the_root_image_is_never_read_and_marks_the_slot_as_damaged() -> Result<()> {
    let image = image("hello")?;
    let disk = scratch("hello")?.join("damaged/disk.raw");
    std::fs::create_dir_all(disk.parent().context("no directory")?)?;
    copy_disk(&image.disk, &disk, 1 << 30)?;
    damage_root(&disk, Role::SlotA)?;
    let setup = Setup { disk: Some(disk), ..Setup::new(Firmware::Direct, &[]) };
    let mut guest = Guest::boot(&image, "damaged", &setup)?;
    guest.line("root is slot-a")?;
    guest.line("root image is damaged: block")?;
    // There is no other release: the machine says so, and does not start again and again.
    guest.line("slot A is damaged and nothing else can be started: slot B is empty")?;
    guest.line("rebooting in 300 s").map(drop)
}

#[test]
fn a_machine_whose_running_release_is_damaged_goes_on_with_the_other_one() -> Result<()> {
    let mut voyage = Voyage::begin(Firmware::Direct, Arch::X86_64, "damaged-release")?;
    voyage.update(&Variant::new("v2", NEW, Arch::X86_64).build()?)?;
    voyage.starts("B", "on trial")?;
    voyage.guest.phase("commit")?;
    voyage.guest.vm().cut_power();
    damage_root(&voyage.disk(), Role::SlotB)?;
    voyage.cut_power()?;
    voyage.starts("B", "last good")?;
    voyage.guest.line("root image is damaged: block")?;
    voyage.guest.line("slot B is damaged, slot A is started next")?;
    voyage.guest.line("coracle: slot A (")?;
    voyage.guest.phase("container-ledger")?;
    ensure!(voyage.slot("B")?.0 == "damaged", "slot B: {:?}", voyage.slot("B")?);
    ensure!(
        voyage.slot("A")? == ("good".to_owned(), None, OLD.to_owned()),
        "slot A: {:?}",
        voyage.slot("A")?
    );
    // What was damaged is written anew by the next update.
    voyage.update(&Variant::new("v3", "3.0.0", Arch::X86_64).build()?)?;
    voyage.starts("B", "on trial")?;
    voyage.guest.phase("commit").map(drop)
}
