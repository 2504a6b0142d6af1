//! A root file system made elsewhere, as a tar archive or a directory.

use super::{Image, blobs};
use crate::{
    container::layers::{Layers, NODES_MAX, Whiteouts},
    context::Context,
    error::{Doing, Error, Kind, Result},
    files,
    tree::{Meta, Node, NodeKind, Tree, TreePath},
};
use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// The root file system at `path`. A tar archive says owners and modes itself. In a directory all files are root's,
/// with modes 0755 and 0644 by the owner's execute bit: what a directory says depends on who unpacked it, and where.
pub fn from_rootfs(ctx: &Context, path: &Path) -> Result<Image> {
    let kind = fs::metadata(path).doing("find root file system", path)?;
    let image = if kind.is_dir() { from_dir(ctx, path) } else { from_tar(ctx, path) };
    image.map_err(|error| {
        Error::new(error.kind(), format!("cannot use root file system {}", path.display())).because(error)
    })
}

fn from_tar(ctx: &Context, path: &Path) -> Result<Image> {
    let archive = files::keep(&ctx.cache, &blobs::plain_archive(&ctx.cache, path)?)?;
    let digest = archive.identity();
    let mut layers = Layers::default();
    layers.apply(&ctx.cache.object_path(&digest).into(), &digest, Whiteouts::Names)?;
    let (tree, notes) = layers.finish()?;
    Ok(Image { tree, digest: Some(digest), notes, ..Image::default() })
}

fn from_dir(ctx: &Context, root: &Path) -> Result<Image> {
    let mut walk = Walk { ctx, root: root.to_owned(), tree: Tree::new(), seen: HashMap::new() };
    walk.dir(&TreePath::default())?;
    let digest = Some(walk.tree.identity());
    Ok(Image { tree: walk.tree, digest, ..Image::default() })
}

struct Walk<'a> {
    ctx: &'a Context,
    root: PathBuf,
    tree: Tree,
    /// Files with several names, by device and inode.
    seen: HashMap<(u64, u64), TreePath>,
}

impl Walk<'_> {
    fn dir(&mut self, at: &TreePath) -> Result<()> {
        self.ctx.check()?;
        let dir = self.root.join(at.as_str());
        let mut names = Vec::new();
        for entry in fs::read_dir(&dir).doing("list", &dir)? {
            let name = entry.doing("list", &dir)?.file_name();
            let name = name.into_string().map_err(|name| {
                Error::new(Kind::Hostile, format!("name {} is not UTF-8", dir.join(name).display()))
            })?;
            names.push(name);
        }
        names.sort();
        for name in names {
            self.member(&at.join(&TreePath::new(&name)?))?;
        }
        Ok(())
    }

    fn member(&mut self, at: &TreePath) -> Result<()> {
        if self.tree.len() >= NODES_MAX {
            return Err(Error::new(Kind::Hostile, format!("it has more than {NODES_MAX} files")));
        }
        let path = self.root.join(at.as_str());
        let found = fs::symlink_metadata(&path).doing("inspect", &path)?;
        let kind = found.file_type();
        let (mode, node) = if kind.is_symlink() {
            let target = fs::read_link(&path).doing("read link", &path)?;
            let Ok(target) = target.into_os_string().into_string() else {
                let text = format!("link {} does not lead to UTF-8", path.display());
                return Err(Error::new(Kind::Hostile, text));
            };
            (0o777, NodeKind::Symlink(target))
        } else if kind.is_dir() {
            (0o755, NodeKind::Dir)
        } else if kind.is_file() {
            let mode = if found.mode() & 0o100 == 0 { 0o644 } else { 0o755 };
            (mode, self.file(at, &path, &found)?)
        } else {
            return Err(Error::new(Kind::Hostile, format!("{} is a device, pipe or socket", path.display()))
                .hint("a container's /dev is made when it starts: remove it"));
        };
        self.tree.insert(at.clone(), Node { meta: Meta::root(mode), kind: node })?;
        if kind.is_dir() { self.dir(at) } else { Ok(()) }
    }

    fn file(&mut self, at: &TreePath, path: &Path, found: &fs::Metadata) -> Result<NodeKind> {
        let inode = (found.dev(), found.ino());
        if found.nlink() > 1 {
            if let Some(first) = self.seen.get(&inode) {
                return Ok(NodeKind::HardLink(first.clone()));
            }
            self.seen.insert(inode, at.clone());
        }
        Ok(NodeKind::File(files::keep(&self.ctx.cache, path)?))
    }
}
