//! `coracle-update`: the updater of a Coracle machine. See `coracle_update`.
#![forbid(unsafe_code)]

fn main() {}
