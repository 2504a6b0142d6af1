//! Fetching packages into the cache, several at a time.

use super::{
    Package,
    mirror::{Base, Mirrors},
};
use crate::{
    context::{Context, Network},
    error::{Error, Kind, Result},
    fetch::Meter,
};
use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
    thread,
};

/// Downloads at the same time.
const PARALLEL: usize = 6;

/// Fetches every package that the cache does not have, each verified by size and digest.
pub fn fetch_all(ctx: &Context, mirrors: &Mirrors, packages: &[Package]) -> Result<()> {
    let missing: Vec<&Package> =
        packages.iter().filter(|package| ctx.cache.object(&package.sha256).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let total = missing.iter().map(|package| package.size).sum();
    let step = ctx.report.step(format!("fetch {} packages", missing.len()));
    let meter = Meter::new(&step, total);
    let queue = Mutex::new(missing.iter());
    let first_error: Mutex<Option<Error>> = Mutex::new(None);
    let work = || {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(package) = next else {
                return;
            };
            if let Err(error) = fetch(ctx, mirrors, package, &meter) {
                // The error first: stopping makes the others fail too, for no reason of their own.
                let mut first = first_error.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert(error);
                meter.stop();
                return;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..PARALLEL.min(missing.len()) {
            scope.spawn(work);
        }
    });
    let failed = first_error.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = failed {
        return Err(error);
    }
    step.done(format!("{} packages, {total} bytes", missing.len()));
    Ok(())
}

fn fetch(ctx: &Context, mirrors: &Mirrors, package: &Package, meter: &Meter<'_>) -> Result<PathBuf> {
    let base = mirrors.base(package.pocket);
    let what = (package.size, package.sha256);
    base.object(ctx, &package.filename, what, meter).map_err(|error| match (error.kind(), ctx.network) {
        (Kind::NotFound, Network::Online) => gone(package, base, error),
        (kind, Network::Online | Network::Offline) => {
            Error::new(kind, format!("cannot fetch package {package}")).because(error)
        }
    })
}

fn gone(package: &Package, base: &Base, error: Error) -> Error {
    Error::new(Kind::NotFound, format!("package {package} is no longer on the mirror {base}"))
        .hint(
            "run `coracle lock` to move on to the versions the mirror has now; \
         `coracle vendor DIR` keeps what a lock names for later builds",
        )
        .because(error)
}
