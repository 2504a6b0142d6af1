//! `coracle lock`.

use super::{args, build::source};
use crate::{build, context::Context, error::Result, show::Format};
use coracle_manifests::Lock;

pub(super) fn run(ctx: &Context, args: &args::Lock, format: Format) -> Result<()> {
    let manifest = build::load(&args.manifest)?;
    let (lock, old) = build::lock(ctx, &manifest, &source(&args.source))?;
    let mut out = String::new();
    match old {
        Some(old) => {
            out.extend(coracle_manifests::lock::diff(&old, &lock).iter().map(|change| format!("{change}\n")));
        }
        None => out = format!("{} packages locked\n", lock.package.len()),
    }
    if out.is_empty() {
        out.push_str("nothing has changed\n");
    }
    ctx.report.info(format!("wrote {}", Lock::path_of(&manifest.file).display()));
    super::say(format, "change", &out)
}
