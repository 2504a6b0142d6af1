//! Virtual machines that boot what was built: QEMU's command line, its console, its monitor.
//!
//! [`spec`] says what the machine is (pure), [`vm`] runs it, [`console`] reads what it says, [`qmp`] presses its buttons.
//! `keeper` starts QEMU, again after every reset where the host plays the boot selector (`selection`); `memory` is what
//! survives between the two, `watchdog` what resets a machine that hangs before it has one of its own.

pub mod accel;
pub mod console;
mod keeper;
mod memory;
pub mod qmp;
pub(crate) mod selection;
pub mod spec;
pub mod vm;
mod watchdog;
mod write_log;

pub use accel::Accel;
pub use console::{Console, Phase};
pub use spec::{Boot, Firmware, Forward, Outside, Parts, Protocol, Selection, Spec, VarsLock};
pub use vm::Vm;
