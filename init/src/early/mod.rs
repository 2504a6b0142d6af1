//! The initramfs: from a bare kernel to the verified root.

mod api_mounts;
mod disk;
mod switch;
mod verity;

use crate::cmdline::{self, Verity};
use crate::fault::{Attempt, Fault};
use crate::kmsg::{self, Level};
use crate::modules::{Kernel, Loader};
use crate::phase::{self, KernelLog, Phase, Weight};
use crate::power;
use crate::root;
use crate::sys::uevents::Uevents;
use crate::sys::watchdog::Watchdog;
use coracle_format::device::{self, EarlyConfig};
use disk::RootSlot;
use std::path::Path;

/// What the phases have found so far.
#[derive(Debug, Default)]
struct Early {
    config: Option<EarlyConfig>,
    loader: Loader,
    uevents: Option<Uevents>,
    verity: Option<Verity>,
    watchdog: Option<Watchdog>,
    slot: Option<RootSlot>,
    /// Kernel name of the verified root device.
    root: Option<String>,
}

const PHASES: [Phase<Early>; 9] = [
    Phase { name: "api-mounts", weight: Weight::Needed, run: |_| api_mounts::run() },
    Phase { name: "early-config", weight: Weight::Needed, run: load_config },
    Phase {
        name: "modules-first",
        weight: Weight::Needed,
        run: |early| {
            warn(&early.loader.load_first(&mut Kernel).faults);
            Ok(())
        },
    },
    Phase { name: "watchdog", weight: Weight::Optional, run: arm_watchdog },
    Phase { name: "modules", weight: Weight::Needed, run: load_modules },
    Phase { name: "root-device", weight: Weight::Needed, run: find_disk },
    Phase { name: "root-verity", weight: Weight::Needed, run: verity::run },
    Phase { name: "root-mount", weight: Weight::Needed, run: verity::mount_root },
    Phase { name: "switch-root", weight: Weight::Needed, run: |_| switch::to_root() },
];

/// Runs the initramfs' part as PID 1, then the root's.
pub fn run() -> ! {
    let mut early = Early::default();
    match phase::run(&PHASES, &mut early, &mut KernelLog) {
        Ok(()) => {
            let watchdog = early.watchdog.take();
            drop(early);
            root::run(watchdog)
        }
        Err(failed) => power::fail(&failed, early.config.map(|config| config.on_failure)),
    }
}

fn load_config(early: &mut Early) -> Result<(), Fault> {
    let path = Path::new(device::EARLY_PATH);
    let bytes = coracle_block::read_limited(path, device::LIMIT_BYTES)?;
    let mut config: EarlyConfig = device::decode(&bytes).attempt("use", device::EARLY_PATH)?;
    early.loader = Loader::new(std::mem::take(&mut config.modules));
    early.config = Some(config);
    let cmdline = coracle_block::read_limited(Path::new("/proc/cmdline"), 64 << 10)?;
    let text = String::from_utf8_lossy(&cmdline);
    early.verity = Some(cmdline::parse_verity(&text).attempt("trust", "the kernel command line")?);
    Ok(())
}

fn arm_watchdog(early: &mut Early) -> Result<(), Fault> {
    let seconds = early.config.as_ref().map_or(0, |config| config.watchdog_seconds);
    if seconds != 0 {
        early.watchdog = Watchdog::arm(seconds)?;
        if early.watchdog.is_none() {
            kmsg::log(Level::Warning, "no watchdog yet: there is none, or its driver is in the root");
        }
    }
    Ok(())
}

fn load_modules(early: &mut Early) -> Result<(), Fault> {
    // Listening begins before the first look: a device that appears in between is heard.
    early.uevents = Some(Uevents::open()?);
    warn(&early.loader.load_always(&mut Kernel).faults);
    // One look at the devices is enough: those that a driver brings up are announced.
    warn(&early.loader.load_for_present(&mut Kernel, Path::new("/sys")).faults);
    Ok(())
}

fn find_disk(early: &mut Early) -> Result<(), Fault> {
    let wait_ms = early.config.as_ref().map_or(0, |config| u64::from(config.root_wait_ms));
    let (Some(verity), Some(uevents)) = (&early.verity, &early.uevents) else {
        return Err(Fault::new("find", "the root", "an earlier phase did not run"));
    };
    let slot = disk::wait_for(verity, uevents, &mut early.loader, wait_ms)?;
    let line = format!("root is {} on {}", slot.role.label(), slot.partition);
    kmsg::log(Level::Notice, &line);
    early.slot = Some(slot);
    Ok(())
}

fn warn(faults: &[Fault]) {
    for fault in faults {
        kmsg::log(Level::Warning, &fault.line());
    }
}
