//! The health gate of a release on trial: waits until everything declared is healthy, then commits.
//!
//! [`machine`] decides, purely; the rest looks, tries and writes. What "healthy" means is in
//! `docs/explanation/updates.md`.

mod attempts;
mod clock;
mod condition;
mod exec;
mod http;
mod journal;
mod klog;
pub(crate) mod line;
mod machine;
mod places;
mod probe;
#[cfg(test)]
mod samples;
mod service;
mod survey;
mod tcp;
mod trial;
mod view;

use crate::error::{Error, Exit, Kind, Result};
use crate::executor::Executor;
use coracle_format::device::{self, DeviceConfig};
use line::Line;
use service::{End, Service};
use std::path::Path;

pub(crate) use clock::now_ms;
pub use condition::Health;
pub use places::Places;
pub(crate) use survey::survey;

/// The kernel log.
const KMSG: &str = "/dev/kmsg";

/// Runs as a supervised service until it has committed. Started by PID 1, on a trial only.
pub fn run() -> Result<Exit> {
    let config = load_config()?;
    let line = Line::inherit()
        .map_err(|error| Error::new(Kind::Io, "cannot take over the line to PID 1").because(error))?;
    let places = Places::default();
    let epoch = config.update.as_ref().map_or(0, |update| update.epoch);
    let open = |access| Ok(Executor::open_running(access)?.of_epoch(epoch));
    let mut trial = trial::Running::new(open, Path::new(KMSG));
    let service = Service::new(&config, &places, (line, Path::new(KMSG)), &mut trial)?;
    match service.run()? {
        End::Committed | End::Stopped => Ok(Exit::Done),
        End::Failed => Ok(Exit::Failed),
    }
}

fn load_config() -> Result<DeviceConfig> {
    let bytes = coracle_block::read_limited(Path::new(device::DEVICE_PATH), device::LIMIT_BYTES)?;
    device::decode(&bytes).map_err(|error| {
        Error::new(Kind::Internal, format!("cannot decode {}", device::DEVICE_PATH)).because(error)
    })
}
