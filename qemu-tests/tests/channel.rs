//! A machine that follows a channel, behind a real web server, left to itself.

#![expect(clippy::tests_outside_test_module, reason = "the whole crate is a test")]

use anyhow::{Result, ensure};
use coracle::{keys, machine::Firmware};
use coracle_format::slot::Arch;
use coracle_qemu_tests::{Shop, Variant, Voyage};
use std::time::Duration;

/// Where the web server listens: it is in the images.
const PORT: u16 = 18_474;
const UPDATE: &str = "url = \"http://10.0.2.2:18474/repo\"\npoll = \"1 min\"";
/// A first look comes up to five minutes after the start, and a release takes its time to be written.
const NEXT: Duration = Duration::from_mins(12);
/// Seconds until the wave that the machine is in.
const WAVE: u64 = 3600;
const SICK: &str = r#"
[[health]]
name = "nobody-listens"
tcp = "127.0.0.1:9"
"#;

fn release(name: &'static str, version: &'static str) -> Variant {
    Variant { update: UPDATE, ..Variant::new(name, version, Arch::X86_64) }
}

/// Waits for a line of the console.
fn sees(voyage: &mut Voyage, text: &str) -> Result<()> {
    let what = format!("the line {text:?}");
    let found = |line: &str| line.contains(text).then_some(());
    Ok(voyage.guest.vm().console.expect(&what, NEXT, found)?)
}

#[test]
#[ignore = "long: a machine that looks by itself takes its time, four times"]
fn a_machine_takes_what_its_channel_offers_leaves_what_is_bad_and_takes_the_next() -> Result<()> {
    let shop = Shop::open("left-to-itself", PORT)?;
    let wave = keys::now() + WAVE;
    shop.publish_from(&release("channel-v2", "2.0.0").build()?, wave)?;
    let first = release("channel-v1", "1.0.0").build()?;
    let mut voyage = Voyage::begin_from(first, Firmware::Direct, "channel", |_, _| Ok(()))?;
    sees(&mut voyage, "release 2.0.0 waits for its wave")?;
    ensure!(voyage.slot("B")?.0 == "empty", "slot B was written before the wave");
    shop.refresh(wave)?;
    sees(&mut voyage, "coracle: slot B (on trial)")?;
    voyage.guest.phase("commit")?;
    ensure!(voyage.slot("B")?.2 == "2.0.0", "slot B has {:?}", voyage.slot("B")?);

    let bad = Variant { deadline: "60 s", more: SICK, ..release("channel-v3", "3.0.0") };
    shop.publish(&bad.build()?)?;
    sees(&mut voyage, "coracle: slot A (on trial)")?;
    sees(&mut voyage, "coracle: slot B (last good)")?;
    sees(&mut voyage, "release 3.0.0 has failed on this machine")?;
    let channel = &voyage.status()?["channel"];
    ensure!(channel["state"] == "nothing" && channel["version"] == "3.0.0", "the status has {channel}");

    shop.publish(&release("channel-v4", "4.0.0").build()?)?;
    sees(&mut voyage, "coracle: slot A (on trial)")?;
    voyage.guest.phase("commit")?;
    ensure!(voyage.slot("A")?.2 == "4.0.0", "slot A has {:?}", voyage.slot("A")?);
    Ok(())
}

#[test]
fn a_machine_takes_what_a_stick_brings_that_is_plugged_in_and_asks_no_server() -> Result<()> {
    let shop = Shop::without_server("on-a-stick")?;
    shop.publish(&release("channel-v2", "2.0.0").build()?)?;
    let first = release("channel-v1", "1.0.0").build()?;
    let mut voyage = Voyage::begin_from(first, Firmware::Direct, "stick", |_, setup| {
        setup.has_port = true;
        Ok(())
    })?;
    // The service that listens was there before.
    voyage.guest.phase("boot")?;
    voyage.guest.vm().qmp()?.plug(&shop.stick()?)?;
    sees(&mut voyage, "coracle: slot B (on trial)")?;
    voyage.guest.phase("commit")?;
    ensure!(voyage.slot("B")?.2 == "2.0.0", "slot B has {:?}", voyage.slot("B")?);
    ensure!(voyage.slot("A")?.2 == "1.0.0", "slot A has {:?}", voyage.slot("A")?);
    voyage.guest.scan("what was kept on state", |line| line.contains("ledger: record ").then_some(()))
}
