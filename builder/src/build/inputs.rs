//! Local files that a manifest names.

use crate::{
    digest::Digest,
    error::{Doing as _, Result},
    tree::Content,
};
use std::{fs::File, path::Path};

/// Files up to this size are held in memory; larger ones are read again when the image is written.
const IN_MEMORY_BYTES: u64 = 1 << 20;

/// The content of a local file, identified by its bytes.
pub(crate) fn file(path: &Path) -> Result<Content> {
    let mut handle = File::open(path).doing("open", path)?;
    let bytes = handle.metadata().doing("inspect", path)?.len();
    if bytes <= IN_MEMORY_BYTES {
        return Ok(Content::from(std::fs::read(path).doing("read", path)?));
    }
    let (digest, bytes) = Digest::of_reader(&mut handle).doing("read", path)?;
    Ok(Content::file(path, bytes, digest))
}
