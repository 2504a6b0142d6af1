//! What a user sees of `coracle` when something is wrong: the message, the exit code, nothing half made in the output
//! directory, and a cache that the next run can use. Packages come from a mirror that is made and signed here; only
//! the real tools of a build are fetched, once, into the ordinary cache.
#![cfg(test)]

mod archives;
mod help;
mod interrupt;
mod limits;
mod locks;
mod manifest;
mod mirrors;
mod packages;
mod shop;

// The fixtures are shared with the unit tests: this is what they name relative to their own place.
use coracle::{debian::Pocket, digest};

#[expect(dead_code, reason = "the unit tests use the rest")]
#[path = "../../src/debian/fixture.rs"]
mod fixture;
#[path = "../../src/fetch/server.rs"]
mod server;
