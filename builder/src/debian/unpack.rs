//! A package as a file tree. Nothing is written: files are ranges of the package's tar archive in the cache.

use super::{
    Package,
    deb::{self, DataTar},
};
use crate::{
    archive::{Entry, EntryKind, Globals, Reader},
    context::Context,
    error::{Error, Kind, Result},
    tree::{Content, Node, NodeKind, Tree, TreePath},
};

/// Most headers of a package's tar archive, and so most members.
const HEADERS_MAX: u64 = 500_000;
/// Directories that a merged system has below `usr/`.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// The files of a fetched package. Devices and pipes are refused, and so is whatever points out of the tree.
pub fn unpack(ctx: &Context, package: &Package) -> Result<Tree> {
    let data = deb::data_tar(ctx, package)?;
    read_tar(ctx, &data)
        .map_err(|error| Error::new(error.kind(), format!("cannot unpack package {package}")).because(error))
}

/// The files of several packages in one merged-/usr tree, in the order given.
pub fn unpack_all(ctx: &Context, packages: &[Package]) -> Result<Tree> {
    let mut tree = Tree::new();
    for package in packages {
        let files = merge_usr(&unpack(ctx, package)?)?;
        tree.merge(&TreePath::default(), &files).map_err(|error| {
            let text = format!("cannot add the files of package {package}");
            Error::new(error.kind(), text).because(error)
        })?;
    }
    Ok(tree)
}

fn read_tar(ctx: &Context, data: &DataTar) -> Result<Tree> {
    let reader = Reader::open(&data.path)?.at_most_headers(HEADERS_MAX).globals(Globals::Honoured);
    let mut tree = Tree::new();
    for entry in reader {
        ctx.check()?;
        put(&mut tree, entry?, data)?;
    }
    Ok(tree)
}

fn put(tree: &mut Tree, entry: Entry, data: &DataTar) -> Result<()> {
    let path = TreePath::new(&entry.path)?;
    let kind = match entry.kind {
        EntryKind::File { offset, bytes } => {
            NodeKind::File(Content::of_object(&data.path, &data.identity, offset, bytes))
        }
        EntryKind::Dir => NodeKind::Dir,
        EntryKind::Symlink(target) => NodeKind::Symlink(target),
        EntryKind::HardLink(target) => hard_link(tree, &path, &target)?,
        EntryKind::CharDevice { .. } => return Err(refused(&path, "a character device")),
        EntryKind::BlockDevice => return Err(refused(&path, "a block device")),
        EntryKind::Fifo => return Err(refused(&path, "a named pipe")),
    };
    if path.is_root() && !matches!(kind, NodeKind::Dir) {
        return Err(refused(&path, "a root that is not a directory"));
    }
    tree.insert(path, Node { meta: entry.meta, kind })
}

/// A link to a regular file that is in the tree already; a link to a link becomes one to its file.
fn hard_link(tree: &Tree, path: &TreePath, target: &str) -> Result<NodeKind> {
    if target.starts_with('/') {
        return Err(refused(path, "a hard link to an absolute path"));
    }
    let target = TreePath::new(target)?;
    if target == *path {
        return Err(refused(path, "a hard link to itself"));
    }
    match tree.get(&target).map(|node| &node.kind) {
        Some(NodeKind::File(_)) => Ok(NodeKind::HardLink(target)),
        Some(NodeKind::HardLink(first)) => Ok(NodeKind::HardLink(first.clone())),
        Some(NodeKind::Dir | NodeKind::Symlink(_) | NodeKind::CharDevice { .. }) | None => {
            Err(refused(path, "a hard link to what is no earlier file"))
        }
    }
}

fn refused(path: &TreePath, what: &str) -> Error {
    let text = format!("{path} is {what}, which no package may hold");
    Error::new(Kind::Hostile, text)
}

/// The tree with `bin`, `sbin`, `lib` and `lib64` moved below `usr`. Links that only stand for the move are dropped.
pub fn merge_usr(tree: &Tree) -> Result<Tree> {
    let mut merged = Tree::new();
    for (path, node) in tree.iter() {
        if let (true, NodeKind::Symlink(target)) = (MERGED.contains(&path.as_str()), &node.kind)
            && target.trim_start_matches('/') == format!("usr/{path}", path = path.as_str())
        {
            continue;
        }
        let mut node = node.clone();
        if let NodeKind::HardLink(target) = &mut node.kind {
            *target = moved(target)?;
        }
        merged.insert(moved(path)?, node)?;
    }
    Ok(merged)
}

fn moved(path: &TreePath) -> Result<TreePath> {
    let top = path.as_str().split('/').next().unwrap_or_default();
    if MERGED.contains(&top) {
        return Ok(TreePath::new("usr")?.join(path));
    }
    Ok(path.clone())
}

#[cfg(test)]
mod tests;
