//! `coracle build`.

use super::args;
use crate::{
    build::{self, Built, LockMode, Probe, SourceOptions},
    context::Context,
    debian::{Freshness, Wish},
    error::Result,
    show::Format,
};

pub(super) fn run(ctx: &Context, args: &args::Build, format: Format) -> Result<()> {
    let built = build(ctx, args)?;
    super::say(format, "disk", &format!("{}\n", built.disk.display()))
}

/// Builds what the flags say.
pub(super) fn build(ctx: &Context, args: &args::Build) -> Result<Built> {
    build::build(ctx, &options(args))
}

pub(super) fn options(args: &args::Build) -> build::Options {
    build::Options {
        manifest: args.manifest.clone(),
        out: args.out.clone(),
        lock: if args.locked { LockMode::Fixed } else { LockMode::Follow },
        source: source(&args.source),
        probe: Probe::None,
    }
}

/// Where the flags say packages come from.
pub(super) fn source(args: &args::Source) -> SourceOptions {
    SourceOptions {
        mirrors: Wish { main: args.mirror.clone(), security: args.security_mirror.clone() },
        keyring: args.keyring.clone(),
        freshness: args.allow_expired.then_some(Freshness::Ignored),
    }
}
