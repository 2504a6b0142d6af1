//! PID 1 of the root: the little that must be done before services start.

mod cgroups;
mod mounts;
mod settings;

use crate::fault::{Attempt, Fault};
use crate::kmsg::{self, Level};
use crate::modules::{Kernel, Loader};
use crate::phase::{self, Failed, KernelLog, Phase, Weight};
use crate::power;
use crate::supervisor;
use crate::sys::watchdog::Watchdog;
use coracle_format::device::{self, DeviceConfig};
use std::path::Path;

/// What the supervisor starts with.
#[derive(Debug)]
pub struct Root {
    /// What the builder compiled from the manifest.
    pub config: DeviceConfig,
    /// The modules of the root; those that are always needed are loaded.
    pub loader: Loader,
    /// The armed watchdog.
    pub watchdog: Option<Watchdog>,
}

const CONFIG: [Phase<Option<DeviceConfig>>; 1] = [Phase {
    name: "device-config",
    weight: Weight::Needed,
    run: |config| load_config().map(|it| *config = Some(it)),
}];

const PHASES: [Phase<Root>; 7] = [
    Phase { name: "mounts", weight: Weight::Needed, run: |_| mounts::run() },
    Phase { name: "watchdog-kept", weight: Weight::Optional, run: keep_watchdog },
    Phase {
        name: "clock-floor",
        weight: Weight::Optional,
        run: |root| settings::raise_clock(root.config.clock.floor),
    },
    Phase { name: "modules-always", weight: Weight::Optional, run: load_modules },
    Phase { name: "cgroups", weight: Weight::Needed, run: |_| cgroups::run() },
    Phase {
        name: "sysctl",
        weight: Weight::Optional,
        run: |root| settings::apply_sysctl(&root.config.sysctl),
    },
    Phase { name: "hostname", weight: Weight::Optional, run: |root| settings::first_hostname(&root.config) },
];

/// Runs the root's part as PID 1, until the machine stops.
pub(crate) fn run(watchdog: Option<Watchdog>) -> ! {
    let mut config = None;
    let failed = phase::run(&CONFIG, &mut config, &mut KernelLog).err();
    let (Some(config), None) = (config, &failed) else {
        let none = || Failed {
            phase: "device-config",
            fault: Fault::new("read", "the configuration", "there is none"),
        };
        power::fail(&failed.unwrap_or_else(none), None);
    };
    let policy = config.on_failure;
    let loader = Loader::new(config.modules.clone());
    let mut root = Root { config, loader, watchdog };
    let failed = match phase::run(&PHASES, &mut root, &mut KernelLog) {
        Ok(()) => supervisor::run(root),
        Err(failed) => failed,
    };
    power::fail(&failed, Some(policy))
}

/// Reads the device configuration from the verified root.
pub fn load_config() -> Result<DeviceConfig, Fault> {
    let bytes = coracle_block::read_limited(Path::new(device::DEVICE_PATH), device::LIMIT_BYTES)?;
    device::decode(&bytes).attempt("use", device::DEVICE_PATH)
}

fn keep_watchdog(root: &mut Root) -> Result<(), Fault> {
    match &root.watchdog {
        Some(watchdog) => {
            watchdog.feed();
            watchdog.set_timeout(root.config.watchdog_seconds)
        }
        None => Ok(()),
    }
}

/// What containers may need from the first moment (overlay, for one) is loaded before services start; drivers come
/// later, beside them.
fn load_modules(root: &mut Root) -> Result<(), Fault> {
    let mut faults = root.loader.load_first(&mut Kernel).faults;
    faults.extend(root.loader.load_always(&mut Kernel).faults);
    if root.watchdog.is_none() && root.config.watchdog_seconds != 0 {
        root.watchdog = Watchdog::arm(root.config.watchdog_seconds)?;
    }
    let mut faults = faults.into_iter();
    let first = faults.next();
    for fault in faults {
        kmsg::log(Level::Warning, &fault.line());
    }
    first.map_or(Ok(()), Err)
}
