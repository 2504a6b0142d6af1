//! Tree to tar (POSIX.1-2001 "pax"): what mke2fs reads, and a form in which a tree can leave the builder.

use super::entries::{Body, Entry, copy_content, emit, entries, pad};
use crate::{
    error::Result,
    tree::{Tree, TreePath},
};
use std::io::Write;

const BLOCK: usize = 512;
/// Longest name and link target in a plain header.
const NAME_MAX: usize = 100;
/// Largest owner in a plain header: seven octal digits.
const OWNER_MAX: u32 = 0o7_777_777;
/// Largest file in a plain header: eleven octal digits.
const SIZE_MAX: u64 = 0o77_777_777_777;

/// Writes the tree, every time `epoch`, in the order of the tree: a directory stands before what it contains, a file
/// before its other names. Names are written as the bytes they are.
pub fn write(tree: &Tree, epoch: u64, out: &mut dyn Write) -> Result<()> {
    for entry in entries(tree)? {
        write_entry(&entry, epoch, out)?;
    }
    emit(out, &[0; 2 * BLOCK])
}

fn write_entry(entry: &Entry<'_>, epoch: u64, out: &mut dyn Write) -> Result<()> {
    let name = name_of(entry);
    let link = match &entry.body {
        Body::Again(first) => link_of(first),
        Body::Symlink(target) => (*target).to_owned(),
        Body::Dir | Body::File(_) | Body::CharDevice { .. } => String::new(),
    };
    let bytes = match &entry.body {
        Body::File(content) => content.len(),
        Body::Dir | Body::Again(_) | Body::Symlink(_) | Body::CharDevice { .. } => 0,
    };
    let extended = extended_header(entry, &name, &link, bytes);
    if !extended.is_empty() {
        let size = u64::try_from(extended.len()).unwrap_or(u64::MAX);
        let header = Header { kind: b'x', size, mtime: epoch, mode: 0o644, ..Header::default() };
        emit(out, &header.encode("pax", ""))?;
        emit(out, &extended)?;
        pad(out, size, 512)?;
    }
    let header = Header {
        kind: kind_of(&entry.body),
        size: bytes,
        mtime: epoch,
        mode: entry.meta.mode,
        uid: entry.meta.uid,
        gid: entry.meta.gid,
        device: match entry.body {
            Body::CharDevice { major, minor } => (major, minor),
            Body::Dir | Body::File(_) | Body::Again(_) | Body::Symlink(_) => (0, 0),
        },
    };
    emit(out, &header.encode(&name, &link))?;
    if let Body::File(content) = entry.body {
        copy_content(entry.path, content, out)?;
    }
    pad(out, bytes, 512)
}

fn kind_of(body: &Body<'_>) -> u8 {
    match body {
        Body::File(_) => b'0',
        Body::Again(_) => b'1',
        Body::Symlink(_) => b'2',
        Body::CharDevice { .. } => b'3',
        Body::Dir => b'5',
    }
}

fn name_of(entry: &Entry<'_>) -> String {
    match &entry.body {
        Body::Dir if entry.path.is_root() => "./".to_owned(),
        Body::Dir => format!("{}/", entry.path.as_str()),
        Body::File(_) | Body::Again(_) | Body::Symlink(_) | Body::CharDevice { .. } => {
            entry.path.as_str().to_owned()
        }
    }
}

fn link_of(path: &TreePath) -> String {
    path.as_str().to_owned()
}

/// The records of what a plain header cannot hold. `hdrcharset` keeps readers from recoding names.
fn extended_header(entry: &Entry<'_>, name: &str, link: &str, bytes: u64) -> Vec<u8> {
    let mut records = Vec::new();
    let plain = |text: &str| text.len() <= NAME_MAX && text.is_ascii();
    if !plain(name) {
        record(&mut records, "path", name.as_bytes());
    }
    if !plain(link) {
        record(&mut records, "linkpath", link.as_bytes());
    }
    for (key, id) in [("uid", entry.meta.uid), ("gid", entry.meta.gid)] {
        if id > OWNER_MAX {
            record(&mut records, key, id.to_string().as_bytes());
        }
    }
    if bytes > SIZE_MAX {
        record(&mut records, "size", bytes.to_string().as_bytes());
    }
    for (key, value) in &entry.meta.xattrs {
        record(&mut records, &format!("SCHILY.xattr.{key}"), value);
    }
    if records.is_empty() {
        return records;
    }
    let mut out = Vec::new();
    record(&mut out, "hdrcharset", b"BINARY");
    out.extend(records);
    out
}

/// `<length> <key>=<value>\n`, where the length counts itself.
fn record(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(format!("{length} {key}=").as_bytes());
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[derive(Default)]
struct Header {
    kind: u8,
    size: u64,
    mtime: u64,
    mode: u16,
    uid: u32,
    gid: u32,
    device: (u32, u32),
}

impl Header {
    /// What does not fit is cut; an extended header before this one has it in full.
    fn encode(&self, name: &str, link: &str) -> [u8; BLOCK] {
        let mut out = [0; BLOCK];
        text(&mut out[..100], name);
        octal(&mut out[100..108], u64::from(self.mode));
        octal(&mut out[108..116], u64::from(self.uid.min(OWNER_MAX)));
        octal(&mut out[116..124], u64::from(self.gid.min(OWNER_MAX)));
        octal(&mut out[124..136], self.size.min(SIZE_MAX));
        octal(&mut out[136..148], self.mtime.min(SIZE_MAX));
        out[156] = self.kind;
        text(&mut out[157..257], link);
        out[257..265].copy_from_slice(b"ustar\x0000");
        octal(&mut out[329..337], u64::from(self.device.0));
        octal(&mut out[337..345], u64::from(self.device.1));
        out[148..156].fill(b' ');
        let sum = out.iter().map(|byte| u64::from(*byte)).sum();
        octal(&mut out[148..155], sum);
        out
    }
}

fn text(field: &mut [u8], value: &str) {
    for (to, from) in field.iter_mut().zip(value.bytes()) {
        *to = from;
    }
}

/// Octal digits and a terminator. Device numbers have at most twenty bits, everything else was bounded by the caller.
fn octal(field: &mut [u8], value: u64) {
    let digits = format!("{value:0width$o}", width = field.len() - 1);
    text(field, &digits);
    if let Some(last) = field.last_mut() {
        *last = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Meta, Node, NodeKind};
    use std::{collections::BTreeMap, io::Read};

    fn bytes(tree: &Tree) -> Vec<u8> {
        let mut out = Vec::new();
        write(tree, 1_700_000_000, &mut out).unwrap();
        out
    }

    fn sample() -> Tree {
        let mut tree = Tree::new();
        let deep = format!("{}/{}", "d".repeat(120), "é".repeat(40));
        tree.file(&deep, 0o640, "deep").unwrap();
        tree.symlink("link", &"t".repeat(150)).unwrap();
        let mut meta = Meta::root(0o4755).owned(4_000_000_000, 7);
        meta.xattrs.insert("security.capability".into(), vec![1, 0, 255]);
        let node = Node { meta, kind: NodeKind::File("suid".into()) };
        tree.insert(TreePath::new("suid").unwrap(), node).unwrap();
        for (path, kind) in [
            ("again", NodeKind::HardLink(TreePath::new("suid").unwrap())),
            ("null", NodeKind::CharDevice { major: 1, minor: 3 }),
        ] {
            let meta = Meta::root(0o666);
            tree.insert(TreePath::new(path).unwrap(), Node { meta, kind }).unwrap();
        }
        tree
    }

    #[test]
    fn another_reader_sees_every_name_owner_attribute_and_byte() {
        let bytes = bytes(&sample());
        let mut archive = ::tar::Archive::new(&bytes[..]);
        let mut seen = BTreeMap::new();
        let mut order = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
            let pax: BTreeMap<String, Vec<u8>> = entry
                .pax_extensions()
                .unwrap()
                .into_iter()
                .flatten()
                .map(|one| one.unwrap())
                .map(|one| (one.key().unwrap().to_owned(), one.value_bytes().to_vec()))
                .collect();
            let link = entry.link_name_bytes().map(std::borrow::Cow::into_owned);
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            let header = entry.header();
            order.push(name.clone());
            seen.insert(name, (header.entry_type(), header.mode().unwrap(), link, pax, text));
        }
        let dir = "d".repeat(120);
        let deep = format!("{dir}/{}", "é".repeat(40));
        assert_eq!(order, ["./", "again", &format!("{dir}/"), &deep, "link", "null", "suid"]);
        assert_eq!(seen[&deep].4, "deep");
        assert_eq!(seen["link"].2.as_deref(), Some("t".repeat(150).as_bytes()));
        let again = &seen["again"];
        assert_eq!((again.1, &*again.4), (0o4755, "suid"));
        assert_eq!(again.3["uid"], b"4000000000");
        assert_eq!(again.3["SCHILY.xattr.security.capability"], [1, 0, 255]);
        assert_eq!(seen["suid"].2.as_deref(), Some(&b"again"[..]));
        assert!(seen["null"].0.is_character_special());
    }

    #[test]
    fn a_plain_file_has_the_bytes_of_the_format() {
        let mut tree = Tree::new();
        tree.file("a", 0o644, "hi").unwrap();
        let bytes = bytes(&tree);
        assert_eq!(bytes.len(), 512 * 5);
        let mut header = [0; 512];
        header[..1].copy_from_slice(b"a");
        header[100..156]
            .copy_from_slice(b"0000644\x000000000\x000000000\x0000000000002\x0014524770400\x00007402\0 ");
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[329..345].copy_from_slice(b"0000000\x000000000\0");
        assert_eq!(bytes[512..1024], header);
        assert_eq!(bytes[1024..1028], *b"hi\0\0");
        assert!(bytes[1536..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn record_lengths_count_themselves() {
        for length in [1, 90, 91, 92, 93, 94, 95, 96, 980, 985, 990, 995] {
            let mut out = Vec::new();
            record(&mut out, "k", &vec![b'v'; length]);
            let text = String::from_utf8(out.clone()).unwrap();
            let stated: usize = text.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(stated, out.len());
        }
    }
}
