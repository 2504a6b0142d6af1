//! From a root in memory to the verified root image: drivers, the slot, dm-verity. A job of PID 1, run while the first
//! containers start.

mod disk;
mod verity;

use crate::cmdline::{self, Verity};
use crate::fault::{Attempt, Fault};
use crate::kmsg::{self, Level};
use crate::modules::{Kernel, Loader};
use crate::phase::{self, KernelLog, Phase, Weight};
use crate::running::{self, Running};
use crate::sys::uevents::Uevents;
use coracle_block::{Access, Devices, meta};
use coracle_format::device::{self, EarlyConfig};
use disk::RootSlot;
use std::path::Path;
use std::process::ExitCode;

/// What the phases have found so far.
#[derive(Debug, Default)]
struct System {
    wait_ms: u64,
    loader: Loader,
    uevents: Option<Uevents>,
    verity: Option<Verity>,
    slot: Option<RootSlot>,
    /// Kernel name of the verified device.
    device: Option<String>,
}

const PHASES: [Phase<System>; 7] = [
    Phase { name: "early-config", weight: Weight::Needed, run: load_config },
    Phase { name: "modules-first", weight: Weight::Needed, run: load_first },
    Phase { name: "modules", weight: Weight::Needed, run: load_modules },
    Phase { name: "root-device", weight: Weight::Needed, run: find_disk },
    Phase { name: "slot-record", weight: Weight::Optional, run: publish_slot },
    Phase { name: "root-verity", weight: Weight::Needed, run: verity::run },
    Phase { name: "root-mount", weight: Weight::Needed, run: verity::mount_image },
];

/// Runs the phases. A phase that fails has said so in the kernel log.
pub fn run() -> ExitCode {
    match phase::run(&PHASES, &mut System::default(), &mut KernelLog) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn load_config(system: &mut System) -> Result<(), Fault> {
    let path = Path::new(device::EARLY_PATH);
    let bytes = coracle_block::read_limited(path, device::LIMIT_BYTES)?;
    let config: EarlyConfig = device::decode(&bytes).attempt("use", device::EARLY_PATH)?;
    system.wait_ms = u64::from(config.root_wait_ms);
    system.loader = Loader::new(config.modules);
    let cmdline = coracle_block::read_limited(Path::new("/proc/cmdline"), 64 << 10)?;
    let text = String::from_utf8_lossy(&cmdline);
    system.verity = Some(cmdline::parse_verity(&text).attempt("trust", "the kernel command line")?);
    Ok(())
}

/// Watchdog and crash recorder; PID 1 arms the watchdog when the kernel announces it.
#[expect(clippy::unnecessary_wraps, reason = "phases may fail, this one only warns")]
fn load_first(system: &mut System) -> Result<(), Fault> {
    warn(&system.loader.load_first(&mut Kernel).faults);
    Ok(())
}

fn load_modules(system: &mut System) -> Result<(), Fault> {
    // Listening begins before the first look: a device that appears in between is heard.
    system.uevents = Some(Uevents::open()?);
    warn(&system.loader.load_always(&mut Kernel).faults);
    // One look at the devices is enough: those that a driver brings up are announced.
    warn(&system.loader.load_for_present(&mut Kernel, Path::new("/sys")).faults);
    Ok(())
}

fn find_disk(system: &mut System) -> Result<(), Fault> {
    let (Some(verity), Some(uevents)) = (&system.verity, &system.uevents) else {
        return Err(Fault::new("find", "the root", "an earlier phase did not run"));
    };
    let slot = disk::wait_for(verity, uevents, &mut system.loader, system.wait_ms)?;
    let line = format!("root is {} on {}", slot.role.label(), slot.partition);
    kmsg::log(Level::Notice, &line);
    system.slot = Some(slot);
    Ok(())
}

/// Reads the slot record and tells everybody what runs.
fn publish_slot(system: &mut System) -> Result<(), Fault> {
    let found = system.slot.as_ref().and_then(|found| Some((found, running::slot_of(found.role)?)));
    let (found, slot) = found.ok_or("an earlier phase did not run").attempt("read", "the slot record")?;
    let disk = Devices::default().open(&found.disk, Access::Read)?;
    let current = meta::read_or_rebuild(&disk, &disk.read_table()?, Some(slot))?;
    if let Some([first, second]) = current.rebuilt {
        let line = format!("slot record made anew; copy 0: {first}; copy 1: {second}");
        kmsg::log(Level::Warning, &line);
    }
    Running::of(&found.disk, slot, &current).publish()
}

fn warn(faults: &[Fault]) {
    for fault in faults {
        kmsg::log(Level::Warning, &fault.line());
    }
}
