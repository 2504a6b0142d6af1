//! A cache and a directory for parsers that read files; thrown away now and then, so that long runs do not fill a disk.

use coracle::{cache::Cache, context::Context, report::Report};
use std::{cell::RefCell, fs::File, io::Write as _, path::Path};
use tempfile::TempDir;

/// Uses before it is thrown away.
const USES_MAX: u32 = 500;

struct Scratch {
    dir: TempDir,
    ctx: Context,
    uses: u32,
}

thread_local! {
    static SCRATCH: RefCell<Option<Scratch>> = const { RefCell::new(None) };
}

/// Runs `work` with a context that has no network and a directory for files. Without room for files nothing runs.
pub(super) fn with(work: impl FnOnce(&Context, &Path)) {
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.as_ref().is_none_or(|scratch| scratch.uses >= USES_MAX) {
            *scratch = make();
        }
        if let Some(scratch) = scratch {
            scratch.uses += 1;
            work(&scratch.ctx, scratch.dir.path());
        }
    });
}

fn make() -> Option<Scratch> {
    let dir = tempfile::Builder::new().prefix("coracle-parsers-").tempdir().ok()?;
    let ctx = Context::new(Cache::open(dir.path().join("cache")).ok()?, Report::silent());
    Some(Scratch { dir, ctx, uses: 0 })
}

/// Writes a file that nobody needs after the run.
pub(super) fn put(path: &Path, bytes: &[u8]) {
    let written = File::create(path).and_then(|mut file| file.write_all(bytes));
    debug_assert!(written.is_ok(), "the scratch directory takes files");
}
