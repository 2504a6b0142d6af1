use super::*;
use crate::debian::fixture::{member, pax, tar, with_checksum};
use std::io::Cursor;

fn header(path: &str, kind: tar::EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o4755);
    header.set_uid(33);
    header.set_gid(34);
    header.set_size(size);
    // Written raw, so that hostile paths reach the reader as they are.
    header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_cksum();
    header
}

fn entries(bytes: &[u8]) -> Result<Vec<Entry>> {
    Reader::new(Cursor::new(bytes), Path::new("test.tar"))?.collect()
}

fn refusal(members: &[Vec<u8>]) -> String {
    let error = entries(&tar(members)).unwrap_err();
    assert_eq!(error.kind(), Kind::Hostile);
    error.to_string()
}

fn sample() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&header("dir/", tar::EntryType::Directory, 0), &[][..]).unwrap();
    builder.append(&header("dir/file", tar::EntryType::Regular, 3), &b"abc"[..]).unwrap();
    let long = format!("dir/{}", "n".repeat(200));
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    link.set_mode(0o777);
    link.set_uid(0);
    link.set_gid(0);
    builder.append_link(&mut link, &long, format!("/{}", "t".repeat(150))).unwrap();
    builder
        .append_pax_extensions([
            ("SCHILY.xattr.security.capability", &b"\x01\0\n=\xff"[..]),
            ("path", b"other"),
            ("uid", b"70000"),
        ])
        .unwrap();
    builder.append(&header("short", tar::EntryType::Regular, 1), &b"x"[..]).unwrap();
    builder.into_inner().unwrap()
}

#[test]
fn members_of_every_dialect_are_read() {
    let bytes = sample();
    let list = entries(&bytes).unwrap();
    assert_eq!(list.len(), 4);
    assert_eq!((&*list[0].path, &list[0].kind), ("dir/", &EntryKind::Dir));
    let EntryKind::File { offset, bytes: 3 } = list[1].kind else {
        panic!("{:?}", list[1]);
    };
    let offset = usize::try_from(offset).unwrap();
    assert_eq!(&bytes[offset..offset + 3], b"abc");
    assert_eq!(list[1].meta, Meta::root(0o4755).owned(33, 34));
    assert_eq!(list[2].path.len(), 204);
    assert_eq!(list[2].kind, EntryKind::Symlink(format!("/{}", "t".repeat(150))));
    assert_eq!((&*list[3].path, list[3].meta.uid), ("other", 70_000));
    assert_eq!(list[3].meta.xattrs["security.capability"], b"\x01\0\n=\xff");
}

#[test]
fn a_cut_archive_is_refused_or_ends_at_a_member() {
    let bytes = sample();
    let whole = entries(&bytes).unwrap();
    for cut in 0..bytes.len() {
        match entries(&bytes[..cut]) {
            Ok(list) => assert_eq!(list, whole[..list.len()], "cut at {cut}"),
            Err(error) => assert_eq!(error.kind(), Kind::Hostile, "cut at {cut}"),
        }
    }
}

#[test]
fn a_member_larger_than_the_archive_is_refused() {
    for size in [513, 1 << 33, (1 << 33) - 1] {
        let mut bytes = header("file", tar::EntryType::Regular, size).as_bytes().to_vec();
        bytes.extend([0; 512]);
        assert_eq!(entries(&bytes).unwrap_err().kind(), Kind::Hostile);
    }
    let mut huge = header("file", tar::EntryType::Regular, 0);
    huge.as_gnu_mut().unwrap().size = [0x80, 0, 0, 0, 0x7f, 255, 255, 255, 255, 255, 255, 255];
    huge.set_cksum();
    assert_eq!(entries(huge.as_bytes()).unwrap_err().kind(), Kind::Hostile);
}

#[test]
fn an_extended_header_over_its_limit_is_refused_before_it_is_read() {
    for kind in [tar::EntryType::XHeader, tar::EntryType::GNULongName] {
        let bytes = header("x", kind, EXTENSION_BYTES_MAX + 1).as_bytes().to_vec();
        let error = entries(&bytes).unwrap_err();
        assert!(error.to_string().contains("limit"), "{error}");
    }
}

#[test]
fn more_members_than_allowed_are_refused() {
    let bytes = sample();
    let reader = Reader::new(Cursor::new(&bytes), Path::new("x")).unwrap();
    let list: Vec<_> = reader.at_most(3).collect();
    assert_eq!(list.len(), 4);
    assert_eq!(list[3].as_ref().unwrap_err().kind(), Kind::Hostile);
}

#[test]
fn sparse_members_and_names_that_are_not_utf8_are_refused() {
    let sparse = header("s", tar::EntryType::GNUSparse, 0).as_bytes().to_vec();
    entries(&sparse).unwrap_err();
    let mut latin = header("x", tar::EntryType::Regular, 0);
    latin.as_gnu_mut().unwrap().name[0] = 0xe9;
    latin.set_cksum();
    entries(latin.as_bytes()).unwrap_err();
}

#[test]
fn damaged_headers_are_refused() {
    let good: [u8; 512] = member("a", b'0', "", b"").try_into().unwrap();
    let changed = |at: usize, bytes: &[u8]| {
        let mut header = good;
        header[at..at + bytes.len()].copy_from_slice(bytes);
        header
    };
    assert!(refusal(&[changed(0, b"b").to_vec()]).contains("checksum"));
    for header in [
        changed(124, b"99999999999"),
        changed(124, b"77777777777"),
        changed(124, &[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        changed(124, &[0xff; 12]),
        changed(0, b"\xff\xfe"),
        changed(108, &[0x80, 0, 0, 1, 0, 0, 0, 0]),
    ] {
        refusal(&[with_checksum(header).to_vec()]);
    }
    let huge = member("x", b'L', "", &vec![b'a'; 5000]);
    assert!(refusal(&[huge]).contains("longer than 4096"));
    for body in ["5 a=b\n", "0 a=b\n", "99 a=b\n", "6 ab\n\n", "+6 a=b\n", "7 a=b\n"] {
        let text = refusal(&[member("x", b'x', "", body.as_bytes()), member("a", b'0', "", b"")]);
        assert!(text.contains("extended header is damaged"), "{body:?}: {text}");
    }
}

#[test]
fn an_extension_is_for_one_member_and_a_pax_name_stands_in_for_a_long_one() {
    let list = entries(&tar(&[
        pax("path", b"pax"),
        pax("SCHILY.xattr.user.a", b"v"),
        member("x", b'L', "", b"gnu\0"),
        member("cut", b'0', "", b"1"),
        member("x", b'L', "", b"gnu\0"),
        member("cut", b'0', "", b"2"),
        member("after", b'0', "", b"3"),
    ]))
    .unwrap();
    let names: Vec<&str> = list.iter().map(|entry| &*entry.path).collect();
    assert_eq!(names, ["pax", "gnu", "after"]);
    let xattrs = list.iter().map(|entry| entry.meta.xattrs.len());
    assert_eq!(xattrs.collect::<Vec<_>>(), [1, 0, 0]);
}

#[test]
fn a_name_too_long_or_with_a_nul_byte_is_refused_wherever_it_stands() {
    let long = vec![b'a'; NAME_BYTES_MAX + 1];
    for (key, dialect) in [("path", b'L'), ("linkpath", b'K')] {
        let last = member("a", b'2', "b", b"");
        assert!(refusal(&[pax(key, &long), last.clone()]).contains("longer than 4096"));
        assert!(refusal(&[member("x", dialect, "", &long), last.clone()]).contains("longer than 4096"));
        assert!(refusal(&[pax(key, b"a\0b"), last.clone()]).contains("NUL"));
        entries(&tar(&[pax(key, &long[1..]), last])).unwrap();
    }
}

#[test]
fn global_headers_count_for_nothing_unless_asked() {
    let bytes = tar(&[member("x", b'g', "", b"10 uid=70\n"), member("a", b'0', "", b"")]);
    let uid = |globals| {
        let reader = Reader::new(Cursor::new(&bytes), Path::new("x")).unwrap().globals(globals);
        reader.map(|entry| entry.unwrap().meta.uid).collect::<Vec<_>>()
    };
    assert_eq!(uid(Globals::Ignored), [1]);
    assert_eq!(uid(Globals::Honoured), [70]);
    assert_eq!(entries(&bytes).unwrap()[0].meta.uid, 1);
}

#[test]
fn headers_of_extensions_and_the_mark_at_the_end_count_towards_their_limit() {
    let bytes = tar(&[pax("uid", b"5"), member("a", b'0', "", b"")]);
    let read = |limit| -> Result<Vec<Entry>> {
        Reader::new(Cursor::new(&bytes), Path::new("x")).unwrap().at_most_headers(limit).collect()
    };
    assert_eq!(read(3).unwrap().len(), 1);
    for limit in 0..3 {
        assert_eq!(read(limit).unwrap_err().kind(), Kind::Hostile);
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic_or_leave_its_archive(
        flips in proptest::collection::vec((0..8192_usize, 0..=255_u8), 0..24),
        fix in proptest::bool::ANY,
    ) {
        let mut bytes = sample();
        for (at, value) in flips {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        if fix {
            for block in bytes.as_chunks_mut::<512>().0 {
                let mut header = tar::Header::from_byte_slice(block).clone();
                header.set_cksum();
                *block = *header.as_bytes();
            }
        }
        let total = u64::try_from(bytes.len()).unwrap();
        for entry in Reader::new(Cursor::new(&bytes), Path::new("x")).unwrap().flatten() {
            if let EntryKind::File { offset, bytes } = entry.kind {
                proptest::prop_assert!(offset + bytes <= total);
            }
        }
    }
}
