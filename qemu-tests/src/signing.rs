//! Keys of the releases, made for the tests, and bundles signed with them.

use crate::{context, scratch};
use anyhow::{Context as _, Result};
use coracle::{
    build::Built,
    bundle::{self, Options},
    context::Context,
    keys::{KeyDir, Plan},
};
use std::{fs, path::PathBuf};

/// What the keys are made for.
const PLAN: Plan = Plan { root: (1, 1), targets: (1, 1), days: 3650 };

/// Whose keys sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Those that the images trust.
    Us,
    /// Somebody else.
    Stranger,
}

/// The keys, made by the first test that needs them.
fn keys(ctx: &Context, who: Who) -> Result<PathBuf> {
    let dir = scratch("keys")?.join(match who {
        Who::Us => "releases",
        Who::Stranger => "stranger",
    });
    let _guard = ctx.cache.lock("test-keys")?;
    if !KeyDir::new(&dir).root_path().exists() {
        // What an interrupted run has left is no directory of keys.
        if dir.exists() {
            fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
        }
        KeyDir::new(&dir).create(ctx, &PLAN, None)?;
    }
    Ok(dir)
}

/// The first trusted root of the images that somebody signs.
pub(crate) fn root(who: Who) -> Result<PathBuf> {
    Ok(KeyDir::new(keys(&context()?, who)?).root_path())
}

/// The bundle of an image, beside its disk.
pub fn bundle(image: &Built, who: Who) -> Result<PathBuf> {
    let ctx = context()?;
    let options = Options { keys: Some(keys(&ctx, who)?), ..Options::default() };
    Ok(bundle::write(&ctx, image, &options)?)
}
