//! Layers of an image put over each other, as container runtimes do it (OCI image specification, "Image Layer
//! Filesystem Changeset"), in memory and without following anything out of the image.

use super::resolve::{self, Found, Lookup};
use crate::{
    archive::{self, Entry, EntryKind},
    digest::Digest,
    error::{Error, Kind, Result},
    tree::{Content, Meta, Node, NodeKind, Tree, TreePath},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

/// Most layers of one image; runtimes stop at 127 or 128.
pub const LAYERS_MAX: usize = 128;
/// Most files and directories of one image.
pub const NODES_MAX: usize = 1_000_000;
const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";
/// Names by which an old storage driver kept its own records in layers.
const DRIVER: &str = ".wh..wh.";
/// The one extended attribute that reaches the device: a program's own capabilities.
const KEPT_XATTR: &str = "security.capability";

/// Whether `.wh.` names mean removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whiteouts {
    /// They do: image layers.
    Honoured,
    /// They are names like others: a root file system's own archive.
    Names,
}

#[derive(Clone, Debug)]
enum Item {
    Dir(Meta),
    Symlink(Meta, String),
    /// An index of `files`: several names may share one.
    File(usize),
}

/// A root file system in the making.
#[derive(Debug)]
pub struct Layers {
    items: BTreeMap<TreePath, Item>,
    files: Vec<(Meta, Content)>,
    dropped: BTreeMap<&'static str, usize>,
}

impl Default for Layers {
    fn default() -> Self {
        let items = BTreeMap::from([(TreePath::default(), Item::Dir(Meta::root(0o755)))]);
        Self { items, files: Vec::new(), dropped: BTreeMap::new() }
    }
}

impl Lookup for Layers {
    fn look(&self, path: &TreePath) -> Found<'_> {
        match self.items.get(path) {
            None => Found::Nothing,
            Some(Item::Dir(_)) => Found::Dir,
            Some(Item::Symlink(_, target)) => Found::Symlink(target),
            Some(Item::File(_)) => Found::Other,
        }
    }
}

impl Layers {
    /// Puts the uncompressed tar archive that is the cache object `digest` at `file` over what is there.
    pub fn apply(&mut self, file: &Arc<Path>, digest: &Digest, whiteouts: Whiteouts) -> Result<()> {
        let entries: Vec<Entry> = archive::Reader::open(file)?.collect::<Result<_>>()?;
        self.apply_entries(entries, whiteouts, &|offset, bytes| {
            Content::of_object(file, digest, offset, bytes)
        })
    }

    /// The same for entries that have been read.
    fn apply_entries(
        &mut self,
        entries: Vec<Entry>,
        whiteouts: Whiteouts,
        content: &dyn Fn(u64, u64) -> Content,
    ) -> Result<()> {
        let mut kept = Vec::with_capacity(entries.len());
        // What a layer removes are things of the layers below it, whatever the order of its members.
        for entry in entries {
            let path = TreePath::new(&entry.path)?;
            if whiteouts == Whiteouts::Honoured && path.name().starts_with(WHITEOUT) {
                self.white_out(&path)?;
            } else {
                kept.push((path, entry));
            }
        }
        for (path, entry) in kept {
            self.put(&path, entry, content)?;
        }
        Ok(())
    }

    fn white_out(&mut self, path: &TreePath) -> Result<()> {
        let dir = path.parent().unwrap_or_default();
        let dir = resolve::follow(self, &dir)?;
        if path.name() == OPAQUE {
            self.remove(&dir, Whole::Below);
            return Ok(());
        }
        if path.name().starts_with(DRIVER) {
            return Ok(());
        }
        let name = path.name().strip_prefix(WHITEOUT).unwrap_or_default();
        if matches!(name, "" | "." | "..") {
            return Err(Error::new(Kind::Hostile, format!("layer removes {path}, which names no file")));
        }
        self.remove(&dir.join(&TreePath::new(name)?), Whole::Itself);
        Ok(())
    }

    fn put(&mut self, path: &TreePath, entry: Entry, content: &dyn Fn(u64, u64) -> Content) -> Result<()> {
        let path = resolve::place(self, path)?;
        let meta = self.meta(entry.meta);
        let item = match entry.kind {
            EntryKind::Dir => Item::Dir(meta),
            EntryKind::File { offset, bytes } => {
                self.files.push((meta, content(offset, bytes)));
                Item::File(self.files.len() - 1)
            }
            EntryKind::Symlink(target) => Item::Symlink(meta, checked_target(&path, target)?),
            EntryKind::HardLink(target) => match self.linked(&path, &target)? {
                Some(item) => item,
                None => return Ok(()),
            },
            EntryKind::CharDevice { .. } | EntryKind::BlockDevice | EntryKind::Fifo => {
                return self.leave_out_device(&path);
            }
        };
        self.insert(path, item)
    }

    /// Only what means something on the device is kept.
    fn meta(&mut self, mut meta: Meta) -> Meta {
        let before = meta.xattrs.len();
        meta.xattrs.retain(|name, _| name == KEPT_XATTR);
        let count = before - meta.xattrs.len();
        if count > 0 {
            *self.dropped.entry("extended attributes").or_default() += count;
        }
        meta
    }

    /// What the target of a hard link is; `None` if it is the link itself.
    fn linked(&self, path: &TreePath, target: &str) -> Result<Option<Item>> {
        let target = resolve::place(self, &TreePath::new(target)?)?;
        if target == *path {
            return Ok(None);
        }
        match self.items.get(&target) {
            Some(item @ (Item::File(_) | Item::Symlink(..))) => Ok(Some(item.clone())),
            Some(Item::Dir(_)) | None => Err(Error::new(
                Kind::Hostile,
                format!("{path} is a hard link to {target}, which is not a file in the image"),
            )),
        }
    }

    /// `/dev` is made anew in every container, and pipes in `/run` by who listens on them; elsewhere a device is refused.
    fn leave_out_device(&mut self, path: &TreePath) -> Result<()> {
        let top = path.as_str().split('/').next().unwrap_or_default();
        if matches!(top, "dev" | "run") {
            *self.dropped.entry("device nodes and pipes").or_default() += 1;
            return Ok(());
        }
        Err(Error::new(Kind::Hostile, format!("{path} is a device node or named pipe"))
            .hint("devices come from the container's /dev: remove it from the image"))
    }

    /// A directory over a directory keeps what is in it; everything else replaces what was there whole.
    fn insert(&mut self, path: TreePath, item: Item) -> Result<()> {
        if path.is_root() && !matches!(item, Item::Dir(_)) {
            return Err(Error::new(Kind::Hostile, "the image's root is not a directory"));
        }
        self.make_parents(&path)?;
        let both_dirs = matches!((self.items.get(&path), &item), (Some(Item::Dir(_)), Item::Dir(_)));
        if !both_dirs {
            self.remove(&path, Whole::Itself);
        }
        self.items.insert(path, item);
        self.check_size()
    }

    fn check_size(&self) -> Result<()> {
        if self.items.len() > NODES_MAX || self.files.len() > NODES_MAX {
            return Err(Error::new(Kind::Hostile, format!("image has more than {NODES_MAX} files")));
        }
        Ok(())
    }

    fn make_parents(&mut self, path: &TreePath) -> Result<()> {
        let mut missing = Vec::new();
        let mut next = path.parent();
        while let Some(dir) = next {
            match self.items.get(&dir) {
                Some(Item::Dir(_)) => break,
                Some(Item::File(_) | Item::Symlink(..)) => {
                    let why = format!("cannot put {path} into the image: {dir} is not a directory");
                    return Err(Error::new(Kind::Hostile, why));
                }
                None => {
                    next = dir.parent();
                    missing.push(dir);
                }
            }
        }
        self.items.extend(missing.into_iter().map(|dir| (dir, Item::Dir(Meta::root(0o755)))));
        Ok(())
    }

    fn remove(&mut self, path: &TreePath, whole: Whole) {
        // What is below a path stands right behind it.
        let below = format!("{}/", path.as_str());
        let inside = |at: &TreePath| at == path || path.is_root() || at.as_str().starts_with(&below);
        let range = self.items.range(path.clone()..).map(|(at, _)| at);
        let doomed: Vec<_> = range.take_while(|at| inside(at)).cloned().collect();
        for at in doomed {
            if !at.is_root() && (whole == Whole::Itself || at != *path) {
                self.items.remove(&at);
            }
        }
    }

    /// The finished tree, and a line for each kind of thing that was left out.
    pub fn finish(self) -> Result<(Tree, Vec<String>)> {
        let mut tree = Tree::new();
        let mut names: BTreeMap<usize, TreePath> = BTreeMap::new();
        for (path, item) in self.items {
            let node = match item {
                Item::Dir(meta) => Node { meta, kind: NodeKind::Dir },
                Item::Symlink(meta, target) => Node { meta, kind: NodeKind::Symlink(target) },
                Item::File(index) => {
                    let (meta, content) = self.files[index].clone();
                    let kind = match names.get(&index) {
                        Some(first) => NodeKind::HardLink(first.clone()),
                        None => NodeKind::File(content),
                    };
                    names.entry(index).or_insert_with(|| path.clone());
                    Node { meta, kind }
                }
            };
            tree.insert(path, node)?;
        }
        let notes = self.dropped.into_iter().map(|(what, count)| format!("left out {count} {what}"));
        Ok((tree, notes.collect::<BTreeSet<_>>().into_iter().collect()))
    }
}

/// How much goes when a path is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whole {
    /// It and everything below it.
    Itself,
    /// Everything below it.
    Below,
}

fn checked_target(path: &TreePath, target: String) -> Result<String> {
    if target.is_empty() || target.len() > crate::tree::PATH_BYTES_MAX || target.contains('\0') {
        return Err(Error::new(Kind::Hostile, format!("{path} is a symbolic link to no possible path")));
    }
    Ok(target)
}

#[cfg(test)]
mod tests;
