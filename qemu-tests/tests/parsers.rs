//! A short run of every fuzz target, the same on every machine: nothing that comes from outside makes a parser panic.
//! `fuzz/README.md` says how to run them for longer.

use coracle_qemu_tests::parsers::{self, Mutator, Parser};
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
