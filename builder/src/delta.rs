//! Deltas: a release as what differs from an earlier one. See `docs/formats/delta.md`.
//!
//! Both releases are in memory, taken apart into pieces. Each new piece has an old one that it is made of, and new ones that
//! are made before it. Every run of frames becomes an operation: a copy, differences, or the frames as the bundle has them,
//! whichever is shortest. The same releases give the same bytes, whatever the number of processors. Memory: both releases
//! unpacked, and for each thread about 12 times the bytes of the largest file that it makes and of what that is made of,
//! 3 GiB together; a compressed kernel takes some 800 MB while it is packed again.
//!
//! Reading order: `release` → `piece` (with `root`, `boot`) → `pairs` (with `sketch`, `earlier`) → `plan` → `sources` →
//! `operation` (with `encoder`) → `container` → `apply` (the way back); `explain` shows what costs what.

mod apply;
mod boot;
mod container;
mod earlier;
mod encoder;
mod explain;
mod operation;
mod pairs;
mod piece;
mod plan;
mod release;
mod root;
mod sketch;
mod sources;
#[cfg(test)]
mod tests;

pub use apply::apply;
pub(crate) use container::Opened;
pub use explain::{Explanation, Row};
pub use operation::Kernel;
pub(crate) use release::Release;

use crate::{
    context::Context,
    digest::Digest,
    error::{Error, Kind, Result},
    parallel::{self, Supply},
    report::{Report, Step, Unit},
    show,
};
use container::Delta;
use coracle_format::delta::{Method, TABLE_EXTENTS_MAX, TABLE_FILES_MAX};
use operation::{Cost, Made};
use piece::Pieces;
use plan::{Run, Sides, Way};
use std::path::Path;

/// A delta that is not smaller than so many hundredths of the bundle is not worth its place.
pub const PERCENT_MAX: u64 = 90;
/// More threads than this would hold too much memory.
const THREADS_MAX: usize = 4;
/// Together they take no more than this for differences; one alone may take more.
const MEMORY_BYTES_MAX: u64 = 3 << 30;

/// A delta that was written.
#[derive(Clone, Debug)]
pub struct Written {
    /// The release that it starts from: SHA-256 of its boot artefact.
    pub from: Digest,
    /// The release that it leads to.
    pub to: Digest,
    /// Bytes of the delta.
    pub bytes: u64,
    /// SHA-256 of the delta.
    pub sha256: Digest,
    /// Bytes of the bundle that it saves.
    pub full_bytes: u64,
    /// Operations by how they make their frames: carried frames, copies, differences.
    pub operations: [usize; 3],
    /// What costs what.
    pub explanation: Explanation,
    /// What packing the kernel asks of a machine, if the delta leaves it to the machine.
    pub kernel: Option<Kernel>,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// Makes the delta that leads from the release in `old` to the one in `new`, each a bundle or a directory that
/// `coracle build` made. A delta that saves too little is refused, and nothing is written.
pub fn make(ctx: &Context, (old, new): (&Path, &Path), out: &Path) -> Result<Written> {
    make_between(ctx, (&Release::open(ctx, old)?, &Release::open(ctx, new)?), out)
}

/// The same with releases that have been read.
pub(crate) fn make_between(ctx: &Context, (old, new): (&Release, &Release), out: &Path) -> Result<Written> {
    check_alike(old, new)?;
    let made = operations(ctx, old, new)?;
    let base = old.index.boot.sha256;
    let delta = Delta::of(base, new, &made)?;
    let (bytes, full_bytes) = (delta.bytes(), new.full_bytes());
    if bytes.saturating_mul(100) >= full_bytes.saturating_mul(PERCENT_MAX) {
        let message = format!(
            "the delta has {} and the bundle {}: it is not worth its place",
            show::bytes(bytes),
            show::bytes(full_bytes)
        );
        return Err(Error::new(Kind::Policy, message)
            .hint(format!("a delta has less than {PERCENT_MAX} % of the bundle: machines take the bundle")));
    }
    let sha256 = Digest(delta.write(out)?);
    let count =
        |method: fn(&Method) -> bool| made.iter().filter(|made| method(&made.operation.method)).count();
    let operations = [
        count(|method| matches!(method, Method::Frames)),
        count(|method| matches!(method, Method::Copy(_))),
        count(|method| matches!(method, Method::Files(_))),
    ];
    let costs: Vec<Cost> = made.iter().flat_map(|made| made.costs.iter().cloned()).collect();
    Ok(Written {
        from: Digest(base),
        to: Digest(new.index.boot.sha256),
        bytes,
        sha256,
        full_bytes,
        operations,
        explanation: Explanation::of(costs, delta.overhead()),
        kernel: made.iter().find_map(|made| made.kernel),
        notes: made.iter().filter_map(|made| made.note.clone()).collect(),
    })
}

impl Written {
    /// Says what the publisher should know: that a kernel travels whole, or what packing it asks of machines.
    pub fn tell(&self, report: &Report) {
        self.notes.iter().for_each(|note| report.warn(note));
        if let Some(Kernel { memory_mib, whole_bytes }) = self.kernel {
            let whole = show::bytes(whole_bytes);
            report.info(format!(
                "machines pack the kernel themselves, which takes {memory_mib} MiB of memory; one with less fetches it \
                 whole, {whole}"
            ));
        }
    }
}

/// What a release is taken apart into, by its root image and its boot artefact: names, and how many bytes each has. All of
/// them together have every byte once, whatever the bytes are.
pub fn outline(root: &[u8], boot: &[u8]) -> Vec<(String, usize)> {
    Pieces::of_parts(root, boot).all.into_iter().map(|piece| (piece.name.clone(), piece.len())).collect()
}

fn check_alike(old: &Release, new: &Release) -> Result<()> {
    if old.index.arch != new.index.arch {
        let message = format!(
            "there is no way from {} to {}: a machine keeps its architecture",
            old.index.arch.name(),
            new.index.arch.name()
        );
        return Err(Error::new(Kind::Usage, message));
    }
    if old.index.boot.sha256 == new.index.boot.sha256 {
        return Err(Error::new(Kind::Usage, "both are the same release: there is no difference"));
    }
    Ok(())
}

/// What makes every run of frames, in order.
fn operations(ctx: &Context, old: &Release, new: &Release) -> Result<Vec<Made>> {
    let step = ctx.report.step("compare releases");
    let (old_pieces, new_pieces) = (Pieces::of(old), Pieces::of(new));
    let pairs = pairs::pair((old, &old_pieces), (new, &new_pieces));
    let sides = Sides { old: (old, &old_pieces), new: (new, &new_pieces), pairs: &pairs };
    let mut runs: Vec<Run> = sides.runs();
    step.done(format!("{} pieces, {} runs of frames", new_pieces.all.len(), runs.len()));
    let step = ctx.report.step("make delta");
    // What takes longest first, so that no processor waits for another in the end.
    runs.sort_by_key(|run| (order(run), run.first));
    let mut made = make_all(ctx, &sides, &runs, &step)?;
    made.sort_by_key(|made| made.operation.first);
    runs.sort_by_key(|run| run.first);
    while !fits(&made) {
        // What takes most of the table travels whole.
        let most = (0..made.len()).max_by_key(|number| extents(&made[*number]));
        let Some((made, run)) = most.and_then(|number| Some((made.get_mut(number)?, runs.get(number)?)))
        else {
            break;
        };
        *made = operation::whole(&sides, run)?;
    }
    let bytes: usize = made.iter().map(|made| made.stream.len()).sum();
    step.done(show::bytes(u64::try_from(bytes).unwrap_or(u64::MAX)));
    Ok(made)
}

fn extents(made: &Made) -> usize {
    made.operation.sources().count()
}

/// Whether the table of a delta has room for all of it.
fn fits(made: &[Made]) -> bool {
    let files: usize = made.iter().map(|made| made.operation.files().len()).sum();
    files <= TABLE_FILES_MAX && made.iter().map(extents).sum::<usize>() <= TABLE_EXTENTS_MAX
}

fn order(run: &Run) -> (u8, std::cmp::Reverse<usize>) {
    let rank = match run.way {
        Way::Packed => 0,
        Way::Files => 1,
        Way::Same | Way::Zeros => 2,
    };
    (rank, std::cmp::Reverse(run.range.len()))
}

fn make_all(ctx: &Context, sides: &Sides<'_>, runs: &[Run], step: &Step) -> Result<Vec<Made>> {
    let total = runs.iter().map(|run| u64::try_from(run.range.len()).unwrap_or(0)).sum();
    let (mut all, mut done) = (Vec::with_capacity(runs.len()), 0_u64);
    let memory = Supply::of(MEMORY_BYTES_MAX);
    let work = |run: &Run| {
        ctx.check()?;
        let made = operation::make(sides, run, &memory)?;
        Ok((made, u64::try_from(run.range.len()).unwrap_or(0)))
    };
    parallel::in_order(parallel::threads(THREADS_MAX), runs, work, |(made, bytes)| {
        done = done.saturating_add(bytes);
        step.progress(done, total, Unit::Bytes);
        all.push(made);
        Ok(())
    })?;
    Ok(all)
}
