//! Keys of the releases, made for the tests, and bundles signed with them.

use crate::{Release, Variant, context, image_of, scratch};
use anyhow::{Context as _, Result};
use coracle::{
    build::Built,
    bundle::{self, Options},
    context::Context,
    keys::{KeyDir, Plan},
    secure_boot::{self, Origin, Signer},
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
pub(crate) fn keys(ctx: &Context, who: Who) -> Result<PathBuf> {
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
pub fn root(who: Who) -> Result<PathBuf> {
    Ok(KeyDir::new(keys(&context()?, who)?).root_path())
}

/// The bundle of an image, beside its disk.
pub fn bundle(image: &Built, who: Who) -> Result<PathBuf> {
    let ctx = context()?;
    let options = Options { keys: Some(keys(&ctx, who)?), ..Options::default() };
    Ok(bundle::write(&ctx, image, &options)?)
}

impl Variant {
    /// Builds the release with its selector and boot artefact signed for Secure Boot; the bundle is signed as ever.
    pub fn signed(&self, by: &Signer) -> Result<Release> {
        // Apart from the release without a signature, which other tests boot; and one directory for each signer.
        let name = format!("ledger-{}-{}-signed-{:.16}", self.arch.name(), self.name, by.fingerprint());
        let image = image_of(&self.manifest()?, &name)?;
        secure_boot::sign_built(&context()?, &image.dir, Origin::Key(by))?;
        let bundle = bundle(&image, Who::Us)?;
        Ok(Release { image, bundle, name: self.name })
    }
}
