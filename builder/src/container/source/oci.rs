//! OCI image layouts, as a directory or an archive (OCI image specification, "Image Layout"), and the layers of any image.

use super::{
    Image,
    blobs::{self, Blobs},
    docker,
    document::{self, Configuration, Descriptor, Document},
};
use crate::{
    archive,
    container::layers::{LAYERS_MAX, Layers, Whiteouts},
    context::Context,
    digest::Digest,
    error::{Doing, Error, Kind, Result},
    tree::TreePath,
};
use coracle_format::slot::Arch;
use std::{fs, path::Path};

/// Most images in one index.
const INDEX_ENTRIES_MAX: usize = 4096;
/// Indexes inside indexes.
const INDEX_DEPTH_MAX: usize = 4;
/// Largest packed layer.
const LAYER_PACKED_MAX: u64 = 16 << 30;
/// Most bytes of all layers of an image, unpacked.
const IMAGE_BYTES_MAX: u64 = 32 << 30;
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const FULL_NAME: &str = "io.containerd.image.name";

/// Which image of a layout or archive is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The device's architecture.
    pub arch: Arch,
    /// Its tag, where there are several.
    pub tag: Option<&'a str>,
}

/// The image in the layout or archive at `path`: an OCI layout (directory or tar), or what `docker save` and
/// `podman save` write. Every document and layer is verified against its digest before it is parsed.
pub fn from_image(ctx: &Context, path: &Path, wanted: Wanted<'_>) -> Result<Image> {
    let failed = |error: Error| {
        Error::new(error.kind(), format!("cannot use image {}", path.display())).because(error)
    };
    let blobs = Blobs::open(&ctx.cache, path).map_err(failed)?;
    let has = |name: &str| Ok::<_, Error>(blobs.find(&TreePath::new(name)?)?.is_some());
    let image = if has("oci-layout")? && has("index.json")? {
        from_layout(ctx, &blobs, wanted)
    } else if has("manifest.json")? {
        docker::from_archive(ctx, &blobs, wanted)
    } else {
        Err(Error::new(Kind::Hostile, "it is neither an OCI layout nor a docker archive").hint(
            "make one with: docker save IMAGE -o image.tar, or: skopeo copy docker://IMAGE oci:DIR:TAG",
        ))
    };
    image.map_err(failed)
}

/// One layer, before its bytes are looked at.
pub(super) struct LayerPlan {
    /// Its file.
    pub(super) path: TreePath,
    /// Digest and size of that file, if the image states them.
    pub(super) packed: Option<(Digest, u64)>,
    /// Digest of its uncompressed archive.
    pub(super) diff: Digest,
}

fn from_layout(ctx: &Context, blobs: &Blobs, wanted: Wanted<'_>) -> Result<Image> {
    let index: Document =
        document::parse(&blobs.document(&TreePath::new("index.json")?)?, "the image index")?;
    let (digest, document) = find_manifest(blobs, index, wanted)?;
    let (Some(config), Some(layers)) = (document.config, document.layers) else {
        return Err(Error::new(
            Kind::Hostile,
            format!("manifest {digest} has no configuration or no layers"),
        ));
    };
    let (_, bytes) = blobs.verified(&config)?;
    let config: Configuration = document::parse(&bytes, "the image configuration")?;
    let diffs = diff_ids(&config, layers.len())?;
    let mut plans = Vec::with_capacity(layers.len());
    for (layer, diff) in layers.iter().zip(diffs) {
        check_layer_type(layer)?;
        let packed = layer.sha256()?;
        plans.push(LayerPlan { path: blobs::blob_path(&packed)?, packed: Some((packed, layer.size)), diff });
    }
    assemble(ctx, blobs, config, &plans, wanted).map(|image| Image { digest: Some(digest), ..image })
}

/// Follows indexes down to the one manifest that is wanted.
fn find_manifest(blobs: &Blobs, mut document: Document, wanted: Wanted<'_>) -> Result<(Digest, Document)> {
    let mut wanted = wanted;
    for _ in 0..INDEX_DEPTH_MAX {
        let Some(entries) = document.manifests else {
            return Err(Error::new(Kind::Hostile, "the image index lists no manifests"));
        };
        let chosen = choose(entries, wanted)?;
        let (digest, bytes) = blobs.verified(&chosen)?;
        document = document::parse(&bytes, "the image manifest")?;
        match (&document.manifests, &document.layers) {
            (None, Some(_)) => return Ok((digest, document)),
            (Some(_), None) => {}
            // Two readers could see two different images in it.
            (Some(_), Some(_)) | (None, None) => {
                return Err(Error::new(
                    Kind::Hostile,
                    format!("{digest} is neither an index nor a manifest"),
                ));
            }
        }
        // Tags name the entries of the outermost index only.
        wanted.tag = None;
    }
    Err(Error::new(Kind::Hostile, format!("image index is nested deeper than {INDEX_DEPTH_MAX}")))
}

fn choose(entries: Vec<Descriptor>, wanted: Wanted<'_>) -> Result<Descriptor> {
    if entries.len() > INDEX_ENTRIES_MAX {
        return Err(Error::new(
            Kind::Hostile,
            format!("image index has more than {INDEX_ENTRIES_MAX} entries"),
        ));
    }
    let arch = document::platform_name(wanted.arch);
    let fits = |entry: &Descriptor| {
        entry.platform.as_ref().is_none_or(|on| on.os == "linux" && on.architecture == arch)
    };
    let tags = tags(&entries);
    let mut left: Vec<_> = entries.into_iter().filter(|entry| !entry.is_attestation()).collect();
    if let Some(tag) = wanted.tag {
        left.retain(|entry| is_tagged(entry, tag));
        if left.is_empty() {
            return Err(Error::new(Kind::NotFound, format!("it holds no image with tag {tag:?}"))
                .hint(format!("it holds: {tags}")));
        }
    }
    let platforms = platforms(&left);
    left.retain(fits);
    if left.iter().any(|entry| entry.platform.is_some()) {
        left.retain(|entry| entry.platform.is_some());
    }
    let mut left = left.into_iter();
    let Some(first) = left.next() else {
        return Err(Error::new(Kind::NotFound, format!("it holds no image for linux/{arch}"))
            .hint(format!("it holds images for: {platforms}")));
    };
    if left.any(|other| other.digest != first.digest) {
        return Err(Error::new(Kind::Usage, format!("it holds several images for linux/{arch}"))
            .hint(format!("name one with tag = \"…\"; it holds: {tags}")));
    }
    Ok(first)
}

fn is_tagged(entry: &Descriptor, tag: &str) -> bool {
    let name = |key| entry.annotations.get(key).map(String::as_str);
    let full = |name: &str| name == tag || name.ends_with(&format!("/{tag}"));
    name(REF_NAME).is_some_and(full) || name(FULL_NAME).is_some_and(full)
}

fn tags(entries: &[Descriptor]) -> String {
    let name = |entry: &Descriptor| {
        entry.annotations.get(FULL_NAME).or_else(|| entry.annotations.get(REF_NAME)).cloned()
    };
    listed(entries.iter().filter_map(name))
}

fn platforms(entries: &[Descriptor]) -> String {
    listed(
        entries
            .iter()
            .filter_map(|entry| entry.platform.as_ref().map(|on| format!("{}/{}", on.os, on.architecture))),
    )
}

/// A short list for a message; texts of an image are quoted.
pub(super) fn listed(names: impl Iterator<Item = String>) -> String {
    let names: Vec<_> = names.take(10).map(|name| format!("{name:?}")).collect();
    if names.is_empty() { "none with a name".to_owned() } else { names.join(", ") }
}

fn check_layer_type(layer: &Descriptor) -> Result<()> {
    // Which compression it is shows in its bytes.
    let known = ["application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs."];
    if known.iter().any(|prefix| layer.media_type.starts_with(prefix)) {
        return Ok(());
    }
    Err(Error::new(
        Kind::Hostile,
        format!("layer {} has unknown media type {:?}", layer.digest, layer.media_type),
    )
    .hint("it must be a container image, not another kind of artefact"))
}

/// The digests of the uncompressed layers: as many as there are layers.
pub(super) fn diff_ids(config: &Configuration, layers: usize) -> Result<Vec<Digest>> {
    if layers > LAYERS_MAX || config.rootfs.diff_ids.len() != layers {
        let text =
            format!("image has {layers} layers: at most {LAYERS_MAX}, each with a diff_id, are allowed");
        return Err(Error::new(Kind::Hostile, text));
    }
    config.rootfs.diff_ids.iter().map(|id| document::sha256(id)).collect()
}

/// Puts the layers over each other.
pub(super) fn assemble(
    ctx: &Context,
    blobs: &Blobs,
    config: Configuration,
    plans: &[LayerPlan],
    wanted: Wanted<'_>,
) -> Result<Image> {
    let arch = document::platform_name(wanted.arch);
    if config.os != "linux" || config.architecture != arch {
        let text = format!("image is for {}/{}, the device is linux/{arch}", config.os, config.architecture);
        return Err(
            Error::new(Kind::Usage, text).hint("export the image for the device's architecture (--platform)")
        );
    }
    let mut layers = Layers::default();
    let mut room = IMAGE_BYTES_MAX;
    for plan in plans {
        ctx.check()?;
        let path = keep_layer(ctx, blobs, plan, room)?;
        let bytes = fs::metadata(&path).doing("inspect layer", &path)?.len();
        room = room.saturating_sub(bytes);
        layers.apply(&path.into(), &plan.diff, Whiteouts::Honoured).map_err(|error| {
            Error::new(error.kind(), format!("cannot apply layer {}", plan.path)).because(error)
        })?;
    }
    let (tree, notes) = layers.finish()?;
    Ok(Image { tree, config: config.process()?, digest: None, notes })
}

/// The layer's uncompressed archive in the cache, of which `room` bytes at most are allowed. What is there already was
/// verified when it came in.
fn keep_layer(ctx: &Context, blobs: &Blobs, plan: &LayerPlan, room: u64) -> Result<std::path::PathBuf> {
    if let Some(path) = ctx.cache.object(&plan.diff) {
        return Ok(path);
    }
    if let Some((digest, bytes)) = &plan.packed {
        blobs.verify(digest, *bytes, LAYER_PACKED_MAX)?;
    }
    let blob = blobs.get(&plan.path)?;
    let limit = archive::unpacked_limit(blob.bytes, room);
    let name = blobs.name.join(plan.path.as_str());
    let got = archive::unpack(&ctx.cache, blob.reader, &name, limit)?;
    if got != plan.diff {
        let text = format!("layer {} unpacks to {got}, but the image says {}", plan.path, plan.diff);
        return Err(Error::new(Kind::Digest, text).hint("the image is damaged: export it again"));
    }
    Ok(ctx.cache.object_path(&plan.diff))
}
