//! A tree as a sequence of entries, with hard links resolved: the first name of a file in tree order carries its bytes,
//! the others refer to it. The emitters share this rule.

use crate::{
    error::{Doing, Error, Kind, Result},
    tree::{Content, Meta, Node, NodeKind, Tree, TreePath},
};
use std::{
    collections::BTreeMap,
    io::{Read, Write},
    path::Path,
};

/// How many hard links may lead to one another.
const LINK_HOPS_MAX: usize = 8;

/// One name in the tree.
#[derive(Debug)]
pub(super) struct Entry<'t> {
    /// Where it stands.
    pub(super) path: &'t TreePath,
    /// Its permissions: those of the file for all its names.
    pub(super) meta: &'t Meta,
    /// Number of the inode, from 1, the same for all names of a file.
    pub(super) inode: u32,
    /// How many names the file has.
    pub(super) names: u32,
    /// What it is.
    pub(super) body: Body<'t>,
}

/// What an entry is.
#[derive(Debug)]
pub(super) enum Body<'t> {
    /// A directory.
    Dir,
    /// The first name of a regular file.
    File(&'t Content),
    /// Another name of the file that was given this name first.
    Again(&'t TreePath),
    /// A symbolic link.
    Symlink(&'t str),
    /// A character device.
    CharDevice { major: u32, minor: u32 },
}

/// All entries of a tree, in its order. A hard link that leads nowhere is an error.
pub(super) fn entries(tree: &Tree) -> Result<Vec<Entry<'_>>> {
    let index: Index<'_> = tree.iter().collect();
    let mut names: BTreeMap<&TreePath, (u32, u32, &TreePath)> = BTreeMap::new();
    for (inode, (path, node)) in (1..).zip(tree.iter()) {
        if matches!(node.kind, NodeKind::File(_) | NodeKind::HardLink(_)) {
            let (file, ..) = resolve(&index, path)?;
            names.entry(file).or_insert((0, inode, path)).0 += 1;
        }
    }
    let mut out = Vec::with_capacity(tree.len());
    for (inode, (path, node)) in (1..).zip(tree.iter()) {
        let simple = |body| Entry { path, meta: &node.meta, inode, names: 1, body };
        out.push(match &node.kind {
            NodeKind::Dir => simple(Body::Dir),
            NodeKind::Symlink(target) => simple(Body::Symlink(target)),
            &NodeKind::CharDevice { major, minor } => simple(Body::CharDevice { major, minor }),
            NodeKind::File(_) | NodeKind::HardLink(_) => {
                let (file, meta, content) = resolve(&index, path)?;
                let (names, inode, first) = names.get(file).copied().unwrap_or((1, inode, path));
                let body = if first == path { Body::File(content) } else { Body::Again(first) };
                Entry { path, meta, inode, names, body }
            }
        });
    }
    Ok(out)
}

type Index<'t> = BTreeMap<&'t TreePath, &'t Node>;

/// The regular file that a name stands for.
fn resolve<'t>(index: &Index<'t>, from: &'t TreePath) -> Result<(&'t TreePath, &'t Meta, &'t Content)> {
    let mut at = from;
    for _ in 0..LINK_HOPS_MAX {
        let Some(node) = index.get(at) else { break };
        match &node.kind {
            NodeKind::File(content) => return Ok((at, &node.meta, content)),
            NodeKind::HardLink(next) => at = next,
            NodeKind::Dir | NodeKind::Symlink(_) | NodeKind::CharDevice { .. } => break,
        }
    }
    Err(Error::new(
        Kind::Hostile,
        format!("cannot write {from}: it is a hard link to {at}, which is no regular file"),
    ))
}

/// Writes a file's bytes, all of them: a source that has become shorter is an error.
pub(super) fn copy_content(path: &TreePath, content: &Content, out: &mut dyn Write) -> Result<()> {
    let mut reader = content.open()?;
    let mut buffer = vec![0; 1 << 17];
    let mut left = content.len();
    loop {
        let n = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(source) => {
                let message = format!("cannot read the source of {path}");
                return Err(Error::new(Kind::Io, message).because(source));
            }
        };
        emit(out, &buffer[..n])?;
        left = left.saturating_sub(u64::try_from(n).unwrap_or(u64::MAX));
    }
    if left > 0 {
        let message = format!("cannot read the source of {path}: it became shorter");
        return Err(Error::new(Kind::Io, message));
    }
    Ok(())
}

/// Writes bytes to where the entries go.
pub(super) fn emit(out: &mut dyn Write, bytes: &[u8]) -> Result<()> {
    out.write_all(bytes).doing("write to", Path::new("the archive"))
}

/// Writes zeros up to the next multiple of `step` (at most 512) after `written` bytes.
pub(super) fn pad(out: &mut dyn Write, written: u64, step: u64) -> Result<()> {
    let rest = usize::try_from((step - written % step) % step).unwrap_or(0);
    emit(out, &[0; 512][..rest])
}
