//! The device configuration, compiled from the manifest.

use crate::error::{Error, Kind, Result};
use coracle_format::device::{self, Clock, Container, DeviceConfig, EarlyConfig, Module, OnFailure};
use coracle_manifests::{
    device_network, device_ntp,
    manifest::{Manifest, OnFailure as Written},
};

/// How long the initramfs waits for the disk.
const ROOT_WAIT_MS: u32 = 30_000;

/// The part in the initramfs, encoded.
pub(super) fn early(modules: Vec<Module>) -> Result<Vec<u8>> {
    let config = EarlyConfig { root_wait_ms: ROOT_WAIT_MS, modules };
    device::encode(&config).ok_or_else(too_large)
}

/// The part in the root, encoded. `epoch` is the newest signed date of the build: the clock's floor.
pub(super) fn device(
    manifest: &Manifest,
    modules: Vec<Module>,
    containers: Vec<Container>,
    epoch: u64,
) -> Result<Vec<u8>> {
    let system = &manifest.system;
    let config = DeviceConfig {
        image_name: manifest.image.name.as_str().to_owned(),
        image_version: manifest.image.version.as_str().to_owned(),
        on_failure: on_failure(manifest),
        hostname: system.hostname.as_ref().map_or_else(String::new, |name| name.as_str().to_owned()),
        modules,
        watchdog_seconds: watchdog(manifest),
        sysctl: system
            .sysctl
            .iter()
            .map(|(name, value)| (name.as_str().replace('.', "/"), value.clone()))
            .collect(),
        network: device_network(manifest),
        clock: Clock { floor: epoch, ntp: device_ntp(manifest) },
        containers,
        stop_seconds: seconds(system.stop_timeout.0),
        update: None,
        checks: Vec::new(),
        control: None,
    };
    device::encode(&config).ok_or_else(too_large)
}

fn too_large() -> Error {
    let limit = device::LIMIT_BYTES;
    Error::new(Kind::TooLarge, format!("the device configuration has more than {limit} bytes"))
        .hint("declare fewer containers, or put long values into files")
}

fn on_failure(manifest: &Manifest) -> OnFailure {
    match manifest.system.on_failure {
        Written::Reboot => OnFailure::Reboot,
        Written::PowerOff => OnFailure::PowerOff,
    }
}

fn watchdog(manifest: &Manifest) -> u16 {
    seconds(manifest.system.watchdog.0)
}

fn seconds(ms: impl Into<u64>) -> u16 {
    u16::try_from(ms.into().div_ceil(1000)).unwrap_or(u16::MAX)
}
