//! Putting files into a root file system that exists: the manifest's own, and those that every container gets.

use super::resolve;
use crate::{
    cache::Cache,
    error::{Error, Kind, Result},
    files::keep,
    tree::{Meta, Node, NodeKind, Tree, TreePath},
};
use coracle_manifests::manifest::{File, FileContent};
/// Puts the manifest's files in. Links on the way are followed inside the tree; a link at the end is replaced.
pub fn put_all(cache: &Cache, tree: &mut Tree, files: &[File]) -> Result<()> {
    for file in files {
        let content = match &file.content {
            FileContent::Text(text) => text.as_str().into(),
            FileContent::Source(input) => keep(cache, &input.path)?,
        };
        let meta = Meta::root(file.mode.0).owned(file.uid, file.gid);
        put(tree, file.path.as_str(), Node { meta, kind: NodeKind::File(content) })?;
    }
    Ok(())
}

/// Puts a file or link at `path`, whatever file or link was there. Other names of a replaced file keep its bytes.
pub fn put(tree: &mut Tree, path: &str, node: Node) -> Result<()> {
    let path = resolve::place(tree, &TreePath::new(path)?)?;
    match tree.get(&path).map(|old| &old.kind) {
        Some(NodeKind::Dir) => {
            return Err(Error::new(Kind::Usage, format!("cannot put a file at {path}: it is a directory")));
        }
        Some(NodeKind::File(_)) => release(tree, &path)?,
        Some(NodeKind::Symlink(_) | NodeKind::HardLink(_) | NodeKind::CharDevice { .. }) | None => {}
    }
    tree.insert(path, node)
}

/// Makes the first other name of the file at `path` its new first name.
fn release(tree: &mut Tree, path: &TreePath) -> Result<()> {
    let links_here = |node: &Node| matches!(&node.kind, NodeKind::HardLink(target) if target == path);
    let names: Vec<_> = tree.iter().filter(|(_, node)| links_here(node)).map(|(at, _)| at.clone()).collect();
    let (Some((first, others)), Some(node)) = (names.split_first(), tree.get(path).cloned()) else {
        return Ok(());
    };
    let meta = node.meta.clone();
    tree.insert(first.clone(), node)?;
    for name in others {
        tree.insert(name.clone(), Node { meta: meta.clone(), kind: NodeKind::HardLink(first.clone()) })?;
    }
    Ok(())
}

/// Makes sure that `path` leads to a directory, and returns where. What is missing is made, owned by root.
pub fn directory(tree: &mut Tree, path: &str) -> Result<TreePath> {
    let path = resolve::follow(tree, &TreePath::new(path)?)?;
    match tree.get(&path).map(|node| &node.kind) {
        Some(NodeKind::Dir) => {}
        None => tree.insert(path.clone(), Node { meta: Meta::root(0o755), kind: NodeKind::Dir })?,
        Some(
            NodeKind::File(_) | NodeKind::Symlink(_) | NodeKind::HardLink(_) | NodeKind::CharDevice { .. },
        ) => {
            return Err(Error::new(Kind::Usage, format!("{path} is needed as a directory and is a file")));
        }
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str) -> Node {
        Node { meta: Meta::root(0o644), kind: NodeKind::File(text.into()) }
    }

    fn text(tree: &Tree, path: &str) -> String {
        match &tree.get(&TreePath::new(path).unwrap()).unwrap().kind {
            NodeKind::File(content) => String::from_utf8(content.read().unwrap()).unwrap(),
            NodeKind::HardLink(target) => format!("=> {target}"),
            NodeKind::Dir | NodeKind::Symlink(_) | NodeKind::CharDevice { .. } => panic!("{path}"),
        }
    }

    #[test]
    fn a_file_lands_where_the_container_will_look_for_it() {
        let mut tree = Tree::new();
        tree.symlink("var/www", "/srv").unwrap();
        tree.symlink("srv/index.html", "/etc/passwd").unwrap();
        put(&mut tree, "/var/www/index.html", node("hello")).unwrap();
        assert_eq!(text(&tree, "srv/index.html"), "hello");
        assert!(tree.get(&TreePath::new("etc/passwd").unwrap()).is_none());
    }

    #[test]
    fn other_names_of_a_replaced_file_keep_its_bytes() {
        let mut tree = Tree::new();
        tree.file("a", 0o644, "old").unwrap();
        for name in ["b", "c"] {
            let kind = NodeKind::HardLink(TreePath::new("a").unwrap());
            tree.insert(TreePath::new(name).unwrap(), Node { meta: Meta::root(0o644), kind }).unwrap();
        }
        put(&mut tree, "a", node("new")).unwrap();
        assert_eq!([text(&tree, "a"), text(&tree, "b"), text(&tree, "c")], ["new", "old", "=> /b"]);
    }

    #[test]
    fn a_directory_is_not_replaced_by_a_file_nor_a_file_by_a_directory() {
        let mut tree = Tree::new();
        tree.file("etc/passwd", 0o644, "").unwrap();
        assert_eq!(put(&mut tree, "etc", node("")).unwrap_err().kind(), Kind::Usage);
        assert_eq!(directory(&mut tree, "/etc/passwd").unwrap_err().kind(), Kind::Usage);
    }
}
