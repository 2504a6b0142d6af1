//! A release in memory, with what its bundle stores.

use crate::{
    bundle::{self, FILE_NAME, Opened},
    context::Context,
    digest::Digest,
    error::{Doing as _, Error, Kind, Result},
    image::inspect::Disk,
};
use coracle_format::{
    bundle::{HEADER_BYTES, Index, Part},
    layout::Role,
    slot::Range,
};
use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

/// The largest part that is read into memory.
const PART_BYTES_MAX: u64 = coracle_delta::limits::FILE_BYTES_MAX;

/// A release: both parts, and the frames of its bundle.
#[derive(Debug)]
pub(crate) struct Release {
    /// What it is made of.
    pub(crate) index: Index,
    /// The index as it is stored.
    pub(crate) index_bytes: Vec<u8>,
    /// Who vouches for it; empty if nobody has signed it.
    pub(crate) metadata: Vec<u8>,
    /// Root and boot artefact.
    parts: [Vec<u8>; 2],
    /// The file with its stored frames, and where they begin in it.
    frames: (PathBuf, u64),
}

impl Release {
    /// Reads a bundle, or what `coracle build` left in a directory: its bundle, or its disk if nothing is signed. Every
    /// digest in it is checked; whether somebody trusted has signed it is not.
    pub(crate) fn open(ctx: &Context, place: &Path) -> Result<Self> {
        if !place.is_dir() {
            return Self::of_bundle(ctx, place);
        }
        let (bundle, disk) = (place.join(FILE_NAME), place.join("disk.raw"));
        if bundle.exists() {
            Self::of_bundle(ctx, &bundle)
        } else if disk.exists() {
            Self::of_disk(ctx, &disk)
        } else {
            let message = format!("there is neither {FILE_NAME} nor disk.raw in {}", place.display());
            Err(Error::new(Kind::NotFound, message)
                .hint("coracle build MANIFEST --bundle --keys DIR makes the first, coracle build the second"))
        }
    }

    fn of_bundle(ctx: &Context, path: &Path) -> Result<Self> {
        let opened = Opened::open(path)?;
        let index = opened.index()?;
        check_size(path, &index)?;
        let (metadata, index_bytes) = (opened.metadata.clone(), opened.index.clone());
        let frames = (path.to_owned(), opened.header.frames_offset());
        let parts = opened.parts(ctx, &index)?;
        Ok(Self { index, index_bytes, metadata, parts, frames })
    }

    fn of_disk(ctx: &Context, path: &Path) -> Result<Self> {
        let disk = Disk::open(path)?;
        let slot = disk
            .slot(Role::SlotA)?
            .ok_or_else(|| Error::new(Kind::Hostile, format!("slot A of {} is empty", path.display())))?;
        let packed = bundle::packed(ctx, path, (&slot.descriptor, slot.root().offset))?;
        let not_an_index = |why| bundle::check::not_a_bundle(path, why);
        let index = Index::parse(&packed.index).map_err(not_an_index)?;
        check_size(path, &index)?;
        let parts = [read(path, slot.root())?, slot.boot()?];
        if Digest::of(&parts[0]).0 != index.root.sha256 {
            let message = format!("the root file system on {} has changed", path.display());
            return Err(Error::new(Kind::Digest, message).hint("build the image again"));
        }
        let frames = (packed.frames, 0);
        Ok(Self { index, index_bytes: packed.index, metadata: Vec::new(), parts, frames })
    }

    /// The bytes of a part.
    pub(crate) fn part(&self, part: Part) -> &[u8] {
        let [root, boot] = &self.parts;
        match part {
            Part::Root => root,
            Part::Boot => boot,
        }
    }

    /// Bytes of the bundle, or what it would have if there were one.
    pub(crate) fn full_bytes(&self) -> u64 {
        let pieces = [HEADER_BYTES, self.metadata.len(), self.index_bytes.len()].map(wide);
        pieces.iter().sum::<u64>().saturating_add(self.index.stored_bytes())
    }

    /// What the bundle stores of so many frames from one on.
    pub(crate) fn stored(&self, first: u32, count: u32) -> Result<Vec<u8>> {
        let (path, begin) = &self.frames;
        let offset = begin.saturating_add(self.stored_bytes(0, first));
        read(path, Range { offset, bytes: self.stored_bytes(first, count) })
    }

    /// How many bytes that is.
    pub(crate) fn stored_bytes(&self, first: u32, count: u32) -> u64 {
        let frames = self.index.run(first, count).unwrap_or_default();
        frames.iter().map(|frame| u64::from(frame.stored)).sum()
    }
}

fn check_size(path: &Path, index: &Index) -> Result<()> {
    let largest = index.root.bytes.max(index.boot.bytes);
    if largest <= PART_BYTES_MAX {
        return Ok(());
    }
    let message = format!(
        "the release in {} has a part of {largest} bytes, deltas are made of at most {PART_BYTES_MAX}",
        path.display()
    );
    Err(Error::new(Kind::TooLarge, message).hint("machines take its bundle"))
}

fn read(path: &Path, range: Range) -> Result<Vec<u8>> {
    let file = File::open(path).doing("open", path)?;
    // A disk's ranges are checked against its length, but a file can be cut meanwhile.
    let length = file.metadata().doing("inspect", path)?.len();
    if range.offset.checked_add(range.bytes).is_none_or(|end| end > length) {
        let message = format!("{} is shorter than it says", path.display());
        return Err(Error::new(Kind::Hostile, message));
    }
    let mut out = vec![0; usize::try_from(range.bytes).unwrap_or(0)];
    file.read_exact_at(&mut out, range.offset).doing("read", path)?;
    Ok(out)
}

fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
