//! Where a path leads inside a root file system: links are followed as the container would see them, and nothing leads
//! out (`..` at the root stays there). No path of an image is ever resolved by the building machine.

use crate::{
    error::{Error, Kind, Result},
    tree::{NodeKind, Tree, TreePath},
};

/// Most links on one path, as in the kernel.
const LINKS_MAX: usize = 40;
/// Most components that are left to walk at any time: links may multiply them.
const COMPONENTS_MAX: usize = 4096;

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// Nothing.
    Nothing,
    /// A directory.
    Dir,
    /// A symbolic link with its target.
    Symlink(&'a str),
    /// A file or device.
    Other,
}

/// Something with paths in it.
pub trait Lookup {
    /// What is at `path` itself; links are not followed.
    fn look(&self, path: &TreePath) -> Found<'_>;
}

impl Lookup for Tree {
    fn look(&self, path: &TreePath) -> Found<'_> {
        match self.get(path).map(|node| &node.kind) {
            None => Found::Nothing,
            Some(NodeKind::Dir) => Found::Dir,
            Some(NodeKind::Symlink(target)) => Found::Symlink(target),
            Some(NodeKind::File(_) | NodeKind::HardLink(_) | NodeKind::CharDevice { .. }) => Found::Other,
        }
    }
}

/// What becomes of a link at the end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Keep,
    Follow,
}

/// The place that `path` names: links in its parents are followed, its last component is not.
pub fn place(tree: &impl Lookup, path: &TreePath) -> Result<TreePath> {
    walk(tree, path, Last::Keep)
}

/// What `path` leads to, through every link. The result may not exist.
pub fn follow(tree: &impl Lookup, path: &TreePath) -> Result<TreePath> {
    walk(tree, path, Last::Follow)
}

fn walk(tree: &impl Lookup, path: &TreePath, last: Last) -> Result<TreePath> {
    let too_many = || Error::new(Kind::Hostile, format!("path {path} leads through too many symbolic links"));
    let mut left: Vec<String> = path.as_str().rsplit('/').map(str::to_owned).collect();
    let mut at = TreePath::default();
    let mut links = 0;
    while let Some(component) = left.pop() {
        match component.as_str() {
            "" | "." => continue,
            ".." => {
                at = at.parent().unwrap_or_default();
                continue;
            }
            _ => {}
        }
        let next = at.join(&TreePath::new(&component)?);
        if left.is_empty() && last == Last::Keep {
            return Ok(next);
        }
        let Found::Symlink(target) = tree.look(&next) else {
            at = next;
            continue;
        };
        links += 1;
        left.extend(target.rsplit('/').map(str::to_owned));
        if links > LINKS_MAX || left.len() > COMPONENTS_MAX {
            return Err(too_many());
        }
        if target.starts_with('/') {
            at = TreePath::default();
        }
    }
    TreePath::new(at.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(tree: &Tree, path: &str) -> String {
        follow(tree, &TreePath::new(path).unwrap()).unwrap().as_str().to_owned()
    }

    #[test]
    fn links_lead_where_the_container_would_see_them_lead() {
        let mut tree = Tree::new();
        tree.symlink("lib", "usr/lib").unwrap();
        tree.symlink("usr/lib/up", "../../../../../etc/./x").unwrap();
        tree.symlink("var/run", "/run/").unwrap();
        tree.symlink("etc/x", "passwd").unwrap();
        assert_eq!(at(&tree, "lib/a/b"), "usr/lib/a/b");
        assert_eq!(at(&tree, "lib/up"), "etc/passwd");
        assert_eq!(at(&tree, "var/run/nginx.pid"), "run/nginx.pid");
        let kept = place(&tree, &TreePath::new("lib/up").unwrap()).unwrap();
        assert_eq!(kept.as_str(), "usr/lib/up");
    }

    #[test]
    fn loops_and_multiplying_links_are_refused() {
        let mut tree = Tree::new();
        tree.symlink("a", "b").unwrap();
        tree.symlink("b", "a").unwrap();
        assert_eq!(follow(&tree, &TreePath::new("a").unwrap()).unwrap_err().kind(), Kind::Hostile);
        let target = format!("{}m", "m/../".repeat(800));
        tree.symlink("m", &target).unwrap();
        assert_eq!(follow(&tree, &TreePath::new("m/x").unwrap()).unwrap_err().kind(), Kind::Hostile);
    }
}
