//! The in-memory file tree: what goes into an image, before it is bytes. Emitters are in [`crate::image`].

use crate::{
    digest::{Digest, Hasher},
    error::{Doing, Error, Kind, Result},
};
use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{self, Cursor, Read, Seek, SeekFrom},
    path::Path,
    sync::Arc,
};

/// Longest path in a tree, bytes (Linux' `PATH_MAX` less the terminator and a leading slash).
pub const PATH_BYTES_MAX: usize = 4094;
/// Longest component, bytes (ext4).
pub const NAME_BYTES_MAX: usize = 255;

/// A relative path with no empty, `.` or `..` component: `usr/bin/crun`. The root is the empty path.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct TreePath(String);

impl TreePath {
    /// Checks a path. A leading `/` or `./` is dropped; `..`, NUL and over-long names are refused.
    pub fn new(path: &str) -> Result<Self> {
        let bad = |why: &str| Error::new(Kind::Hostile, format!("path {path:?} {why}"));
        let mut out = String::with_capacity(path.len());
        for component in path.split('/').filter(|component| !matches!(*component, "" | ".")) {
            if component == ".." {
                return Err(bad("climbs out of its tree with \"..\""));
            }
            if component.contains('\0') {
                return Err(bad("contains a NUL byte"));
            }
            if component.len() > NAME_BYTES_MAX {
                return Err(bad("has a component longer than 255 bytes"));
            }
            if !out.is_empty() {
                out.push('/');
            }
            out.push_str(component);
        }
        if out.len() > PATH_BYTES_MAX {
            return Err(bad("is longer than 4094 bytes"));
        }
        Ok(Self(out))
    }

    /// The path as text, without a leading slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The directory it is in; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.rfind('/').unwrap_or(0);
        Some(Self(self.0[..end].to_owned()))
    }

    /// The last component.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// `self/other`.
    pub fn join(&self, other: &Self) -> Self {
        if self.is_root() {
            return other.clone();
        }
        if other.is_root() {
            return self.clone();
        }
        Self(format!("{}/{}", self.0, other.0))
    }
}

/// Order by components, so that a directory stands right before what it contains.
impl Ord for TreePath {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.split('/').cmp(other.0.split('/'))
    }
}

impl PartialOrd for TreePath {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.0)
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.0)
    }
}

/// Permissions, owner and extended attributes. Times are the image's epoch, for every node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// The lower twelve bits of `st_mode`.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Extended attributes: `security.capability` and friends.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

impl Meta {
    /// `mode`, owned by root.
    pub fn root(mode: u16) -> Self {
        Self { mode, uid: 0, gid: 0, xattrs: BTreeMap::new() }
    }

    /// The same for another owner.
    pub fn owned(mut self, uid: u32, gid: u32) -> Self {
        self.uid = uid;
        self.gid = gid;
        self
    }
}

/// A file, directory, link or device.
#[derive(Clone, Debug)]
pub struct Node {
    /// Permissions and owner.
    pub meta: Meta,
    /// What it is.
    pub kind: NodeKind,
}

/// What a node is.
#[derive(Clone, Debug)]
pub enum NodeKind {
    /// A directory.
    Dir,
    /// A regular file.
    File(Content),
    /// A symbolic link with its target, which is text and never followed by the builder.
    Symlink(String),
    /// Another name of the regular file at this path.
    HardLink(TreePath),
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

/// The bytes of a regular file.
#[derive(Clone)]
pub enum Content {
    /// In memory.
    Bytes(Arc<[u8]>),
    /// A range of a file that does not change: a cache object, or an input that the lock names by digest.
    Slice {
        /// The file.
        file: Arc<Path>,
        /// First byte.
        offset: u64,
        /// Length.
        bytes: u64,
        /// What identifies the bytes without reading them: digest of the file and the range, or of the bytes.
        identity: Digest,
    },
}

impl Content {
    /// A whole file on disk whose bytes have digest `identity`.
    pub fn file(path: &Path, bytes: u64, identity: Digest) -> Self {
        Self::Slice { file: path.into(), offset: 0, bytes, identity }
    }

    /// A range of the cache object `digest` stored at `file`.
    pub fn of_object(file: &Arc<Path>, digest: &Digest, offset: u64, bytes: u64) -> Self {
        let mut hasher = Hasher::default();
        hasher.field(&digest.0);
        hasher.update(&offset.to_le_bytes());
        hasher.update(&bytes.to_le_bytes());
        Self::Slice { file: Arc::clone(file), offset, bytes, identity: hasher.digest() }
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            Self::Slice { bytes, .. } => *bytes,
        }
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What identifies the bytes: equal identities mean equal bytes.
    pub fn identity(&self) -> Digest {
        match self {
            Self::Bytes(bytes) => Digest::of(bytes),
            Self::Slice { identity, .. } => *identity,
        }
    }

    /// A reader that yields exactly [`Content::len`] bytes, or an error if the file is shorter.
    pub fn open(&self) -> Result<Box<dyn Read + Send>> {
        match self {
            Self::Bytes(bytes) => Ok(Box::new(Cursor::new(Arc::clone(bytes)))),
            Self::Slice { file, offset, bytes, .. } => {
                let mut handle = File::open(file).doing("open", file)?;
                let size = handle.metadata().doing("inspect", file)?.len();
                if offset.checked_add(*bytes).is_none_or(|end| end > size) {
                    let short = io::Error::new(io::ErrorKind::UnexpectedEof, "file is shorter than expected");
                    return Err(short).doing("read", file);
                }
                handle.seek(SeekFrom::Start(*offset)).doing("seek in", file)?;
                Ok(Box::new(handle.take(*bytes)))
            }
        }
    }

    /// All bytes.
    pub fn read(&self) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        self.open()?.read_to_end(&mut out).doing("read", Path::new("file content"))?;
        Ok(out)
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({} bytes)", self.len())
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self::Bytes(text.as_bytes().into())
    }
}

/// A file tree, sorted by path. Its root directory always exists; every other node's parent is a directory in it.
#[derive(Clone, Debug)]
pub struct Tree {
    nodes: BTreeMap<TreePath, Node>,
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

impl Tree {
    /// A tree with its root directory.
    pub fn new() -> Self {
        let root = Node { meta: Meta::root(0o755), kind: NodeKind::Dir };
        Self { nodes: BTreeMap::from([(TreePath::default(), root)]) }
    }

    /// The node at `path`; links are not followed.
    pub fn get(&self, path: &TreePath) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// The regular file at `path`.
    pub fn content(&self, path: &str) -> Result<Content> {
        match self.get(&TreePath::new(path)?).map(|node| &node.kind) {
            Some(NodeKind::File(content)) => Ok(content.clone()),
            _ => Err(Error::new(Kind::NotFound, format!("there is no file /{path} where one was expected"))),
        }
    }

    /// All nodes, directories before what they contain, the root first.
    pub fn iter(&self) -> impl Iterator<Item = (&TreePath, &Node)> {
        self.nodes.iter()
    }

    /// How many nodes there are, the root included.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is nothing beside the root.
    pub fn is_empty(&self) -> bool {
        self.nodes.len() == 1
    }

    /// Puts `node` at `path`. Missing parents are made (0755, root). A directory over a directory takes the new
    /// permissions and keeps its contents; a file over a file or link replaces it; anything else is an error.
    pub fn insert(&mut self, path: TreePath, node: Node) -> Result<()> {
        self.make_parents(&path)?;
        let is_dir = |node: &Node| matches!(node.kind, NodeKind::Dir);
        if let Some(old) = self.nodes.get(&path)
            && is_dir(old) != is_dir(&node)
        {
            let what = if is_dir(old) { "a directory" } else { "not a directory" };
            return Err(Error::new(Kind::Hostile, format!("cannot put {path}: it is {what} already")));
        }
        self.nodes.insert(path, node);
        Ok(())
    }

    fn make_parents(&mut self, path: &TreePath) -> Result<()> {
        let Some(parent) = path.parent() else {
            return Ok(());
        };
        match self.nodes.get(&parent).map(|node| &node.kind) {
            Some(NodeKind::Dir) => Ok(()),
            Some(
                NodeKind::File(_)
                | NodeKind::Symlink(_)
                | NodeKind::HardLink(_)
                | NodeKind::CharDevice { .. },
            ) => Err(Error::new(Kind::Hostile, format!("cannot put {path}: {parent} is not a directory"))),
            None => {
                self.make_parents(&parent)?;
                self.nodes.insert(parent, Node { meta: Meta::root(0o755), kind: NodeKind::Dir });
                Ok(())
            }
        }
    }

    /// Puts a regular file.
    pub fn file(&mut self, path: &str, mode: u16, content: impl Into<Content>) -> Result<()> {
        let node = Node { meta: Meta::root(mode), kind: NodeKind::File(content.into()) };
        self.insert(TreePath::new(path)?, node)
    }

    /// Puts a directory.
    pub fn dir(&mut self, path: &str, mode: u16) -> Result<()> {
        self.insert(TreePath::new(path)?, Node { meta: Meta::root(mode), kind: NodeKind::Dir })
    }

    /// Puts a symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<()> {
        let node = Node { meta: Meta::root(0o777), kind: NodeKind::Symlink(target.to_owned()) };
        self.insert(TreePath::new(path)?, node)
    }

    /// Removes `path` and everything below it; whether there was anything.
    pub fn remove(&mut self, path: &TreePath) -> bool {
        let before = self.nodes.len();
        if path.is_root() {
            self.nodes.retain(|at, _| at.is_root());
        } else {
            let below = format!("{}/", path.as_str());
            self.nodes.retain(|at, _| at != path && !at.as_str().starts_with(&below));
        }
        before != self.nodes.len()
    }

    /// Puts everything of `other` below `at`. Hard links keep pointing inside what was merged.
    pub fn merge(&mut self, at: &TreePath, other: &Self) -> Result<()> {
        for (path, node) in other.iter() {
            let mut node = node.clone();
            if let NodeKind::HardLink(target) = &mut node.kind {
                *target = at.join(target);
            }
            self.insert(at.join(path), node)?;
        }
        Ok(())
    }

    /// What identifies the tree: equal identities mean equal trees.
    pub fn identity(&self) -> Digest {
        let mut hasher = Hasher::default();
        for (path, node) in self.iter() {
            hasher.field(path.as_str().as_bytes());
            hasher.update(&node.meta.mode.to_le_bytes());
            hasher.update(&node.meta.uid.to_le_bytes());
            hasher.update(&node.meta.gid.to_le_bytes());
            for (name, value) in &node.meta.xattrs {
                hasher.field(name.as_bytes());
                hasher.field(value);
            }
            match &node.kind {
                NodeKind::Dir => hasher.field(b"dir"),
                NodeKind::File(content) => {
                    hasher.field(b"file");
                    hasher.field(&content.identity().0);
                }
                NodeKind::Symlink(target) => {
                    hasher.field(b"symlink");
                    hasher.field(target.as_bytes());
                }
                NodeKind::HardLink(target) => {
                    hasher.field(b"hardlink");
                    hasher.field(target.as_str().as_bytes());
                }
                NodeKind::CharDevice { major, minor } => {
                    hasher.field(b"char");
                    hasher.update(&major.to_le_bytes());
                    hasher.update(&minor.to_le_bytes());
                }
            }
        }
        hasher.digest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_climb_out_are_refused() {
        for bad in ["..", "a/../b", "/../etc/passwd", "a\0b", &"x".repeat(256), &"abc/".repeat(1200)] {
            assert_eq!(TreePath::new(bad).unwrap_err().kind(), Kind::Hostile, "{bad}");
        }
        assert_eq!(TreePath::new("/./usr//bin/").unwrap().as_str(), "usr/bin");
    }

    #[test]
    fn a_directory_stands_right_before_what_it_contains() {
        let mut tree = Tree::new();
        for path in ["a-b", "a/c", "a.d"] {
            tree.file(path, 0o644, "").unwrap();
        }
        let order: Vec<_> = tree.iter().map(|(path, _)| path.as_str().to_owned()).collect();
        assert_eq!(order, ["", "a", "a/c", "a-b", "a.d"]);
    }

    #[test]
    fn nothing_is_put_below_a_file_or_through_a_link() {
        let mut tree = Tree::new();
        tree.symlink("lib", "/etc").unwrap();
        tree.file("file", 0o644, "").unwrap();
        assert!(tree.file("lib/passwd", 0o644, "").is_err());
        assert!(tree.file("file/x", 0o644, "").is_err());
        assert!(tree.dir("file", 0o755).is_err());
    }

    #[test]
    fn removing_a_directory_keeps_its_namesakes() {
        let mut tree = Tree::new();
        for path in ["a/b", "a/c/d", "ab"] {
            tree.file(path, 0o644, "x").unwrap();
        }
        assert!(tree.remove(&TreePath::new("a").unwrap()));
        let left: Vec<_> = tree.iter().map(|(path, _)| path.as_str().to_owned()).collect();
        assert_eq!(left, ["", "ab"]);
    }
}
