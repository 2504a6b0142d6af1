//! The boot artefact taken apart: the kernel, its compressed payload, and the files of the initramfs.

use super::piece::{Kind, Piece};
use crate::{image::uki::Uki, kernel::image};
use coracle_format::bundle::Part;
use std::{io::Cursor, ops::Range};

/// A file of the initramfs that is shorter stays with what is around it.
const FILE_BYTES_MIN: usize = 4096;
/// Files of an initramfs at most.
const FILES_MAX: usize = 1 << 14;
/// What the kernel's payload is called.
const KERNEL: &str = "kernel";

/// What has a counterpart in the boot artefact of another release.
pub(super) fn files(boot: &[u8]) -> Vec<Piece> {
    let Ok(uki) = Uki::parse(boot) else {
        return Vec::new();
    };
    let mut out = Vec::new();
    if let Some(section) = uki.range(".linux") {
        out.extend(kernel(boot, section));
    }
    if let Some(section) = uki.range(".initrd") {
        out.extend(initramfs(boot, section));
    }
    out
}

/// A kernel that unpacks itself by zstd is its payload and what is around that; any other is one piece.
fn kernel(boot: &[u8], section: Range<usize>) -> Vec<Piece> {
    let linux = &boot[section.clone()];
    let piece = |range: Range<usize>, name: &str| {
        let place = section.start + range.start..section.start + range.end;
        Piece::file(name, Part::Boot, vec![place])
    };
    match payload(linux) {
        Some(payload) => vec![
            piece(0..payload.start, "kernel's setup"),
            Piece { kind: Kind::Packed, ..piece(payload.clone(), KERNEL) },
            piece(payload.end..linux.len(), "kernel's decompressor"),
        ],
        None => vec![piece(0..linux.len(), KERNEL)],
    }
}

/// Where the zstd frame of an x86 kernel is, if that is what its payload is.
pub(super) fn payload(linux: &[u8]) -> Option<Range<usize>> {
    const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
    image::payload(linux).filter(|place| linux[place.clone()].starts_with(&ZSTD) && place.end < linux.len())
}

/// The larger files of a cpio archive, or of several one behind the other.
fn initramfs(boot: &[u8], section: Range<usize>) -> Vec<Piece> {
    let mut cursor = Cursor::new(&boot[section.clone()]);
    let mut out: Vec<Piece> = Vec::new();
    while out.len() < FILES_MAX {
        let Ok(mut reader) = cpio::newc::Reader::new(cursor) else { break };
        let (name, bytes) = (reader.entry().name().to_owned(), reader.entry().file_size());
        let Ok(offset) = reader.offset() else { break };
        let Ok(back) = reader.skip() else { break };
        cursor = back;
        let place = |offset: u64| section.start.checked_add(usize::try_from(offset).ok()?);
        let (start, end) = (place(offset), place(offset.saturating_add(bytes.into())));
        let Some(range) = start.zip(end).map(|(start, end)| start..end) else { break };
        if range.end > section.end {
            break;
        }
        if range.len() >= FILE_BYTES_MIN {
            out.push(Piece::file(format!("initramfs/{name}"), Part::Boot, vec![range]));
        }
    }
    name_apart(&mut out);
    out
}

/// Of two files with one name the second comes from another archive.
fn name_apart(files: &mut [Piece]) {
    let mut seen = std::collections::BTreeSet::new();
    for file in files {
        while !seen.insert(file.name.clone()) {
            file.name.push('\'');
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        image::{cpio, uki},
        tree::Tree,
    };

    /// A kernel with this payload.
    pub(in crate::delta) fn bzimage(payload: &[u8]) -> Vec<u8> {
        let mut linux = uki::tests::stub(0x8664, 1);
        linux.resize(2048, 0);
        linux[0x1f1] = 1;
        linux[0x202..0x206].copy_from_slice(b"HdrS");
        linux[0x248..0x24c].copy_from_slice(&1024_u32.to_le_bytes());
        linux[0x24c..0x250].copy_from_slice(&u32::try_from(payload.len() + 4).unwrap().to_le_bytes());
        linux.extend_from_slice(payload);
        linux.extend_from_slice(&[0xcc; 104]);
        linux
    }

    /// It begins as a zstd frame does.
    fn frame() -> Vec<u8> {
        [&[0x28, 0xb5, 0x2f, 0xfd][..], &[7; 4996]].concat()
    }

    #[test]
    fn the_payload_is_where_the_setup_header_says() {
        assert_eq!(payload(&bzimage(&frame())), Some(2048..7048));
        let mut other = bzimage(&frame());
        other[2048] = 0;
        assert_eq!(payload(&other), None);
        let mut long = bzimage(&frame());
        long[0x24c..0x250].copy_from_slice(&6000_u32.to_le_bytes());
        assert_eq!(payload(&long), None);
        for end in 0..2052 {
            assert_eq!(payload(&bzimage(&frame())[..end]), None, "cut at {end}");
        }
    }

    #[test]
    fn the_files_of_all_archives_and_the_kernel_are_found() {
        let archive = |names: &[&str]| {
            let mut tree = Tree::new();
            for name in names {
                tree.file(name, 0o644, vec![b'x'; 5000]).unwrap();
            }
            tree.file("small", 0o644, "x").unwrap();
            let mut out = Vec::new();
            cpio::write(&tree, 0, &mut out).unwrap();
            out
        };
        let initrd = [archive(&["init", "b"]), archive(&["init"])].concat();
        let linux = bzimage(&frame());
        let parts = uki::Parts {
            linux: &linux,
            initrd: &initrd,
            command_line: "quiet",
            os_release: "ID=x\n",
            uname: "6.12.0",
        };
        let boot = uki::build(&uki::tests::stub(0x8664, 8), &parts).unwrap();
        let found = files(&boot);
        let names: Vec<&str> = found.iter().map(|piece| piece.name.as_str()).collect();
        let expected = [
            "kernel's setup",
            "kernel",
            "kernel's decompressor",
            "initramfs/b",
            "initramfs/init",
            "initramfs/init'",
        ];
        assert_eq!(names, expected);
        for piece in &found[3..] {
            assert!(boot[piece.extents[0].clone()].iter().all(|byte| *byte == b'x'), "{}", piece.name);
            assert_eq!(piece.len(), 5000);
        }
        assert_eq!(boot[found[1].extents[0].clone()][..4], [0x28, 0xb5, 0x2f, 0xfd]);
        assert_eq!(files(b"no program"), []);
    }
}
