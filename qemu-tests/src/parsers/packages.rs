//! What a Debian mirror serves: package lists, InRelease files, packages.

use super::{ignore, scratch};
use coracle::{
    debian::{
        Freshness, Index, Package, Pocket, Request, deb822, index,
        openpgp::{Judge, Keyring},
        relation,
        release::{self, Release},
        unpack,
        version::Version,
    },
    image::tar,
    tree::Tree,
};
use std::sync::LazyLock;

const JUDGE: Judge = Judge { now: 1_763_000_000, freshness: Freshness::Enforced };
/// Any of Debian's: it has signatures of its own.
const KEYS: &[u8] = include_bytes!("../../../builder/data/keyrings/debian-archive-trixie-stable.gpg");

static DEBIAN: LazyLock<Option<Keyring>> = LazyLock::new(|| Keyring::debian().ok());

pub(super) fn packages(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let text = deb822::unix_lines(&text);
    for stanza in deb822::stanzas(&text) {
        for (_, value) in stanza.fields() {
            ignore(relation::parse(value, "amd64"));
            ignore(Version::new(value).cmp(&Version::new("1:2.0~rc1-3")));
        }
    }
    let Ok(list) = index::compact(&text) else {
        return;
    };
    let index = Index::new("trixie", "amd64", vec![(Pocket::Main, list)]);
    let names: Vec<String> = index.names().take(4).map(str::to_owned).collect();
    ignore(index.resolve(&Request::closure_of(names)));
}

pub(super) fn packages_seeds() -> Vec<Vec<u8>> {
    let entry = |name: &str, fields: &str| {
        format!(
            "Package: {name}\nVersion: 1.21-1\nArchitecture: amd64\nFilename: pool/main/{name}.deb\nSize: 4\nSHA256: {}\n\
             {fields}\n",
            "ab".repeat(32)
        )
    };
    let both = [
        entry(
            "crun",
            "Depends: libc6 (>= 2.34), libcap2 | cap [amd64 !arm64], dpkg:any\nPre-Depends: libc6\n",
        ),
        entry(
            "libc6",
            "Provides: libc6-2.41, cap (= 1.0)\nMulti-Arch: same\nEssential: yes\nPriority: optional\n",
        ),
        entry("libcap2", "Description: a text\n of two lines\nDepends: libc6 (<< 1:3~)\n"),
    ];
    vec![both.concat().into_bytes()]
}

pub(super) fn release(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    ignore(release::parse_date(&text));
    if let Ok(release) = Release::parse(&text) {
        ignore(release.check("trixie", JUDGE));
        ignore(release.index("main", "amd64"));
    }
}

pub(super) fn release_seeds() -> Vec<Vec<u8>> {
    let text = format!(
        "Origin: Debian\nSuite: stable\nCodename: trixie\nDate: Sat, 15 Nov 2025 09:12:41 UTC\nValid-Until: Sat, 22 Nov 2025 \
         09:12:41 UTC\nAcquire-By-Hash: yes\nSHA256:\n {} 1234 main/binary-amd64/Packages.xz\n",
        "cd".repeat(32)
    );
    vec![text.into_bytes(), b"Sat, 15 Nov 2025 09:12:41 UTC".to_vec()]
}

/// Clear-signed messages, and keyrings.
pub(super) fn signature(data: &[u8]) {
    ignore(Keyring::parse(data));
    if let Some(keyring) = &*DEBIAN {
        ignore(keyring.verify(data, JUDGE));
    }
}

pub(super) fn signature_seeds() -> Vec<Vec<u8>> {
    let message = format!(
        "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nSuite: stable\n- --dashed\n-----BEGIN PGP SIGNATURE-----\n\n{}\n\
         -----END PGP SIGNATURE-----\n",
        base64(signature_packet(KEYS).unwrap_or_default())
    );
    vec![message.into_bytes(), KEYS.to_vec()]
}

/// The first signature (tag 2) among the packets of a keyring, whose lengths have one or two bytes (RFC 9580, section 4.2).
fn signature_packet(mut keys: &[u8]) -> Option<&[u8]> {
    loop {
        let first = usize::from(*keys.get(1)?);
        let second = usize::from(*keys.get(2)?);
        let head = *keys.first()?;
        let is_new = head & 0x40 != 0;
        let tag = if is_new { head & 0x3f } else { head >> 2 & 0xf };
        let end = match (is_new, head & 3, first) {
            (true, _, 0..=191) | (false, 0, _) => 2 + first,
            (true, _, 192..=223) => 3 + (first - 192) * 256 + second + 192,
            (false, 1, _) => 3 + first * 256 + second,
            (true | false, _, _) => return None,
        };
        if tag == 2 {
            return keys.get(..end);
        }
        keys = keys.get(end..)?;
    }
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for (number, group) in bytes.chunks(3).enumerate() {
        let part = |at: usize| group.get(at).copied().map_or(0, usize::from);
        let all = part(0) << 16 | part(1) << 8 | part(2);
        for letter in 0..4 {
            let index = all >> (18 - 6 * letter) & 63;
            out.push(if letter <= group.len() { char::from(LETTERS[index]) } else { '=' });
        }
        if number % 16 == 15 {
            out.push('\n');
        }
    }
    out
}

pub(super) fn deb(data: &[u8]) {
    scratch::with(|ctx, _| {
        let mut reader = data;
        let Ok(sha256) = ctx.cache.insert(&mut reader, 16 << 20) else {
            return;
        };
        let package = Package {
            name: "fuzz".into(),
            version: "1".into(),
            arch: "amd64".into(),
            pocket: Pocket::Main,
            filename: "pool/fuzz.deb".into(),
            size: u64::try_from(data.len()).unwrap_or(u64::MAX),
            sha256,
        };
        ignore(unpack::unpack(ctx, &package));
    });
}

pub(super) fn deb_seeds() -> Vec<Vec<u8>> {
    let mut tree = Tree::new();
    ignore(tree.dir("usr/bin", 0o755));
    ignore(tree.file("usr/bin/web", 0o4755, b"#!/bin/sh\n".to_vec()));
    ignore(tree.symlink("usr/bin/www", "../bin/web"));
    let mut data = Vec::new();
    ignore(tar::write(&tree, 0, &mut data));
    vec![archive("data.tar", &data)]
}

fn archive(name: &str, data: &[u8]) -> Vec<u8> {
    let mut out = b"!<arch>\n".to_vec();
    for (name, body) in [("debian-binary", &b"2.0\n"[..]), ("control.tar.xz", b"odd"), (name, data)] {
        let length = body.len();
        out.extend(format!("{name:<16}0           0     0     100644  {length:<10}`\n").bytes());
        out.extend(body);
        out.resize(out.len().next_multiple_of(2), b'\n');
    }
    out
}
