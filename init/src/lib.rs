//! PID 1 of a Coracle machine.
//!
//! One static binary in the initramfs, started two ways:
//! - as `/init`: kernel modules, dm-verity, switch to the root ([`early`]), then, still the same process, PID 1 of the
//!   root: mounts, and supervision of our services until the machine stops ([`root`], [`supervisor`]);
//! - as `coracle-init job NAME`, a short-lived child of PID 1 for what may block: the `state` file system, late kernel
//!   modules, the last sync ([`job`]).
//!
//! PID 1 parses nothing but the kernel command line's root hash, the slot record, partition tables, and a device
//! configuration compiled by the builder; no network data ever. `unsafe` stands only in [`sys`].
//!
//! # Signals
//! `SIGTERM` and `SIGPWR` power off, `SIGINT` reboots (the kernel sends it for Ctrl-Alt-Del). The power button powers
//! off. Every stop is ordered; see [`supervisor`].

pub mod cmdline;
pub mod crash;
pub mod early;
pub mod fault;
pub mod glob;
pub mod hex;
pub mod job;
pub mod journal;
pub mod kmsg;
pub mod modules;
pub mod phase;
pub mod power;
pub mod ring;
pub mod root;
pub mod running;
pub mod supervisor;
#[expect(unsafe_code, reason = "ioctls and physical memory have no safe wrapper")]
pub mod sys;
pub mod system;
pub mod uevent;

use std::process::ExitCode;

/// Runs the part that this process is for. As PID 1 it never returns.
pub fn start() -> ExitCode {
    power::report_panics();
    if std::process::id() != 1 {
        return job::run(std::env::args_os().skip(1));
    }
    // PID 1 takes nothing from its arguments: whoever loads the kernel could have added them.
    early::run()
}
