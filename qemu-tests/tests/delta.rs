//! Machines that follow a channel with deltas over HTTP, left to themselves.

#![expect(clippy::tests_outside_test_module, reason = "the whole crate is a test")]

use anyhow::{Result, ensure};
use coracle::machine::Firmware;
use coracle_format::slot::Arch;
use coracle_qemu_tests::{Release, Server, Shop, Variant, Voyage};
use std::{
    fs,
    io::{self, Write as _},
    time::{Duration, Instant},
};

/// A first look comes a minute after the start, which takes its time.
const LOOK: Duration = Duration::from_mins(8);
/// How long a machine may take to compress a kernel again: it is emulated.
const KERNEL: Duration = Duration::from_hours(1);
/// The kernels that it has first and last.
const KERNELS: [&str; 2] = [
    "[kernel]\npackage = \"linux-image-6.12.116+deb13-cloud-amd64\"",
    "[kernel]\npackage = \"linux-image-6.12.117+deb13-cloud-amd64\"",
];
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

/// What a machine says of an update when all frames are in the slot.
struct Supplied {
    /// Bytes that it has taken from the server, millions.
    fetched: f64,
    /// Where the frames have come from.
    origins: String,
}

impl Supplied {
    fn parse(line: &str) -> Option<Self> {
        let (fetched, origins) = line.split_once(" MB fetched; frames: ")?;
        let fetched = fetched.split_whitespace().next_back()?.parse().ok()?;
        Some(Self { fetched, origins: origins.trim().to_owned() })
    }

    /// No frame has come from anywhere else.
    fn is_all_by_delta(&self) -> bool {
        self.origins.ends_with(" by the delta") && !self.origins.contains(',')
    }
}

/// Waits until the release on trial, the last, is kept.
fn is_kept(voyage: &mut Voyage) -> Result<()> {
    voyage.guest.phase("commit")?;
    let (state, _, version) = voyage.slot("B")?;
    ensure!((state.as_str(), version.as_str()) == ("good", "2.0.0"), "slot B is {state} with {version}");
    Ok(())
}

/// Waits until the machine has found the last release and has kept it.
fn takes_the_last(voyage: &mut Voyage) -> Result<Supplied> {
    let what = "where the frames have come from";
    let supplied = voyage.guest.vm().console.expect(what, LOOK, Supplied::parse)?;
    voyage.starts("B", "on trial")?;
    is_kept(voyage)?;
    Ok(supplied)
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
    let supplied = takes_the_last(&mut voyage)?;
    ensure!(supplied.is_all_by_delta(), "the frames came {}", supplied.origins);
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
    let Supplied { fetched, origins } = takes_the_last(&mut voyage)?;
    let from = |place: &str| origins.contains(place);
    ensure!(
        from(" from the bundle") && from(" from the running slot") && !from(" by the delta"),
        "the frames came {origins}"
    );
    let (deltas, bundles) = (asked(&server, ".delta"), asked(&server, ".bundle"));
    ensure!(deltas.is_empty(), "deltas were asked for");
    // Where the machine has the next frames itself, it closes the connection, and asks for what is behind them.
    ensure!(bundles.len() > 1 && bundles.is_sorted(), "the bundle was asked for from {bundles:?} on");
    let half = fs::metadata(&third.bundle)?.len() / 2_000_000;
    ensure!(fetched < f64::from(u32::try_from(half)?), "{fetched} MB were fetched, more than {half}");
    Ok(())
}

/// A machine that has found another kernel in its channel, and has kept it.
struct Renewed {
    supplied: Supplied,
    /// What it says beside that.
    notes: Vec<String>,
    /// What its web server was asked for.
    asked: String,
}

/// Lets a machine with so much memory follow a channel to another kernel.
fn renew(name: [&'static str; 2], update: &'static str, port: u16, memory_mib: u32) -> Result<Renewed> {
    let release = |number: usize, version| {
        let (name, more) = (name[number], KERNELS[number]);
        Variant { update, more, ..Variant::new(name, version, Arch::X86_64) }.build()
    };
    let (first, second) = (release(0, "1.0.0")?, release(1, "2.0.0")?);
    let shop = Shop::open(name[1], port)?;
    shop.publish(&first)?;
    shop.publish(&second)?;
    let mut voyage = Voyage::begin_from(first, Firmware::Direct, name[1], |_, setup| {
        setup.memory_mib = memory_mib;
        Ok(())
    })?;
    let mut notes = Vec::new();
    let console = &mut voyage.guest.vm().console;
    let begun = console.expect("the update", LOOK, |line| (line.trim() == "write").then(Instant::now))?;
    let supplied = console.expect("where the frames have come from", KERNEL, |line| {
        notes.extend(line.split_once("note: ").map(|(_, note)| note.to_owned()));
        Supplied::parse(line)
    })?;
    let Supplied { fetched, origins } = &supplied;
    writeln!(
        io::stdout(),
        "{memory_mib} MiB of memory: all frames in {:?}; {fetched} MB fetched; {origins}; {notes:?}",
        begun.elapsed()
    )?;
    voyage.starts("B", "on trial")?;
    let kernel = voyage.guest.line("Linux version ")?;
    ensure!(kernel.contains("Linux version 6.12.117"), "the kernel is {kernel}");
    is_kept(&mut voyage)?;
    Ok(Renewed { supplied, notes, asked: shop.access_log()? })
}

#[test]
#[ignore = "long: a kernel is compressed by an emulated machine"]
fn a_machine_with_enough_memory_makes_its_next_kernel_by_itself() -> Result<()> {
    let update = "url = \"http://10.0.2.2:18477/repo\"\npoll = \"1 min\"";
    let renewed = renew(["kernel-v1", "kernel-v2"], update, 18_477, 1536)?;
    let Renewed { supplied, notes, asked } = renewed;
    ensure!(supplied.is_all_by_delta(), "the frames came {}: {notes:?}", supplied.origins);
    ensure!(notes.is_empty(), "the machine says {notes:?}");
    ensure!(asked.contains(".delta ") && !asked.contains(".bundle "), "it has asked for more:\n{asked}");
    Ok(())
}

#[test]
#[ignore = "long: a machine that follows a channel takes its time"]
fn a_machine_with_little_memory_says_so_and_takes_the_kernel_from_the_bundle() -> Result<()> {
    let update = "url = \"http://10.0.2.2:18478/repo\"\npoll = \"1 min\"";
    let renewed = renew(["small-v1", "small-v2"], update, 18_478, 256)?;
    let Renewed { supplied: Supplied { origins, .. }, notes, asked } = renewed;
    ensure!(
        matches!(&notes[..], [note] if note.contains(" MiB of memory, and ")),
        "the machine says {notes:?}; the frames came {origins}"
    );
    ensure!(
        origins.contains(" by the delta") && origins.contains(" from the bundle"),
        "the frames came {origins}"
    );
    ensure!(
        asked.contains(".delta ") && asked.contains(".bundle "),
        "it has asked for something else:\n{asked}"
    );
    Ok(())
}
