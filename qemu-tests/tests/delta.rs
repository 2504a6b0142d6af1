//! Machines that follow a channel with deltas over HTTP, left to themselves.

#![expect(clippy::tests_outside_test_module, reason = "the whole crate is a test")]

use anyhow::{Result, ensure};
use coracle::machine::Firmware;
use coracle_format::slot::Arch;
use coracle_qemu_tests::{Release, Server, Shop, Variant, Voyage};
use std::{fs, time::Duration};

/// A first look comes up to five minutes after the start.
const LOOK: Duration = Duration::from_mins(8);
/// What the releases have in their container beside what all have.
const NOTES: [&str; 3] = [
    "[[container.file]]\npath = \"/note\"\ncontent = \"the first\"",
    "[[container.file]]\npath = \"/note\"\ncontent = \"one of three\"",
    "[[container.file]]\npath = \"/note\"\ncontent = \"one of three, the last\"",
];

/// Three releases that follow a channel.
fn releases(names: [&'static str; 3], update: &'static str) -> Result<[Release; 3]> {
    let release = |number: usize, version| {
        let (name, more) = (names[number], NOTES[number]);
        Variant { update, more, ..Variant::new(name, version, Arch::X86_64) }.build()
    };
    Ok([release(0, "1.0.0")?, release(1, "1.1.0")?, release(2, "2.0.0")?])
}

/// The channel of these releases, with a delta to each from the one before it alone; and its server.
fn channel(name: &str, releases: &[Release; 3], port: u16) -> Result<(Shop, Server)> {
    let mut shop = Shop::without_server(name)?;
    shop.deltas = 1;
    for release in releases {
        shop.publish(release)?;
    }
    let server = shop.serve_on(port)?;
    Ok((shop, server))
}

/// Waits until the machine has found the last release and has kept it; where it says that the frames have come from.
fn takes_the_last(voyage: &mut Voyage) -> Result<String> {
    let origins = voyage.guest.vm().console.expect("where the frames have come from", LOOK, |line| {
        line.split_once(" fetched; frames: ").map(|(_, origins)| origins.trim().to_owned())
    })?;
    voyage.starts("B", "on trial")?;
    voyage.guest.phase("commit")?;
    let (state, _, version) = voyage.slot("B")?;
    ensure!((state.as_str(), version.as_str()) == ("good", "2.0.0"), "slot B is {state} with {version}");
    Ok(origins)
}

/// From where on the files of a kind were asked for.
fn asked(server: &Server, ending: &str) -> Vec<u64> {
    server.asked().iter().filter(|asked| asked.name.ends_with(ending)).map(|asked| asked.from).collect()
}

#[test]
fn a_machine_takes_the_delta_of_its_channel_and_nothing_of_the_bundle() -> Result<()> {
    let update = "url = \"http://10.0.2.2:18475/repo\"\npoll = \"1 min\"";
    let releases = releases(["delta-v1", "delta-v2", "delta-v3"], update)?;
    let (_shop, server) = channel("delta", &releases, 18_475)?;
    let [_, second, _] = releases;
    let mut voyage = Voyage::begin_from(second, Firmware::Direct, "channel-delta", |_, _| Ok(()))?;
    let origins = takes_the_last(&mut voyage)?;
    ensure!(origins.ends_with(" by the delta") && !origins.contains(','), "the frames came {origins}");
    let (deltas, bundles) = (asked(&server, ".delta"), asked(&server, ".bundle"));
    ensure!(deltas == [0] && bundles.is_empty(), "deltas from {deltas:?}, bundles from {bundles:?}");
    Ok(())
}

#[test]
fn a_machine_without_a_delta_takes_of_the_bundle_what_its_running_slot_does_not_have() -> Result<()> {
    let update = "url = \"http://10.0.2.2:18476/repo\"\npoll = \"1 min\"";
    let releases = releases(["bundle-v1", "bundle-v2", "bundle-v3"], update)?;
    let (_shop, server) = channel("bundle", &releases, 18_476)?;
    let [first, _, third] = releases;
    let mut voyage = Voyage::begin_from(first, Firmware::Direct, "channel-bundle", |_, _| Ok(()))?;
    let origins = takes_the_last(&mut voyage)?;
    let from = |place: &str| origins.contains(place);
    ensure!(
        from(" from the bundle") && from(" from the running slot") && !from(" by the delta"),
        "the frames came {origins}"
    );
    let (deltas, bundles) = (asked(&server, ".delta"), asked(&server, ".bundle"));
    ensure!(deltas.is_empty() && !bundles.is_empty(), "deltas from {deltas:?}, bundles from {bundles:?}");
    let (sent, whole) = (server.sent(), fs::metadata(&third.bundle)?.len());
    ensure!(sent < whole / 2, "{sent} bytes of a bundle of {whole} were sent, from {bundles:?} on");
    Ok(())
}
