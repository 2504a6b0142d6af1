//! A short run of every fuzz target, the same on every machine: nothing that comes from outside makes a parser panic.
//! `fuzz/README.md` says how to run them for longer.

#![expect(clippy::tests_outside_test_module, clippy::unwrap_used, reason = "the whole crate is a test")]

use coracle::{
    debian::{
        index,
        release::{self, Release},
    },
    image::uki,
    kernel::{self, modinfo},
    machine::Phase,
};
use coracle_format::{
    bundle::{Index, Metadata},
    control, device,
    gpt::{Geometry, Place, Table},
    slot::Descriptor,
};
use coracle_manifests::Lock;
use coracle_qemu_tests::parsers::{self, Mutator, Parser};
use coracle_rollout::{Rollout, windows::Windows};
use coracle_services::{clock, ipc, network};
use coracle_trust::{Role, document::Document, root::Root};
use std::{
    panic::{self, AssertUnwindSafe},
    time::{Duration, Instant},
};

/// Damaged inputs per parser; fewer where one takes long.
const INPUTS: u64 = 4000;
/// How long one parser may be tried.
const TIME: Duration = Duration::from_millis(600);

fn survives(parser: &Parser, input: &[u8]) -> bool {
    panic::catch_unwind(AssertUnwindSafe(|| (parser.parse)(input))).is_ok()
}

#[test]
fn no_parser_of_outside_bytes_panics() {
    let mut failed = Vec::new();
    for parser in parsers::ALL {
        let seeds = (parser.seeds)();
        let start = Instant::now();
        let damaged = (0..INPUTS).map(|number| Mutator::new(number).damaged(&seeds));
        let inputs = seeds.iter().cloned().chain([Vec::new()]).chain(damaged);
        let failure = inputs.take_while(|_| start.elapsed() < TIME).find(|input| !survives(parser, input));
        if let Some(input) = failure {
            failed.push(format!("{}: {:?}", parser.name, input.escape_ascii().to_string()));
        }
    }
    assert!(failed.is_empty(), "parsers that panicked, and on what:\n{}", failed.join("\n"));
}

#[test]
fn every_parser_has_seeds_and_a_fuzz_target() {
    let targets = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/fuzz_targets");
    let manifest =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/Cargo.toml")).unwrap();
    for parser in parsers::ALL {
        let seeds = (parser.seeds)();
        assert!(
            !seeds.is_empty() && seeds.iter().all(|seed| !seed.is_empty()),
            "{} has no seeds",
            parser.name
        );
        let file = format!("{targets}/{}.rs", parser.name);
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(text.contains(&format!("\"{}\"", parser.name)), "{file} does not call its parser");
        let entry = format!("path = \"fuzz_targets/{}.rs\"", parser.name);
        assert!(manifest.contains(&entry), "fuzz/Cargo.toml has no target {}", parser.name);
    }
}

/// Whether every seed of a parser satisfies `accepts`.
fn all(name: &str, accepts: impl Fn(&[u8]) -> bool) {
    let parser = parsers::find(name).unwrap();
    for (number, seed) in (parser.seeds)().iter().enumerate() {
        assert!(accepts(seed), "seed {number} of {name} is refused");
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn seeds_get_past_the_first_checks_of_their_parsers() {
    let geometry = Geometry::of_bytes(512, 1 << 30);
    all("gpt", |seed| {
        let (header, entries) = seed.split_at(512);
        [Place::Primary, Place::Backup]
            .iter()
            .any(|place| Table::parse(geometry, *place, header, entries).is_ok())
    });
    all("slot_descriptor", |seed| Descriptor::parse(seed, 256 << 20).is_ok());
    all("slot_record", |seed| coracle_slots::parse(seed).is_ok());
    all("last_words", |seed| coracle_slots::words::parse(seed).is_ok());
    all("history", |seed| coracle_slots::history::entries(seed).count() == 1);
    all("device_config", |seed| device::decode::<device::EarlyConfig>(seed).is_ok());
    all("ipc", |seed| ipc::Message::decode(seed).is_some());
    all("control", |seed| {
        let mut reader = control::Reader::new();
        reader.push(seed);
        reader.take().is_some() || control::Request::decode(seed).is_some()
    });
    all("bundle", |seed| Index::parse(seed).or_else(|_| Index::parse(&seed[64..])).is_ok());
    all("trust", |seed| {
        Root::read(seed).is_ok()
            || Document::parse(Role::Targets, seed).is_ok()
            || Metadata::parse(seed).is_ok()
    });
    all("channel", parsers::is_trusted_channel);
    all("rollout", |seed| Rollout::parse(seed).is_ok());
    all("window", |seed| Windows::parse(&text(seed).lines().collect::<Vec<_>>()).is_ok());
    all("dhcp", |seed| network::dhcp_lease(network::dhcp_message(seed).unwrap_or(seed)).is_some());
    all("sntp", |seed| clock::sntp_sample(seed, 0x0102_0304_0506_0708, 1_763_000_000).is_some());
    // The answer that refuses, the last but one, tells nothing by itself.
    let told = |seed: &[u8]| {
        !network::netlink_events(seed).is_empty()
            || network::router_name_servers(seed).is_some()
            || seed.get(4) == Some(&2)
    };
    all("netlink", told);
    all("lock", |seed| Lock::parse(&text(seed)).is_ok());
    all("console", |seed| Phase::parse(&text(seed)).is_some());
    all("packages", |seed| index::compact(&text(seed)).is_ok_and(|list| list.contains("Depends: ")));
    all("release", |seed| Release::parse(&text(seed)).is_ok() || release::parse_date(&text(seed)).is_ok());
    all("uki", |seed| uki::Uki::parse(seed).is_ok());
    all("pieces", |seed| {
        let found = coracle::delta::outline(&[], seed);
        let has = |name: &str| found.iter().any(|(own, _)| own == name);
        has("kernel") && has("initramfs/lib/module.ko")
    });
    all("kernel", |seed| {
        kernel::version(seed).is_ok() || modinfo::parse("m", seed).is_ok_and(|info| !info.pre.is_empty())
    });
}
