//! The device configuration, as the services read it.

use crate::ServiceError;
use coracle_format::device::{self, DeviceConfig};
use std::fs::File;
use std::io::Read as _;

/// Reads the configuration from the verified root. No more than [`device::LIMIT_BYTES`] are read, and the digest is
/// checked before anything is parsed.
pub fn load() -> Result<DeviceConfig, ServiceError> {
    let limit = u64::try_from(device::LIMIT_BYTES).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    File::open(device::DEVICE_PATH)
        .and_then(|file| file.take(limit.saturating_add(1)).read_to_end(&mut bytes))
        .map_err(|source| ServiceError::Path {
            action: "read the device configuration",
            path: device::DEVICE_PATH.into(),
            source,
        })?;
    device::decode(&bytes).map_err(|source| ServiceError::Config { path: device::DEVICE_PATH, source })
}
