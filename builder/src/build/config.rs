//! The device configuration, compiled from the manifest.

use super::local;
use crate::error::{Error, Kind, Result};
use coracle_format::device::{
    self, Channel, Check, Clock, Container, Control, DeviceConfig, EarlyConfig, Gate, Module, OnFailure,
    Probe, Transport, Update,
};
use coracle_manifests::{
    device_network, device_ntp,
    manifest::{self as written, Manifest, OnFailure as Written},
    values::{HttpAddress, Rate},
};

/// How long the initramfs waits for the disk.
const ROOT_WAIT_MS: u32 = 30_000;

/// The part in the initramfs, encoded.
pub(super) fn early(modules: Vec<Module>) -> Result<Vec<u8>> {
    let config = EarlyConfig { root_wait_ms: ROOT_WAIT_MS, modules };
    device::encode(&config).ok_or_else(too_large)
}

/// The part in the root, encoded. `epoch` is the newest signed date of the build: the clock's floor. The operators'
/// keys are read from the files that have them.
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
        update: manifest.update.as_ref().map(update),
        checks: manifest.checks.iter().map(check).collect(),
        control: manifest.control.as_ref().map(control).transpose()?,
    };
    device::encode(&config).ok_or_else(too_large)
}

fn update(written: &written::Update) -> Update {
    let rate = |rate: Option<Rate>| rate.map_or(0, |rate| rate.0);
    Update {
        epoch: written.epoch,
        deadline_seconds: written.deadline.seconds(),
        settle_seconds: written.settle.seconds(),
        gate: match written.gate {
            written::Gate::Healthy => Gate::Healthy,
            written::Gate::NoWorse => Gate::NoWorse,
        },
        download_rate: rate(written.download_rate),
        write_rate: rate(written.write_rate),
        channel: written.channel.as_ref().map(|channel| Channel {
            url: channel.url.to_string(),
            name: channel.name.clone(),
            poll_seconds: channel.poll.0 / 1000,
            windows: channel.windows.iter().map(ToString::to_string).collect(),
        }),
    }
}

fn check(written: &written::Check) -> Check {
    let probe = match written.probe.clone() {
        written::Probe::Command { container, args } => {
            Probe::Command { container: container.as_str().to_owned(), args }
        }
        written::Probe::Http(HttpAddress { server, path }) => {
            Probe::Http { host: server.host.as_str().to_owned(), port: server.port, path }
        }
        written::Probe::Tcp(server) => {
            Probe::Tcp { host: server.host.as_str().to_owned(), port: server.port }
        }
        written::Probe::File(path) => Probe::File { path: path.as_str().to_owned() },
    };
    Check {
        name: written.name.as_str().to_owned(),
        probe,
        timeout_ms: written.timeout.0,
        interval_ms: written.interval.0,
    }
}

fn control(written: &written::Control) -> Result<Control> {
    let transport = |transport: &written::Transport| match transport {
        written::Transport::VirtioSerial => Transport::VirtioSerial,
        written::Transport::Vsock => Transport::Vsock,
    };
    Ok(Control {
        keys: local::keys(written)?,
        transports: written.transports.iter().map(transport).collect(),
    })
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

/// Seconds until the hardware watchdog resets the machine; 0: it is left alone.
pub(super) fn watchdog(manifest: &Manifest) -> u16 {
    seconds(manifest.system.watchdog.0)
}

fn seconds(ms: impl Into<u64>) -> u16 {
    u16::try_from(ms.into().div_ceil(1000)).unwrap_or(u16::MAX)
}
