//! Which part of a root file system is in memory from the first moment, and which on the verified image.
//!
//! There is one root. What the first containers need of it travels in the signed boot artefact; of the rest, memory has
//! links to the same paths below [`SYSTEM`], so that every path works as if there were no difference.

use crate::{
    container::{BUNDLES, Bundle},
    error::Result,
    tree::{Node, NodeKind, Tree, TreePath},
};
use coracle_format::device::{ContainerRoot, SYSTEM};
use std::collections::BTreeSet;

/// The largest container that is kept in memory: a static program and some files.
pub(super) const CONTAINER_BYTES_MAX: u64 = 6 << 20;
/// How much memory all of them together may take.
pub(super) const CONTAINERS_BYTES_MAX: u64 = 16 << 20;

/// A root in two parts.
#[derive(Debug)]
pub(super) struct Split {
    /// What is in memory.
    pub(super) memory: Tree,
    /// What is on the image.
    pub(super) image: Tree,
}

/// Decides for each container, in their order, whether it is started from memory: it must need nothing that comes
/// later, and be small. Notes the others' need in their device configuration.
pub(super) fn place_containers(bundles: &mut [Bundle]) {
    let mut left = CONTAINERS_BYTES_MAX;
    for bundle in bundles {
        let bytes = bytes(&bundle.tree);
        let device = &mut bundle.device;
        let waits = device.needs_state || device.needs_network || device.root == ContainerRoot::Ephemeral;
        // Memory has no extended attributes: file capabilities would be lost.
        let plain = bundle.tree.iter().all(|(_, node)| node.meta.xattrs.is_empty());
        let fits = bytes <= CONTAINER_BYTES_MAX.min(left);
        device.needs_system = waits || !plain || !fits;
        if !device.needs_system {
            left -= bytes;
        }
    }
}

fn bytes(tree: &Tree) -> u64 {
    let length = |node: &Node| match &node.kind {
        NodeKind::File(content) => content.len(),
        NodeKind::Dir | NodeKind::Symlink(_) | NodeKind::HardLink(_) | NodeKind::CharDevice { .. } => 0,
    };
    tree.iter().map(|(_, node)| length(node)).sum()
}

/// Whether something belongs to a container that is started from memory.
pub(super) fn in_memory_container(bundles: &[Bundle], path: &TreePath) -> bool {
    let Some(rest) = path.as_str().strip_prefix(BUNDLES).and_then(|rest| rest.strip_prefix('/')) else {
        return false;
    };
    let name = rest.split('/').next().unwrap_or_default();
    bundles.iter().any(|bundle| bundle.device.name == name && !bundle.device.needs_system)
}

/// Splits `tree`: files, links and devices that `keep` accepts are in memory with their directories, as are empty
/// directories of the root, on which things are mounted. Everything else is on the image.
pub(super) fn split(tree: &Tree, keep: impl Fn(&TreePath) -> bool) -> Result<Split> {
    let kept = directories_kept(tree, &keep);
    let mut parts = Split { memory: Tree::new(), image: Tree::new() };
    let mut linked: Option<TreePath> = None;
    for (path, node) in tree.iter().filter(|(path, _)| !path.is_root()) {
        if linked.as_ref().is_some_and(|above| is_below(path, above)) {
            parts.image.insert(path.clone(), node.clone())?;
            continue;
        }
        let here = match node.kind {
            NodeKind::Dir => kept.contains(path),
            NodeKind::File(_)
            | NodeKind::Symlink(_)
            | NodeKind::HardLink(_)
            | NodeKind::CharDevice { .. } => keep(path),
        };
        if here {
            parts.memory.insert(path.clone(), node.clone())?;
            continue;
        }
        parts.memory.symlink(path.as_str(), &format!("{SYSTEM}/{}", path.as_str()))?;
        parts.image.insert(path.clone(), node.clone())?;
        linked = Some(path.clone());
    }
    Ok(parts)
}

fn is_below(path: &TreePath, above: &TreePath) -> bool {
    path.as_str().strip_prefix(above.as_str()).is_some_and(|rest| rest.starts_with('/'))
}

/// Directories that memory has: those above something kept, and empty ones in the root directory.
fn directories_kept(tree: &Tree, keep: &impl Fn(&TreePath) -> bool) -> BTreeSet<TreePath> {
    let mut kept = BTreeSet::new();
    let mut with_contents = BTreeSet::new();
    for (path, node) in tree.iter() {
        with_contents.extend(path.parent());
        let is_dir = matches!(node.kind, NodeKind::Dir);
        let mut above = if is_dir || !keep(path) { None } else { path.parent() };
        while let Some(directory) = above {
            above = directory.parent();
            if !kept.insert(directory) {
                break;
            }
        }
    }
    for (path, node) in tree.iter() {
        let top = path.parent().is_some_and(|parent| parent.is_root());
        if top && matches!(node.kind, NodeKind::Dir) && !with_contents.contains(path) {
            kept.insert(path.clone());
        }
    }
    // Within a container in memory, empty directories are mount points too.
    for (path, node) in tree.iter() {
        if matches!(node.kind, NodeKind::Dir) && keep(path) {
            kept.insert(path.clone());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(tree: &Tree) -> Vec<String> {
        tree.iter()
            .filter(|(path, _)| !path.is_root())
            .map(|(path, node)| match &node.kind {
                NodeKind::Symlink(target) => format!("{path} -> {target}"),
                NodeKind::Dir | NodeKind::File(_) | NodeKind::HardLink(_) | NodeKind::CharDevice { .. } => {
                    path.to_string()
                }
            })
            .collect()
    }

    #[test]
    fn what_is_not_kept_is_linked_as_high_as_possible() {
        let mut tree = Tree::new();
        tree.dir("proc", 0o555).unwrap();
        for path in
            ["usr/bin/crun", "usr/sbin/e2fsck", "usr/lib/a/libc.so", "usr/lib/a/libext.so", "usr/share/x/y"]
        {
            tree.file(path, 0o755, path).unwrap();
        }
        let keep = ["usr/bin/crun", "usr/lib/a/libc.so"];
        let parts = split(&tree, |path| keep.contains(&path.as_str())).unwrap();
        assert_eq!(
            paths(&parts.memory),
            [
                "/proc",
                "/usr",
                "/usr/bin",
                "/usr/bin/crun",
                "/usr/lib",
                "/usr/lib/a",
                "/usr/lib/a/libc.so",
                "/usr/lib/a/libext.so -> /system/usr/lib/a/libext.so",
                "/usr/sbin -> /system/usr/sbin",
                "/usr/share -> /system/usr/share",
            ]
        );
        assert_eq!(
            paths(&parts.image),
            [
                "/usr",
                "/usr/lib",
                "/usr/lib/a",
                "/usr/lib/a/libext.so",
                "/usr/sbin",
                "/usr/sbin/e2fsck",
                "/usr/share",
                "/usr/share/x",
                "/usr/share/x/y",
            ]
        );
    }
}
