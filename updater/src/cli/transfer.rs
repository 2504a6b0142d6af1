//! `check` and `apply`.

use super::Image;
use super::args::Places;
use super::progress::{self, Shown};
use crate::baseline::Surveyor;
use crate::engine::{Ask, Job};
use crate::error::{Error, Kind, Result};
use crate::executor::{LEFTOVERS_PATH, Settings, Supply, Tally, Tools, Vouching, trusted_time};
use crate::report::{Object, Report, Style, hex, short};
use crate::{isolation, source};
use coracle_block::{Access, Doing, read_limited};
use coracle_format::device::TRUST_ROOT_PATH;
use coracle_slots::Release;
use std::fs::{File, TryLockError};
use std::path::Path;

/// Held by an update under way: there is never more than one.
pub(super) const LOCK: &str = "/run/coracle/update.lock";
/// The longest root document that is read.
const ROOT_BYTES_MAX: usize = 1 << 20;

/// Whether the update would be applied.
pub(super) fn check(image: &Image, places: &Places, report: &mut Report<'_>) -> Result<()> {
    let (job, _) = run(image, places, Ask::Check, report)?;
    let (version, slot) = (job.offer.version, job.spare());
    let text = format!("{} {version} would be applied to slot {slot}\n", job.offer.image);
    match report.style() {
        Style::Human => report.data(&text),
        Style::Json => report.data(&object("checked", &job).line()),
    }
}

/// Applies the update, up to an armed trial.
pub(super) fn apply(image: &Image, places: &Places, report: &mut Report<'_>) -> Result<()> {
    let _lock = lock(Path::new(LOCK))?;
    let (job, tally) = run(image, places, Ask::Apply, report)?;
    let text = format!(
        "{} {} (release {}) is in slot {}; the next boot is its trial; {}\n",
        job.offer.image,
        job.offer.version,
        short(&job.content.digests.boot),
        job.spare(),
        progress::origins(&tally)
    );
    match report.style() {
        Style::Human => report.data(&text),
        Style::Json => report.data(&progress::numbers(object("applied", &job), &tally).line()),
    }
}

fn object(event: &str, job: &Job) -> Object {
    Object::event(event)
        .text("image", &job.offer.image)
        .text("version", &job.offer.version.to_string())
        .text("release", &hex(&job.content.digests.boot))
        .text("slot", &job.spare().to_string())
}

/// What needs the network, the disk or the image is opened first; then the network is left; only then the first byte of
/// the update is read.
fn run(image: &Image, places: &Places, ask: Ask, report: &mut Report<'_>) -> Result<(Job, Tally)> {
    let access = match ask {
        Ask::Check => Access::Read,
        Ask::Stage | Ask::Apply => Access::Write,
    };
    let executor = image.open(access)?;
    let trusted_root = trusted_root()?;
    let rate = image.update.download_rate;
    let mut main = source::of(&places.main, rate)?;
    let mut full = places.full.as_deref().map(|place| source::of(place, rate)).transpose()?;
    // Always: the release that comes may be the one that says "no worse".
    let surveyor = match ask {
        Ask::Check | Ask::Stage => None,
        Ask::Apply => Some(Surveyor::start()?),
    };
    isolation::leave_network()?;
    let floors = [image.config.clock.floor, executor.record()?.floors().released];
    let survey = |release: &Release| surveyor.as_ref().map_or(Ok(()), |surveyor| surveyor.take(release));
    let settings = Settings {
        image: &image.config.image_name,
        arch: Image::arch(),
        trusted_root: &trusted_root,
        now: trusted_time(&floors),
        write_rate: image.update.write_rate,
        leftovers: Some(Path::new(LEFTOVERS_PATH)),
        survey: Some(&survey),
        vouching: Vouching::Inline,
        tools: Tools::default(),
    };
    let mut supply = Supply::of(&mut *main);
    if let Some(full) = &mut full {
        supply.full = Some(&mut **full);
    }
    let mut shown = Shown::new(report);
    let job = executor.update(ask, supply, &settings, &mut shown)?;
    Ok((job, shown.tally()))
}

/// The root that is trusted without proof: the one in the verified root image.
pub(super) fn trusted_root() -> Result<Vec<u8>> {
    read_limited(Path::new(TRUST_ROOT_PATH), ROOT_BYTES_MAX).map_err(|error| {
        Error::from(error).hint("the image names no root of trust: its manifest needs `root` in [update]")
    })
}

/// Held for as long as an update is under way.
pub(super) fn lock(path: &Path) -> Result<File> {
    let file = File::options().create(true).append(true).open(path).doing("open", path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Error::new(Kind::Busy, "cannot apply the update: another one is under way")
                .hint("wait until it has ended; coracle-update status shows the result"))
        }
        Err(TryLockError::Error(error)) => Err(error).doing("lock", path).map_err(Error::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_updates_at_a_time_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let first = lock(&path).unwrap();
        let error = lock(&path).unwrap_err();
        assert_eq!((error.kind(), error.kind().exit().code()), (Kind::Busy, 1));
        drop(first);
        lock(&path).unwrap();
    }
}
