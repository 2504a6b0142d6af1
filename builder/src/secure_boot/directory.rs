//! Signing what `coracle build` has made: the disk, and what is recorded about it.

use super::{Parts, Signer, sign};
use crate::{
    build::{Record, lock_out},
    bundle,
    context::Context,
    digest::Digest,
    error::{Error, Kind, Result},
};
use std::path::{Path, PathBuf};

/// Where the signatures of a disk come from.
#[derive(Clone, Copy, Debug)]
pub enum Origin<'a> {
    /// This key.
    Key(&'a Signer),
    /// A directory with what was signed elsewhere.
    Directory(&'a Path),
}

impl Origin<'_> {
    /// What `build.json` says of it: the certificate's SHA-256, if it is known.
    fn word(self) -> String {
        match self {
            Self::Key(signer) => signer.fingerprint(),
            Self::Directory(_) => "elsewhere".to_owned(),
        }
    }

    fn parts(self, parts: &Parts) -> Result<Parts> {
        match self {
            Self::Key(signer) => parts.signed(signer),
            Self::Directory(dir) => parts.import(dir),
        }
    }
}

/// The disk in a directory that `coracle build` made.
pub fn disk_in(dir: &Path) -> Result<PathBuf> {
    let disk = dir.join("disk.raw");
    if disk.is_file() {
        return Ok(disk);
    }
    let message = format!("there is no {}", disk.display());
    Err(Error::new(Kind::NotFound, message)
        .hint("build the image first, and name its output directory: `coracle build MANIFEST --out DIR`"))
}

/// Signs the disk in `dir`, unless it is signed with this key already. The bundle of the disk as it was is removed, since
/// machines would be brought a boot artefact without a signature. Returns the record as it is now.
pub fn sign_built(ctx: &Context, dir: &Path, origin: Origin<'_>) -> Result<Option<Record>> {
    let disk = disk_in(dir)?;
    let _guard = lock_out(ctx, dir)?;
    let record = Record::read(dir)?;
    if let Some(record) = &record {
        if !record.fits(dir)? {
            let message = format!("{} is not the disk that build.json beside it tells of", disk.display());
            return Err(Error::new(Kind::Usage, message).hint("build the image again, then sign it"));
        }
        if matches!(origin, Origin::Key(_)) && record.signed.as_deref() == Some(&origin.word()) {
            ctx.report.info(format!("{} is signed with this key already", disk.display()));
            return Ok(Some(record.clone()));
        }
    }
    let step = ctx.report.step("sign disk");
    let parts = origin.parts(&Parts::read(&disk)?)?;
    sign(&disk, &parts)?;
    let record = record.map(|record| record.store_signed(dir, &parts, origin.word())).transpose()?;
    let stale = dir.join(bundle::FILE_NAME);
    if stale.exists() {
        bundle::remove(dir)?;
        ctx.report.warn(format!(
            "{} is removed: it brings the boot artefact without this signature; make it again with `coracle build \
             --bundle`",
            stale.display()
        ));
    }
    step.done(format!("selector and boot artefact, release {:.16}", Digest::of(&parts.boot).to_string()));
    Ok(record)
}
