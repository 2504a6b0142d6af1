//! `docker save` archives in their older form: `manifest.json` names a configuration file and layer archives. (The
//! newer form is an OCI layout with a `manifest.json` beside it, and is read as a layout.)

use super::{
    Image,
    blobs::Blobs,
    document::{self, Configuration},
    oci::{self, LayerPlan, Wanted},
};
use crate::{
    context::Context,
    digest::Digest,
    error::{Error, Kind, Result},
    tree::TreePath,
};
use serde::Deserialize;

/// One image of the archive.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

pub(super) fn from_archive(ctx: &Context, blobs: &Blobs, wanted: Wanted<'_>) -> Result<Image> {
    let saved: Vec<Saved> =
        document::parse(&blobs.document(&TreePath::new("manifest.json")?)?, "manifest.json")?;
    let saved = choose(saved, wanted)?;
    let name = TreePath::new(&saved.config)?;
    let bytes = blobs.document(&name)?;
    let digest = Digest::of(&bytes);
    // The file is named by its digest; an archive that names it otherwise gives nothing to verify it against.
    let stated = name.name().strip_suffix(".json").unwrap_or_else(|| name.name()).parse::<Digest>();
    if stated.is_ok_and(|stated| stated != digest) {
        return Err(Error::new(
            Kind::Digest,
            format!("image configuration {name} does not match its digest"),
        )
        .hint("the archive is damaged: save it again"));
    }
    let config: Configuration = document::parse(&bytes, "the image configuration")?;
    let diffs = oci::diff_ids(&config, saved.layers.len())?;
    let mut plans = Vec::with_capacity(diffs.len());
    for (path, diff) in saved.layers.iter().zip(diffs) {
        plans.push(LayerPlan { path: TreePath::new(path)?, packed: None, diff });
    }
    oci::assemble(ctx, blobs, config, &plans, wanted).map(|image| Image { digest: Some(digest), ..image })
}

fn choose(saved: Vec<Saved>, wanted: Wanted<'_>) -> Result<Saved> {
    let tags = oci::listed(saved.iter().filter_map(|image| image.repo_tags.as_ref()).flatten().cloned());
    let is_tagged = |image: &Saved, tag: &str| {
        image.repo_tags.iter().flatten().any(|name| name == tag || name.ends_with(&format!("/{tag}")))
    };
    let mut left: Vec<_> = saved;
    if let Some(tag) = wanted.tag {
        left.retain(|image| is_tagged(image, tag));
    }
    let several = left.len() > 1;
    match left.pop() {
        Some(image) if !several => Ok(image),
        Some(_) => Err(Error::new(Kind::Usage, "it holds several images")
            .hint(format!("name one with tag = \"…\"; it holds: {tags}"))),
        None => Err(Error::new(Kind::NotFound, "it does not hold the image that is asked for")
            .hint(format!("it holds: {tags}"))),
    }
}
