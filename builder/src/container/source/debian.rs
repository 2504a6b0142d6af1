//! A root file system of Debian packages. Packages are unpacked, and nothing of theirs is run: what maintainer scripts
//! would make is not there. That is links of the alternatives system (`/usr/bin/awk`, `/usr/bin/vi`), users of single
//! packages (give ids by number, or an `/etc/passwd` of your own), caches (`ld.so.cache`: the loader finds libraries in
//! `/usr/lib/<triplet>` without it; certificates in `/etc/ssl/certs/ca-certificates.crt`), and generated keys.

use super::{Image, base};
use crate::{
    debian::merge_usr,
    error::Result,
    tree::{NodeKind, Tree, TreePath},
};
use std::collections::BTreeMap;

/// What is left out of packages: documentation, and what serves people at a terminal. Copyright files stay.
pub const PRUNED: [&str; 13] = [
    "usr/share/doc",
    "usr/share/doc-base",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/lintian",
    "usr/share/bug",
    "usr/share/menu",
    "usr/share/bash-completion",
    "usr/share/zsh",
    "usr/share/fish",
    "usr/share/gdb",
    "usr/share/reportbug",
];

/// The packages' files in one tree, without [`PRUNED`], and the files that every root file system has.
pub fn from_packages(packages: Vec<Tree>) -> Result<Image> {
    let mut tree = Tree::new();
    for package in packages {
        tree.merge(&TreePath::default(), &prune(&merge_usr(&package)?)?)?;
    }
    base::complete(&mut tree)?;
    Ok(Image { tree, ..Image::default() })
}

/// A file whose first name is pruned lives on under the next.
fn prune(tree: &Tree) -> Result<Tree> {
    let mut out = Tree::new();
    let mut moved: BTreeMap<TreePath, TreePath> = BTreeMap::new();
    for (path, node) in tree.iter().filter(|(path, node)| is_kept(path, &node.kind)) {
        let mut node = node.clone();
        if let NodeKind::HardLink(target) = &node.kind
            && let Some(NodeKind::File(content)) = tree.get(target).map(|node| &node.kind)
            && !is_kept(target, &NodeKind::File(content.clone()))
        {
            node.kind = if let Some(name) = moved.get(target) {
                NodeKind::HardLink(name.clone())
            } else {
                moved.insert(target.clone(), path.clone());
                NodeKind::File(content.clone())
            };
        }
        out.insert(path.clone(), node)?;
    }
    Ok(out)
}

fn is_kept(path: &TreePath, kind: &NodeKind) -> bool {
    let text = path.as_str();
    let below =
        |dir: &str| text.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if !PRUNED.into_iter().any(below) {
        return true;
    }
    let is_copyright = text.starts_with("usr/share/doc/") && path.name() == "copyright";
    is_copyright && matches!(kind, NodeKind::File(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(tree: &Tree) -> Vec<&str> {
        tree.iter().map(|(path, _)| path.as_str()).collect()
    }

    #[test]
    fn documentation_goes_and_copyright_stays() {
        let mut package = Tree::new();
        package.file("bin/busybox", 0o755, "x").unwrap();
        package.file("usr/share/doc/busybox/copyright", 0o644, "GPL").unwrap();
        package.file("usr/share/doc/busybox/changelog.gz", 0o644, "x").unwrap();
        package.symlink("usr/share/doc/busybox-doc", "busybox").unwrap();
        package.file("usr/share/man/man1/busybox.1.gz", 0o644, "x").unwrap();
        package.file("usr/share/manual", 0o644, "kept").unwrap();
        let image = from_packages(vec![package]).unwrap();
        let paths = paths(&image.tree);
        for kept in ["usr/bin/busybox", "usr/share/doc/busybox/copyright", "usr/share/manual", "bin"] {
            assert!(paths.contains(&kept), "{kept}");
        }
        for gone in ["usr/share/doc/busybox/changelog.gz", "usr/share/doc/busybox-doc", "usr/share/man"] {
            assert!(!paths.contains(&gone), "{gone}");
        }
    }

    #[test]
    fn a_file_with_a_pruned_first_name_keeps_its_other_names() {
        let mut package = Tree::new();
        package.file("usr/share/doc/x/example", 0o644, "x").unwrap();
        for name in ["usr/share/x/a", "usr/share/x/b"] {
            let target = TreePath::new("usr/share/doc/x/example").unwrap();
            let node =
                crate::tree::Node { meta: crate::tree::Meta::root(0o644), kind: NodeKind::HardLink(target) };
            package.insert(TreePath::new(name).unwrap(), node).unwrap();
        }
        let tree = from_packages(vec![package]).unwrap().tree;
        let kind = |path: &str| &tree.get(&TreePath::new(path).unwrap()).unwrap().kind;
        assert!(matches!(kind("usr/share/x/a"), NodeKind::File(_)));
        assert!(
            matches!(kind("usr/share/x/b"), NodeKind::HardLink(target) if target.as_str() == "usr/share/x/a")
        );
    }
}
