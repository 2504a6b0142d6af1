//! One pair: both releases built and taken apart, every tool run.

use super::{
    byhand::{self, Known},
    contents::{Files, take_apart},
    goal::Sizes,
    ours::{Ours, Program},
    plan::Pair,
    tools::Tools,
};
use anyhow::{Context as _, Result, anyhow};
use coracle::context::Context;
use std::{
    path::{Path, PathBuf},
    thread,
};

/// What was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    /// What the others need.
    pub(super) sizes: Sizes,
    /// How many files changed.
    pub(super) changed: usize,
    /// The project's own delta, if it was wanted.
    pub(super) ours: Option<Ours>,
}

/// A release on disk.
struct Release {
    dir: PathBuf,
    image: PathBuf,
    files: Files,
}

/// Measures a pair. Everything that is made for it is gone afterwards, but for the releases themselves.
pub(super) fn measure(
    ctx: &Context,
    pair: &Pair,
    program: Option<&Program>,
    known: &Known,
) -> Result<Figures> {
    let tools = Tools::find(ctx)?;
    let scratch = tempfile::Builder::new()
        .prefix("deltas-")
        .tempdir_in(crate::scratch("deltas")?)
        .context("cannot make a directory for differences")?;
    let dir = scratch.path();
    let release = |recipe: &super::recipe::Recipe, name: &str| -> Result<Release> {
        let built = recipe.build(ctx)?;
        let image = dir.join(name);
        let files = take_apart(&built.disk, &image)?;
        Ok(Release { dir: built.dir, image, files })
    };
    let (old, new) = (release(&pair.old, "old")?, release(&pair.new, "new")?);
    pair.new.ensure_changed(&pair.old)?;
    let changes = byhand::changes(&old.files, &new.files);
    let only = pair.new.only();
    let is_wanted = |path: &str| only.is_some_and(|only| path.ends_with(&format!("/{only}")));
    let costs = timed(ctx, "file by file", || byhand::costs(&tools, known, &changes, dir))?;
    let count = costs.len();
    let by_hand = costs.iter().map(byhand::Cost::best).sum();
    let file = costs.iter().find(|cost| is_wanted(&cost.path)).and_then(|cost| cost.bsdiff);
    drop(changes);
    let (old, new) = ((old.dir, old.image), (new.dir, new.image));
    let ours = match program {
        Some(program) => Some(timed(ctx, "our delta", || program.make(ctx, (&old.0, &new.0), dir))?),
        None => None,
    };
    let sizes = Sizes { by_hand, file, ..images(ctx, &tools, &old.1, &new.1)? };
    Ok(Figures { sizes, changed: count, ours })
}

/// What general tools make of whole images: two of them at a time, each has one thread.
fn images(ctx: &Context, tools: &Tools<'_>, old: &Path, new: &Path) -> Result<Sizes> {
    let first = || -> Result<(u64, u64)> {
        let full = timed(ctx, "zstd -19 of the whole", || tools.compressed(new))?;
        Ok((full, timed(ctx, "casync", || tools.casync(old, new))?))
    };
    let second = || -> Result<(u64, u64)> {
        let xdelta3 = timed(ctx, "xdelta3", || tools.xdelta3(old, new))?;
        Ok((xdelta3, timed(ctx, "zstd --patch-from", || tools.zstd_of_images(old, new))?))
    };
    let (second, first) = thread::scope(|scope| {
        let first = scope.spawn(first);
        (second(), first.join().unwrap_or_else(|_| Err(anyhow!("a thread was lost"))))
    });
    let ((full, casync), (xdelta3, zstd)) = (first?, second?);
    Ok(Sizes { full, xdelta3, zstd, casync, ..Sizes::default() })
}

/// Does a part of the work and shows how long it took.
fn timed<T>(ctx: &Context, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let step = ctx.report.step(name);
    let done = work()?;
    step.done("");
    Ok(done)
}
