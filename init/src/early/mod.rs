//! The first moments: from a bare kernel to a root in memory.
//!
//! The signed boot artefact carries everything that the first containers need, so that no driver, disk or check of a
//! module's signature stands between the kernel's start and theirs. What is larger is in the verified root image, which
//! [`crate::system`] mounts beside them.

mod api_mounts;
mod memory_root;

use crate::phase::{self, KernelLog, Phase, Weight};
use crate::power;
use crate::root;

const PHASES: [Phase<()>; 2] = [
    Phase { name: "api-mounts", weight: Weight::Needed, run: |()| api_mounts::run() },
    Phase { name: "memory-root", weight: Weight::Needed, run: |()| memory_root::enter() },
];

/// Runs the first phases as PID 1, then the root's.
pub fn run() -> ! {
    match phase::run(&PHASES, &mut (), &mut KernelLog) {
        Ok(()) => root::run(),
        Err(failed) => power::fail(&failed, None),
    }
}
