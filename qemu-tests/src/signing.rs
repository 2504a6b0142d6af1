//! Keys of the releases, made for the tests, and bundles signed with them.

use crate::scratch;
use anyhow::Result;
use coracle::build::Built;
use std::path::PathBuf;

/// The first trusted root, made by the first test that needs it.
pub(crate) fn root() -> Result<PathBuf> {
    let path = scratch("keys")?.join("root.json");
    if !path.exists() {
        coracle::files::replace(&path, b"{}")?;
    }
    Ok(path)
}

/// The bundle of an image.
pub(crate) fn bundle(image: &Built) -> Result<PathBuf> {
    Ok(image.dir.join("update.bundle"))
}
