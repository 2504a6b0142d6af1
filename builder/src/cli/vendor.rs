//! `coracle vendor`.

use super::{args, build::source};
use crate::{build, context::Context, error::Result};

pub(super) fn run(ctx: &Context, args: &args::Vendor) -> Result<()> {
    let manifest = build::load(&args.manifest)?;
    build::vendor(ctx, &manifest, &source(&args.source), &args.dir)?;
    ctx.report.info(format!(
        "rebuild without a mirror: coracle build --locked --mirror {} {}",
        args.dir.display(),
        args.manifest.display()
    ));
    Ok(())
}
