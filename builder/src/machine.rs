//! Virtual machines that boot what was built: QEMU's command line, its console, its monitor.
//!
//! [`spec`] says what the machine is (pure), [`vm`] runs it, [`console`] reads what it says, [`qmp`] presses its buttons.

pub mod accel;
pub mod console;
pub mod qmp;
pub mod spec;
pub mod vm;

pub use accel::Accel;
pub use console::{Console, Phase};
pub use spec::{Boot, Firmware, Forward, Outside, Protocol, Spec};
pub use vm::Vm;
