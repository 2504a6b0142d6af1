use super::*;
use crate::{
    cache::Cache,
    debian::{
        Pocket,
        fixture::{ar, deb, member, pax, tar, xz},
    },
    digest::Digest,
    report::Report,
    tree::Meta,
};
use proptest::{prelude::*, test_runner::TestRunner};
use std::io::Write;

/// What comes of a package with these bytes; the cache is gone afterwards.
fn try_deb<T>(bytes: &[u8], use_tree: impl FnOnce(&Tree) -> T) -> Result<T> {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    let ctx = Context::new(cache, Report::silent());
    let sha256 = ctx.cache.insert(&mut &bytes[..], u64::MAX).unwrap();
    let package = Package {
        name: "p".to_owned(),
        version: "1".to_owned(),
        arch: "all".to_owned(),
        pocket: Pocket::Main,
        filename: "pool/p.deb".to_owned(),
        size: 0,
        sha256,
    };
    let outcome = unpack(&ctx, &package).map(|tree| use_tree(&tree));
    let left = std::fs::read_dir(dir.path().join("tmp")).unwrap().count();
    assert_eq!(left, 0, "nothing half-made stays behind");
    outcome
}

fn try_tar<T>(members: &[Vec<u8>], use_tree: impl FnOnce(&Tree) -> T) -> Result<T> {
    try_deb(&deb("data.tar", &tar(members)), use_tree)
}

fn refusal(members: &[Vec<u8>]) -> String {
    let error = try_tar(members, |_| ()).unwrap_err();
    assert_eq!(error.kind(), Kind::Hostile);
    error.render()
}

fn path(text: &str) -> TreePath {
    TreePath::new(text).unwrap()
}

fn content(tree: &Tree, at: &str) -> Vec<u8> {
    let node = tree.get(&path(at)).unwrap();
    let NodeKind::File(content) = &node.kind else {
        panic!("{at} is {:?}", node.kind);
    };
    content.read().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn usual() -> Vec<Vec<u8>> {
    vec![
        member("./", b'5', "", b""),
        member("./usr/bin/", b'5', "", b""),
        member("./usr/bin/tool", b'0', "", b"first"),
        member("./usr/bin/other", b'1', "./usr/bin/tool", b""),
        member("./usr/bin/third", b'1', "usr/bin/other", b""),
        member("./usr/bin/link", b'2', "/etc/tool", b""),
    ]
}

#[test]
fn files_links_owners_and_modes_arrive_under_every_compression() {
    let data = tar(&usual());
    let zstd = zstd::encode_all(&data[..], 1).unwrap();
    for (name, bytes) in [
        ("data.tar", data.clone()),
        ("data.tar.gz", gzip(&data)),
        ("data.tar.xz", xz(&data)),
        ("data.tar.zst", zstd),
    ] {
        let check = |tree: &Tree| {
            let node = tree.get(&path("usr/bin/tool")).unwrap();
            let meta = &node.meta;
            assert_eq!((meta.mode, meta.uid, meta.gid), (0o4755, 1, 2), "{name}");
            assert_eq!(content(tree, "usr/bin/tool"), b"first");
            for at in ["usr/bin/other", "usr/bin/third"] {
                let node = tree.get(&path(at)).unwrap();
                assert!(matches!(&node.kind, NodeKind::HardLink(to) if *to == path("usr/bin/tool")));
            }
            let link = tree.get(&path("usr/bin/link")).unwrap();
            assert!(matches!(&link.kind, NodeKind::Symlink(to) if to == "/etc/tool"));
        };
        try_deb(&deb(name, &bytes), check).unwrap();
    }
}

#[test]
fn what_a_global_header_says_is_true_of_every_member_behind_it() {
    let members = [
        member("before", b'0', "", b""),
        member("x", b'g', "", b"10 uid=70\n"),
        member("after", b'0', "", b""),
        pax("uid", b"71"),
        member("own", b'0', "", b""),
        member("last", b'0', "", b""),
    ];
    try_tar(&members, |tree| {
        let uids = ["before", "after", "own", "last"].map(|at| tree.get(&path(at)).unwrap().meta.uid);
        assert_eq!(uids, [1, 70, 71, 70]);
    })
    .unwrap();
    refusal(&[member("x", b'g', "", b"5 a=b\n"), member("a", b'0', "", b"")]);
}

#[test]
fn the_last_of_two_entries_counts() {
    let members = [
        member("a", b'0', "", b"old"),
        member("b", b'2', "x", b""),
        member("./a", b'0', "", b"new"),
        member("b", b'0', "", b"file"),
    ];
    try_tar(&members, |tree| {
        assert_eq!(content(tree, "a"), b"new");
        assert_eq!(content(tree, "b"), b"file");
    })
    .unwrap();
}

#[test]
fn long_names_and_attributes_of_both_dialects_are_kept() {
    let long = format!("{}/{}", "d".repeat(150), "f".repeat(150));
    let members = [
        member("x", b'L', "", format!("{long}\0").as_bytes()),
        member("cut", b'0', "", b"gnu"),
        pax("path", b"posix/name"),
        pax("SCHILY.xattr.security.capability", b"\x01\0\x02"),
        member("cut", b'0', "", b"pax"),
        member("after", b'0', "", b"plain"),
    ];
    try_tar(&members, |tree| {
        assert_eq!(content(tree, &long), b"gnu");
        assert_eq!(content(tree, "posix/name"), b"pax");
        let xattrs = &tree.get(&path("posix/name")).unwrap().meta.xattrs;
        assert_eq!(xattrs["security.capability"], b"\x01\0\x02");
        assert!(tree.get(&path("after")).unwrap().meta.xattrs.is_empty(), "an extension is for one member");
    })
    .unwrap();
}

#[test]
fn what_points_out_of_the_tree_is_refused() {
    for members in [
        vec![member("../evil", b'0', "", b"x")],
        vec![member("a/../../evil", b'0', "", b"x")],
        vec![pax("path", b"../evil"), member("a", b'0', "", b"x")],
        vec![member("a", b'1', "../../etc/passwd", b"")],
        vec![member("a", b'1', "/etc/passwd", b"")],
        vec![member("a", b'1', "a", b"")],
        vec![member("b", b'1', "not-there", b"")],
        vec![member("d/", b'5', "", b""), member("b", b'1', "d", b"")],
        vec![member("lib", b'2', "/etc", b""), member("lib/passwd", b'0', "", b"x")],
        vec![member("a", b'0', "", b"x"), member("a/b", b'0', "", b"x")],
        vec![member("./", b'2', "/etc", b"")],
    ] {
        refusal(&members);
    }
}

#[test]
fn devices_and_pipes_are_refused() {
    for (kind, word) in
        [(b'3', "character device"), (b'4', "block device"), (b'6', "named pipe"), (b'S', "unknown type")]
    {
        let text = refusal(&[member("dev/x", kind, "", b"")]);
        assert!(text.contains("dev/x") && text.contains(word), "{text}");
    }
}

#[test]
fn a_truncated_or_foreign_package_is_refused() {
    let whole = deb("data.tar.xz", &xz(&tar(&usual())));
    for end in [0, 4, 8, 30, 70, 72, 140, 200, whole.len() - 40] {
        let error = try_deb(&whole[..end], |_| ()).unwrap_err();
        assert_eq!(error.kind(), Kind::Hostile, "{end}");
    }
    let mark: &[u8] = b"2.0\n";
    for bytes in [
        b"<!DOCTYPE html>".to_vec(),
        ar(&[("data.tar", b"")]),
        ar(&[("debian-binary", b"3.0\n"), ("data.tar", b"")]),
        ar(&[("debian-binary", mark), ("data.tar.bz2", b"")]),
        ar(&[("debian-binary", mark)]),
        ar(&[("debian-binary", mark); 20]),
        deb("data.tar.xz", b"no xz"),
        deb("data.tar.zst", b"no zstd"),
        deb("data.tar.gz", b"no gzip"),
    ] {
        assert_eq!(try_deb(&bytes, |_| ()).unwrap_err().kind(), Kind::Hostile);
    }
    let mut long = deb("data.tar", b"");
    let at = long.len() - 12;
    long[at..at + 10].copy_from_slice(b"9999999999");
    assert!(try_deb(&long, |_| ()).is_err());
}

#[test]
fn a_compression_that_wants_much_memory_is_refused() {
    let mut options = liblzma::stream::LzmaOptions::new_preset(0).unwrap();
    options.dict_size(512 << 20);
    let mut filters = liblzma::stream::Filters::new();
    filters.lzma2(&options);
    let check = liblzma::stream::Check::None;
    let stream = liblzma::stream::Stream::new_stream_encoder(&filters, check);
    // The encoder itself may refuse such a dictionary; then there is nothing to test against.
    let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream.unwrap());
    encoder.write_all(&tar(&usual())).unwrap();
    let bytes = encoder.finish().unwrap();
    let error = try_deb(&deb("data.tar.xz", &bytes), |_| ()).unwrap_err();
    assert_eq!(error.kind(), Kind::Hostile);
}

#[test]
fn merging_usr_moves_directories_and_links_and_drops_the_symlinks_that_stand_for_it() {
    let mut tree = Tree::new();
    tree.symlink("bin", "usr/bin").unwrap();
    tree.file("lib/modules/a", 0o644, "a").unwrap();
    tree.file("usr/lib/b", 0o644, "b").unwrap();
    tree.file("libx/c", 0o644, "c").unwrap();
    let link = Node { meta: Meta::root(0o644), kind: NodeKind::HardLink(path("lib/modules/a")) };
    tree.insert(path("sbin/d"), link).unwrap();
    let merged = merge_usr(&tree).unwrap();
    let names: Vec<&str> = merged.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(
        names,
        [
            "",
            "libx",
            "libx/c",
            "usr",
            "usr/lib",
            "usr/lib/b",
            "usr/lib/modules",
            "usr/lib/modules/a",
            "usr/sbin",
            "usr/sbin/d"
        ]
    );
    let node = merged.get(&path("usr/sbin/d")).unwrap();
    assert!(matches!(&node.kind, NodeKind::HardLink(to) if *to == path("usr/lib/modules/a")));
}

#[test]
fn unpacking_twice_gives_equal_trees() {
    let bytes = deb("data.tar", &tar(&usual()));
    let one = try_deb(&bytes, Tree::identity).unwrap();
    assert_eq!(try_deb(&bytes, Tree::identity).unwrap(), one);
    let mut other = usual();
    other[2] = member("./usr/bin/tool", b'0', "", b"FIRST");
    assert_ne!(try_tar(&other, Tree::identity).unwrap(), one);
    assert_ne!(one, Digest::of(b""));
}

#[test]
fn no_change_of_a_package_makes_it_panic() {
    let dir = tempfile::tempdir().unwrap();
    let ctx = Context::new(Cache::open(dir.path()).unwrap(), Report::silent());
    let good = deb("data.tar", &tar(&usual()));
    let path = dir.path().join("p.deb");
    let change = (any::<prop::sample::Index>(), any::<u8>());
    let changes = (prop::collection::vec(change, 1..6), any::<prop::sample::Index>());
    let config = ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() };
    let run = |(changes, end): (Vec<(prop::sample::Index, u8)>, prop::sample::Index)| {
        let mut bytes = good.clone();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(end.index(bytes.len()) + 1);
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(&bytes).unwrap();
        let _outcome =
            deb::data_tar_of(&ctx, &path, &Digest::of(&bytes)).and_then(|data| read_tar(&ctx, &data));
        Ok(())
    };
    TestRunner::new(config).run(&changes, run).unwrap();
}
