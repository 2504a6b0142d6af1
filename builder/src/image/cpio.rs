//! The archive of an initramfs: cpio in the "newc" form that the kernel unpacks (its documentation calls it "initramfs
//! buffer format").

use super::entries::{Body, Entry, copy_content, emit, entries, pad};
use crate::{
    error::{Error, Kind, Result},
    tree::Tree,
};
use std::io::Write;

const DIR: u32 = 0o040_000;
pub(crate) const FILE: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHAR_DEVICE: u32 = 0o020_000;

/// Writes the tree as an archive, every time `epoch`, in the order of the tree.
pub fn write(tree: &Tree, epoch: u64, out: &mut dyn Write) -> Result<()> {
    // 32 bits are all the format has.
    let mtime = u32::try_from(epoch).unwrap_or(u32::MAX);
    for entry in entries(tree)? {
        write_entry(&entry, mtime, out)?;
    }
    let trailer = Header { names: 1, ..Header::default() };
    write_header(&trailer, "TRAILER!!!", out)
}

fn write_entry(entry: &Entry<'_>, mtime: u32, out: &mut dyn Write) -> Result<()> {
    if let Some(name) = entry.meta.xattrs.keys().next() {
        let message = format!(
            "cannot put {} into an initramfs: it has the extended attribute {name}, which the format cannot hold",
            entry.path
        );
        return Err(Error::new(Kind::Hostile, message));
    }
    let (kind, device) = match entry.body {
        Body::Dir => (DIR, (0, 0)),
        Body::File(_) | Body::Again(_) => (FILE, (0, 0)),
        Body::Symlink(_) => (SYMLINK, (0, 0)),
        Body::CharDevice { major, minor } => (CHAR_DEVICE, (major, minor)),
    };
    let bytes = match &entry.body {
        Body::File(content) => content.len(),
        Body::Symlink(target) => u64::try_from(target.len()).unwrap_or(u64::MAX),
        Body::Dir | Body::Again(_) | Body::CharDevice { .. } => 0,
    };
    let bytes = u32::try_from(bytes).map_err(|source| {
        let message = format!("cannot put {} into an initramfs: 4 GiB or more", entry.path);
        Error::new(Kind::TooLarge, message).because(source)
    })?;
    let header = Header {
        inode: entry.inode,
        mode: kind | u32::from(entry.meta.mode),
        uid: entry.meta.uid,
        gid: entry.meta.gid,
        names: entry.names,
        mtime,
        bytes,
        device,
    };
    let name = if entry.path.is_root() { "." } else { entry.path.as_str() };
    write_header(&header, name, out)?;
    match entry.body {
        Body::File(content) => copy_content(entry.path, content, out)?,
        Body::Symlink(target) => emit(out, target.as_bytes())?,
        Body::Dir | Body::Again(_) | Body::CharDevice { .. } => {}
    }
    pad(out, u64::from(bytes), 4)
}

/// What stands before a file.
#[derive(Default)]
pub(crate) struct Header {
    pub(crate) inode: u32,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) names: u32,
    pub(crate) mtime: u32,
    pub(crate) bytes: u32,
    pub(crate) device: (u32, u32),
}

/// Writes what stands before a file, and its name.
pub(crate) fn write_header(header: &Header, name: &str, out: &mut dyn Write) -> Result<()> {
    let name_bytes = u32::try_from(name.len() + 1).unwrap_or(u32::MAX);
    let fields = [
        header.inode,
        header.mode,
        header.uid,
        header.gid,
        header.names,
        header.mtime,
        header.bytes,
        0,
        0,
        header.device.0,
        header.device.1,
        name_bytes,
        0,
    ];
    let mut text = String::from("070701");
    text.extend(fields.map(|field| format!("{field:08x}")));
    text += name;
    text.push('\0');
    emit(out, text.as_bytes())?;
    pad(out, u64::try_from(text.len()).unwrap_or(0), 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Meta, Node, NodeKind, TreePath};

    fn bytes(tree: &Tree) -> Vec<u8> {
        let mut out = Vec::new();
        write(tree, 1_700_000_000, &mut out).unwrap();
        out
    }

    fn put(tree: &mut Tree, path: &str, kind: NodeKind) {
        let meta = Meta::root(0o600).owned(1, 2);
        tree.insert(TreePath::new(path).unwrap(), Node { meta, kind }).unwrap();
    }

    #[test]
    fn a_file_has_the_bytes_of_the_format() {
        let mut tree = Tree::new();
        tree.file("init", 0o755, "hello").unwrap();
        let expected = concat!(
            "07070100000001000041ed0000000000000000000000016553f10000000000",
            "0000000000000000000000000000000000000002",
            "00000000.\0",
            "07070100000002000081ed0000000000000000000000016553f10000000005",
            "0000000000000000000000000000000000000005",
            "00000000init\0\0hello\0\0\0",
            "07070100000000000000000000000000000000000000010000000000000000",
            "000000000000000000000000000000000000000b",
            "00000000TRAILER!!!\0\0\0\0",
        );
        assert_eq!(String::from_utf8(bytes(&tree)).unwrap(), expected);
    }

    #[test]
    fn hard_links_share_an_inode_and_only_the_first_carries_the_bytes() {
        let mut tree = Tree::new();
        tree.file("b", 0o644, "data").unwrap();
        for name in ["a", "c"] {
            let target = TreePath::new("b").unwrap();
            put(&mut tree, name, NodeKind::HardLink(target));
        }
        let text = String::from_utf8(bytes(&tree)).unwrap();
        let sizes: Vec<_> = ["a\0", "b\0", "c\0"]
            .iter()
            .map(|name| {
                let header = &text[text.find(name).unwrap() - 110..];
                (&header[6..14], &header[14..22], &header[38..46], &header[54..62])
            })
            .collect();
        assert_eq!(sizes[0], ("00000002", "000081a4", "00000003", "00000004"));
        assert_eq!(sizes[1], ("00000002", "000081a4", "00000003", "00000000"));
        assert_eq!(sizes[2], sizes[1]);
    }

    #[test]
    fn devices_keep_their_numbers_and_attributes_are_refused() {
        let mut tree = Tree::new();
        put(&mut tree, "console", NodeKind::CharDevice { major: 5, minor: 1 });
        let text = String::from_utf8(bytes(&tree)).unwrap();
        let header = &text[text.find("console\0").unwrap() - 110..];
        assert_eq!(&header[14..22], "00002180");
        assert_eq!(&header[78..94], "0000000500000001");
        let mut meta = Meta::root(0o755);
        meta.xattrs.insert("user.x".into(), vec![1]);
        let node = Node { meta, kind: NodeKind::Dir };
        tree.insert(TreePath::new("d").unwrap(), node).unwrap();
        let error = write(&tree, 0, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("/d"), "{error}");
    }

    #[test]
    fn a_hard_link_to_nothing_is_an_error() {
        let mut tree = Tree::new();
        for (name, target) in [("loop", "loop"), ("gone", "nothing")] {
            let target = TreePath::new(target).unwrap();
            put(&mut tree, name, NodeKind::HardLink(target));
            assert_eq!(write(&tree, 0, &mut Vec::new()).unwrap_err().kind(), Kind::Hostile);
        }
    }
}
