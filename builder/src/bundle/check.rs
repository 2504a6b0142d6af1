//! Reading a bundle back, as a machine would: metadata against a trusted root, the index by the metadata, every frame by
//! the index, both parts as wholes, and the root file system by the root hash that the boot artefact carries.

use super::{
    pack::decode,
    pieces::{Form, Pieces},
};
use crate::{
    context::Context,
    digest::{Digest, Hasher},
    error::{Error, Kind, Result},
    image::uki::Uki,
    keys::refused,
    report::Unit,
};
use coracle_format::{
    bundle::{
        Encoding, FRAME_BYTES_MAX, Frame, HEADER_BYTES, Header, INDEX_BYTES_MAX, Index, METADATA_BYTES_MAX,
        NotABundle, Part,
    },
    device::VERITY_ARG,
    slot::BLOCK_BYTES,
    verity::{BLOCK, Tree},
};
use coracle_trust::{Verified, verify_bundle};
use sha2::{Digest as _, Sha256};
use std::{
    convert::Infallible,
    path::{Path, PathBuf},
};

/// The largest boot artefact that is read into memory.
const BOOT_BYTES_MAX: u64 = crate::image::inspect::BOOT_BYTES_MAX;

/// What is read.
const FORM: Form<NotABundle> =
    Form { name: "an update bundle", length: NotABundle::Length, limit: NotABundle::Limit };

/// A bundle of which header, metadata and index have been read; nothing vouches for them yet.
#[derive(Debug)]
pub struct Opened {
    /// How long everything is.
    pub header: Header,
    /// The signed documents.
    pub metadata: Vec<u8>,
    /// The index as it was read.
    pub index: Vec<u8>,
    path: PathBuf,
    frames: Pieces<NotABundle>,
}

impl Opened {
    /// Reads the beginning of a bundle, whose file must be exactly as long as it says.
    pub fn open(path: &Path) -> Result<Self> {
        let bad = |why: NotABundle| not_a_bundle(path, why);
        let mut file = Pieces::open(FORM, path)?;
        let header = Header::parse(&file.array::<HEADER_BYTES>()?).map_err(bad)?;
        if file.bytes()? != header.total() {
            return Err(bad(NotABundle::Length));
        }
        let metadata = file.take(header.metadata, METADATA_BYTES_MAX)?;
        header.check_metadata(&metadata).map_err(bad)?;
        let index = file.take(header.index, INDEX_BYTES_MAX)?;
        Ok(Self { header, metadata, index, path: path.to_owned(), frames: file })
    }

    /// What the metadata vouches for, if `root` is trusted and the time is `now`.
    pub fn verify(&self, root: &[u8], now: Option<u64>) -> Result<(Verified, Index)> {
        let refuse = |why| refused(format!("{} is not to be believed", self.path.display()), why);
        let verified = verify_bundle(root, &self.metadata, now, 0).map_err(refuse)?;
        let index = verified.index(&self.index).map_err(refuse)?;
        self.check_index(&index)?;
        Ok((verified, index))
    }

    /// The index, for which nothing vouches yet.
    pub(crate) fn index(&self) -> Result<Index> {
        let index = Index::parse(&self.index).map_err(|why| not_a_bundle(&self.path, why))?;
        self.check_index(&index)?;
        Ok(index)
    }

    fn check_index(&self, index: &Index) -> Result<()> {
        if index.stored_bytes() == self.header.frames {
            return Ok(());
        }
        Err(not_a_bundle(&self.path, NotABundle::Length))
    }

    /// Reads and checks every frame and both parts of the bundle with this index.
    pub fn check_parts(mut self, ctx: &Context, index: &Index) -> Result<()> {
        self.read_parts(ctx, index, &mut |_| ()).map(drop)
    }

    /// Both parts, root and boot artefact, after everything that [`Opened::check_parts`] checks.
    pub(crate) fn parts(mut self, ctx: &Context, index: &Index) -> Result<[Vec<u8>; 2]> {
        let mut root = Vec::new();
        let boot = self.read_parts(ctx, index, &mut |plain| root.extend_from_slice(plain))?;
        Ok([root, boot])
    }

    /// Checks everything; the boot artefact, and the root, which can be large, as it comes.
    fn read_parts(
        &mut self,
        ctx: &Context,
        index: &Index,
        take_root: &mut dyn FnMut(&[u8]),
    ) -> Result<Vec<u8>> {
        let step = ctx.report.step("check bundle");
        let total = index.root.bytes.saturating_add(index.boot.bytes);
        let boot_bytes = usize::try_from(index.boot.bytes.min(BOOT_BYTES_MAX)).unwrap_or(0);
        let mut root = RootHash::new(index);
        let (mut boot, mut done) = (Vec::with_capacity(boot_bytes), 0_u64);
        let mut hashers = [Hasher::default(), Hasher::default()];
        for (number, frame) in index.frames.iter().enumerate() {
            ctx.check()?;
            let plain = self.unpack(number, frame)?;
            let [root_hasher, boot_hasher] = &mut hashers;
            match frame.part {
                Part::Root => {
                    root_hasher.update(&plain);
                    root.push(&plain);
                    take_root(&plain);
                }
                Part::Boot => {
                    boot_hasher.update(&plain);
                    if index.boot.bytes > BOOT_BYTES_MAX {
                        let message = format!("the boot artefact in {} is too large", self.path.display());
                        return Err(Error::new(Kind::Hostile, message));
                    }
                    boot.extend_from_slice(&plain);
                }
            }
            done = done.saturating_add(u64::from(frame.plain));
            step.progress(done, total, Unit::Bytes);
        }
        for (part, hasher) in Part::ALL.into_iter().zip(&hashers) {
            if hasher.digest().0 != index.whole(part).sha256 {
                return Err(self.damaged(&format!("the {} is not the signed one", part.name())));
            }
        }
        self.check_boot(index, root, &boot)?;
        step.done(format!("{} frames", index.frames.len()));
        Ok(boot)
    }

    /// The root hash is that of the root, and the boot artefact boots just that.
    fn check_boot(&self, index: &Index, root: RootHash, boot: &[u8]) -> Result<()> {
        if root.finish() != index.root_hash {
            return Err(self.damaged("the root hash is not that of the root"));
        }
        let [hash, salt] = [index.root_hash, index.salt].map(Digest);
        let argument = format!("{VERITY_ARG}={hash}:{salt}:{}", index.root.bytes / BLOCK_BYTES);
        let uki = Uki::parse(boot)?;
        if uki.command_line()?.split_whitespace().any(|word| word == argument) {
            return Ok(());
        }
        Err(self.damaged("the boot artefact does not boot the root beside it"))
    }

    fn unpack(&mut self, number: usize, frame: &Frame) -> Result<Vec<u8>> {
        let plain = self.unpack_stored(number, frame)?;
        if Sha256::digest(&plain)[..] == frame.plain_sha256 {
            return Ok(plain);
        }
        Err(self.damaged(&format!("frame {number} does not match its digest when unpacked")))
    }

    fn unpack_stored(&mut self, number: usize, frame: &Frame) -> Result<Vec<u8>> {
        let limit = usize::try_from(FRAME_BYTES_MAX).unwrap_or(0);
        let stored = self.frames.take(frame.stored, limit)?;
        if frame.encoding != Encoding::Zeros && Sha256::digest(&stored)[..] != frame.sha256 {
            return Err(self.damaged(&format!("frame {number} does not match its digest")));
        }
        decode(frame, stored).ok_or_else(|| self.damaged(&format!("frame {number} cannot be unpacked")))
    }

    fn damaged(&self, why: &str) -> Error {
        Error::new(Kind::Digest, format!("{} is damaged: {why}", self.path.display()))
    }
}

/// The dm-verity root hash of a root that arrives in pieces of whole blocks.
struct RootHash(Tree);

impl RootHash {
    fn new(index: &Index) -> Self {
        Self(Tree::new(index.root.bytes / BLOCK_BYTES, &index.salt))
    }

    fn push(&mut self, plain: &[u8]) {
        for block in plain.chunks_exact(BLOCK) {
            let Ok(()) = self.0.push::<Infallible>(block, &mut |_, _| Ok(()));
        }
    }

    fn finish(self) -> [u8; 32] {
        let Ok(hash) = self.0.finish::<Infallible>(&mut |_, _| Ok(()));
        hash
    }
}

/// An error for bytes that are no bundle.
pub(crate) fn not_a_bundle(path: &Path, why: NotABundle) -> Error {
    FORM.is_not(path, why)
}

#[cfg(test)]
mod tests;
