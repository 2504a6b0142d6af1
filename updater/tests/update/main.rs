//! Whole updates on model disks and image files: what is applied, what is refused, what a power cut leaves.
#![expect(clippy::tests_outside_test_module, reason = "the whole crate is a test")]

mod apply;
mod bad_input;
mod fixture;
mod memory;
mod power_cuts;
