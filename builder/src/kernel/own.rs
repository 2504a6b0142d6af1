//! A kernel that the manifest's author brings along.

use super::{image::IMAGE_LIMIT_BYTES, modinfo};
use crate::{
    archive::{self, EntryKind, Reader},
    context::Context,
    digest::Digest,
    error::{Doing, Error, Kind, Result},
    tree::{Content, Tree, TreePath},
};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Largest archive of modules, uncompressed.
const ARCHIVE_LIMIT_BYTES: u64 = 4 << 30;
/// Deepest directory below the module directory.
const DEPTH_MAX: usize = 32;

/// The image file.
pub(super) fn image(path: &Path) -> Result<Content> {
    let bytes = path.metadata().doing("read kernel image", path)?.len();
    if bytes > IMAGE_LIMIT_BYTES {
        let message = format!("kernel image {} is larger than {IMAGE_LIMIT_BYTES} bytes", path.display());
        return Err(Error::new(Kind::TooLarge, message));
    }
    content(path)
}

fn content(path: &Path) -> Result<Content> {
    let mut file = File::open(path).doing("read", path)?;
    let (digest, bytes) = Digest::of_reader(&mut file).doing("read", path)?;
    Ok(Content::file(path, bytes, digest))
}

/// The module files of a directory or tar archive that holds `lib/modules/<release>`.
pub(super) fn modules(ctx: &Context, path: &Path) -> Result<Tree> {
    let mut tree = Tree::new();
    if path.is_dir() {
        walk(ctx, path, &TreePath::default(), &mut tree, 0)?;
    } else {
        from_archive(ctx, path, &mut tree)?;
    }
    if tree.is_empty() {
        let message = format!("{} holds no kernel modules", path.display());
        return Err(Error::new(Kind::NotFound, message)
            .hint("give the directory that make modules_install wrote to (INSTALL_MOD_PATH)"));
    }
    Ok(tree)
}

fn is_wanted(path: &TreePath) -> bool {
    modinfo::module_file(path.as_str()).is_some()
        || matches!(path.name(), "modules.builtin" | "modules.builtin.modinfo")
}

fn walk(ctx: &Context, dir: &Path, at: &TreePath, tree: &mut Tree, depth: usize) -> Result<()> {
    ctx.check()?;
    if depth > DEPTH_MAX {
        let message = format!("{} has more than {DEPTH_MAX} levels of directories", dir.display());
        return Err(Error::new(Kind::Hostile, message));
    }
    let list = fs::read_dir(dir).doing("list", dir)?;
    let mut names: Vec<PathBuf> = list
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<_>>()
        .doing("list", dir)?;
    names.sort_unstable();
    for path in names {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        let inside = at.join(&TreePath::new(name)?);
        // Links are not followed: `build` and `source` lead out of the directory.
        let kind = path.symlink_metadata().doing("inspect", &path)?.file_type();
        if kind.is_dir() {
            walk(ctx, &path, &inside, tree, depth + 1)?;
        } else if kind.is_file() && is_wanted(&inside) {
            tree.file(inside.as_str(), 0o644, content(&path)?)?;
        }
    }
    Ok(())
}

fn from_archive(ctx: &Context, path: &Path, tree: &mut Tree) -> Result<()> {
    let packed = File::open(path).doing("open", path)?;
    let digest = archive::unpack(&ctx.cache, packed, path, ARCHIVE_LIMIT_BYTES)?;
    let object: Arc<Path> = ctx.cache.object_path(&digest).into();
    for entry in Reader::open(&object)? {
        let entry = entry?;
        let inside = TreePath::new(&entry.path)?;
        if let EntryKind::File { offset, bytes } = entry.kind
            && is_wanted(&inside)
        {
            let content = Content::of_object(&object, &digest, offset, bytes);
            tree.file(inside.as_str(), 0o644, content)?;
        }
    }
    Ok(())
}
