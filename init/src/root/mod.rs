//! The little that PID 1 must do before services start.

mod cgroups;
mod mounts;
mod settings;

use crate::fault::{Attempt, Fault};
use crate::modules::Loader;
use crate::phase::{self, Failed, KernelLog, Phase, Weight};
use crate::power;
use crate::supervisor;
use coracle_format::device::{self, DeviceConfig};
use std::path::Path;

/// What the supervisor starts with.
#[derive(Debug)]
pub struct Root {
    /// What the builder compiled from the manifest.
    pub config: DeviceConfig,
    /// The modules that the root loads: asked which devices have a driver among them.
    pub loader: Loader,
}

const CONFIG: [Phase<Option<DeviceConfig>>; 1] = [Phase {
    name: "device-config",
    weight: Weight::Needed,
    run: |config| load_config().map(|it| *config = Some(it)),
}];

const PHASES: [Phase<Root>; 5] = [
    Phase { name: "mounts", weight: Weight::Needed, run: |_| mounts::run() },
    Phase {
        name: "clock-floor",
        weight: Weight::Optional,
        run: |root| settings::raise_clock(root.config.clock.floor),
    },
    Phase { name: "cgroups", weight: Weight::Needed, run: |_| cgroups::run() },
    Phase {
        name: "sysctl",
        weight: Weight::Optional,
        run: |root| settings::apply_sysctl(&root.config.sysctl),
    },
    Phase { name: "hostname", weight: Weight::Optional, run: |root| settings::first_hostname(&root.config) },
];

/// Runs the root's part as PID 1, until the machine stops.
pub(crate) fn run() -> ! {
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
    let mut root = Root { config, loader };
    let failed = match phase::run(&PHASES, &mut root, &mut KernelLog) {
        Ok(()) => supervisor::run(root),
        Err(failed) => failed,
    };
    power::fail(&failed, Some(policy))
}

/// Reads the device configuration.
pub fn load_config() -> Result<DeviceConfig, Fault> {
    let bytes = coracle_block::read_limited(Path::new(device::DEVICE_PATH), device::LIMIT_BYTES)?;
    device::decode(&bytes).attempt("use", device::DEVICE_PATH)
}
