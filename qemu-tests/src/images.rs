//! Images for tests, built once per manifest and shared by every test process.

use anyhow::{Context as _, Result};
use coracle::{
    build::{self, Built, LockMode, Options, SourceOptions},
    cache::Cache,
    context::Context,
    error::Kind,
    show::{Lines, Verbosity},
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The directory of the sources.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or_else(|| Path::new("."))
}

/// A directory for a test's files below `target/`, kept for the curious.
pub fn scratch(name: &str) -> Result<PathBuf> {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    let dir = target.join("qemu-tests").join(name);
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    Ok(dir)
}

/// The surroundings of a build: the user's own cache, progress as lines.
pub fn context() -> Result<Context> {
    let cache = Cache::open(Cache::default_root()?)?;
    let report = coracle::report::Report::new(Arc::new(Lines::new(io::stderr(), Verbosity::Normal)));
    Ok(Context::new(cache, report))
}

/// The image of a shipped manifest: `image("hello")`.
pub fn image(name: &str) -> Result<Built> {
    image_from(&workspace().join(format!("manifests/images/{name}.toml")), name)
}

/// The image of a manifest that a test brings along: `text`, written where `scratch(name)` is.
pub fn image_of(text: &str, name: &str) -> Result<Built> {
    let manifest = scratch(name)?.join(format!("{name}.toml"));
    coracle::files::replace(&manifest, text.as_bytes())?;
    image_from(&manifest, name)
}

/// The image of any manifest. A lock whose packages have left the mirror is made anew, as its error says one should.
pub fn image_from(manifest: &Path, name: &str) -> Result<Built> {
    let ctx = context()?;
    let source = SourceOptions::default();
    let options = Options {
        manifest: manifest.to_owned(),
        out: Some(scratch(name)?),
        lock: LockMode::Follow,
        source: source.clone(),
        probe: build::Probe::None,
    };
    // Tests of one image run at the same time: the first one makes the lock, the others find it.
    let _guard = ctx.cache.lock(&format!("test-image-{name}"))?;
    match build::build(&ctx, &options) {
        Err(error) if error.kind() == Kind::NotFound => {
            build::lock(&ctx, &build::load(manifest)?, &source)?;
            Ok(build::build(&ctx, &options)?)
        }
        other => Ok(other?),
    }
}
