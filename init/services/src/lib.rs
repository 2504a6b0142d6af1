//! What PID 1 supervises, each its own process of one multi-call static binary: network, clock, containers.
#![forbid(unsafe_code)]

pub mod ipc;
