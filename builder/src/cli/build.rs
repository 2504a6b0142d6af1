//! `coracle build`.

use super::args;
use crate::{
    build::{self, Built, LockMode, Probe, SourceOptions},
    bundle,
    context::Context,
    debian::{Freshness, Wish},
    error::Result,
    secure_boot::{self, Origin},
    show::Format,
};

pub(super) fn run(ctx: &Context, args: &args::BuildBundle, format: Format) -> Result<()> {
    let options = args.bundle.then(|| bundle::Options {
        keys: args.keys.clone(),
        signer: args.signer.clone(),
        replaces: args.replaces,
    });
    // Said before anything is built: it takes minutes to learn it afterwards.
    options.as_ref().map_or(Ok(()), bundle::Options::check)?;
    let signer = super::sign::signer(args.sign_key.as_deref().zip(args.sign_cert.as_deref()))?;
    let mut built = build(ctx, &args.build)?;
    if let Some(signer) = signer {
        let record = secure_boot::sign_built(ctx, &built.dir, Origin::Key(&signer))?;
        built.record = record.unwrap_or(built.record);
    }
    super::say(format, "disk", &format!("{}\n", built.disk.display()))?;
    if let Some(options) = options {
        let path = bundle::write(ctx, &built, &options)?;
        super::say(format, "bundle", &format!("{}\n", path.display()))?;
    }
    Ok(())
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
