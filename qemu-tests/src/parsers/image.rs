//! What images and kernels are made of: container layers and documents, unified kernel images, modules.

use super::{ignore, scratch};
use coracle::{
    container::{
        layers::{Layers, Whiteouts},
        source::{Wanted, from_image},
        users::identify,
    },
    digest::Digest,
    image::{tar, uki},
    kernel::{self, modinfo},
    tree::Tree,
};
use coracle_format::slot::Arch;
use std::{fs, path::Path, sync::Arc};

pub(super) fn uki(data: &[u8]) {
    if let Ok(image) = uki::Uki::parse(data) {
        ignore((image.sections().count(), image.linux().map(<[u8]>::len), image.initrd().map(<[u8]>::len)));
        ignore((image.command_line().map(str::len), image.uname().map(str::len)));
    }
    let parts = uki::Parts {
        linux: data,
        initrd: &[9; 700],
        command_line: "quiet",
        os_release: "ID=coracle\n",
        uname: "6.12.0",
    };
    ignore(uki::build(data, &parts));
    ignore(uki::build(&stub(), &parts));
}

/// A PE file with one section and room for the headers of ten more.
pub(crate) fn stub() -> Vec<u8> {
    let mut out = vec![0; 1024];
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &[64]);
    put(64, b"PE\0\0\x64\x86\x01\0");
    put(84, &[240, 0, 0x2e, 2]);
    put(88, &[0x0b, 2]);
    put(88 + 32, &4096_u32.to_le_bytes());
    put(88 + 36, &512_u32.to_le_bytes());
    put(88 + 108, &[16]);
    put(328, b".sbat\0\0\0");
    for (index, field) in [5_u32, 0x1000, 512, 1024, 0, 0, 0, 0x4000_0040].into_iter().enumerate() {
        put(336 + 4 * index, &field.to_le_bytes());
    }
    out.extend(b"sbat,");
    out.resize(1536, 0);
    out
}

pub(super) fn uki_seeds() -> Vec<Vec<u8>> {
    let kernel = stub();
    let parts = uki::Parts {
        linux: &kernel,
        initrd: &[9; 700],
        command_line: "quiet coracle.verity=x",
        os_release: "ID=coracle\n",
        uname: "6.12.0",
    };
    [Some(kernel.clone()), uki::build(&kernel, &parts).ok()].into_iter().flatten().collect()
}

pub(super) fn kernel(data: &[u8]) {
    ignore(kernel::version(data));
    ignore(modinfo::parse("fuzz", data));
}

pub(super) fn kernel_seeds() -> Vec<Vec<u8>> {
    let mut bzimage = vec![0; 0x400];
    bzimage[0x202..0x206].copy_from_slice(b"HdrS");
    bzimage[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
    bzimage[0x300..0x310].copy_from_slice(b"6.12.107+deb13 \0");
    let mut arm = vec![0; 64];
    arm[56..60].copy_from_slice(b"ARM\x64");
    arm.extend(b"Linux version 6.12.117+deb13 (x)\0");
    vec![bzimage, arm, module()]
}

/// A 64-bit ELF object with a `.modinfo` and its section names.
fn module() -> Vec<u8> {
    let info = b"name=virtio_blk\0depends=virtio,virtio-ring\0alias=virtio:d2v*\0softdep=pre: a post: b\0";
    let names = b"\0.modinfo\0.shstrtab\0";
    let mut out = b"\x7fELF\x02\x01\x01".to_vec();
    out.resize(64, 0);
    let info_at = out.len();
    out.extend(info);
    let names_at = out.len();
    out.extend(names);
    out.resize(out.len().next_multiple_of(8), 0);
    let table = out.len();
    let mut header = |name: u32, kind: u32, at: usize, length: usize| {
        let mut section = [0_u8; 64];
        section[..4].copy_from_slice(&name.to_le_bytes());
        section[4..8].copy_from_slice(&kind.to_le_bytes());
        section[24..32].copy_from_slice(&u64::try_from(at).unwrap_or(0).to_le_bytes());
        section[32..40].copy_from_slice(&u64::try_from(length).unwrap_or(0).to_le_bytes());
        out.extend(section);
    };
    header(0, 0, 0, 0);
    header(1, 1, info_at, info.len());
    header(10, 3, names_at, names.len());
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(16, &[1, 0, 62, 0, 1, 0, 0, 0]);
    put(40, &u64::try_from(table).unwrap_or(0).to_le_bytes());
    put(52, &[64, 0, 0, 0, 0, 0, 64, 0, 3, 0, 2, 0]);
    out
}

/// A layer's archive, alone and over another.
pub(super) fn layer(data: &[u8]) {
    scratch::with(|ctx, _| {
        let mut reader = data;
        let Ok(digest) = ctx.cache.insert(&mut reader, 16 << 20) else {
            return;
        };
        let file: Arc<Path> = ctx.cache.object_path(&digest).into();
        for whiteouts in [Whiteouts::Honoured, Whiteouts::Names] {
            let mut layers = Layers::default();
            let applied = layers.apply(&file, &digest, whiteouts).and_then(|()| {
                // The same again: whiteouts and replacements now meet something.
                layers.apply(&file, &digest, whiteouts)
            });
            if applied.is_ok() {
                ignore(layers.finish());
            }
        }
    });
}

fn archive() -> Vec<u8> {
    let mut tree = Tree::new();
    ignore(tree.file("bin/web", 0o755, b"program".to_vec()));
    ignore(tree.file("etc/.wh.motd", 0o644, Vec::new()));
    ignore(tree.file("srv/.wh..wh..opq", 0o644, Vec::new()));
    ignore(tree.symlink("sbin", "bin"));
    let mut out = Vec::new();
    ignore(tar::write(&tree, 0, &mut out));
    out
}

pub(super) fn layer_seeds() -> Vec<Vec<u8>> {
    vec![archive()]
}

/// Stands between the parts of an `oci` input; no UTF-8 text holds it.
const BETWEEN: u8 = 0xff;

/// An index, a manifest, a configuration and a layer, whose texts may name each other's digests as `@MANIFEST@`,
/// `@CONFIG@` and `@LAYER@`: a digest that had to be guessed would hide everything behind it.
pub(super) fn oci(data: &[u8]) {
    let mut parts = data.splitn(4, |byte| *byte == BETWEEN);
    let mut part = || parts.next().unwrap_or_default();
    let (index, manifest, config, layer) = (part(), part(), part(), part());
    scratch::with(|ctx, dir| {
        let dir = dir.join("oci");
        let blobs = dir.join("blobs/sha256");
        if fs::create_dir_all(&blobs).is_err() {
            return;
        }
        let keep = |bytes: &[u8]| {
            let digest = Digest::of(bytes).to_string();
            scratch::put(&blobs.join(&digest), bytes);
            (digest, bytes.len().to_string())
        };
        let layer = keep(layer);
        let config = keep(&named(config, &[("LAYER", &layer)]));
        let manifest = keep(&named(manifest, &[("LAYER", &layer), ("CONFIG", &config)]));
        scratch::put(&dir.join("index.json"), &named(index, &[("MANIFEST", &manifest)]));
        scratch::put(&dir.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#);
        ignore(from_image(ctx, &dir, Wanted { arch: Arch::X86_64, tag: None }));
        ignore(from_image(ctx, &dir, Wanted { arch: Arch::Aarch64, tag: Some("app:1.0") }));
        ignore(fs::remove_dir_all(&dir));
    });
}

fn named(text: &[u8], names: &[(&str, &(String, String))]) -> Vec<u8> {
    let mut text = String::from_utf8_lossy(text).into_owned();
    for (name, (digest, size)) in names {
        text = text.replace(&format!("@{name}@"), digest).replace(&format!("\"@{name}_SIZE@\""), size);
    }
    text.into_bytes()
}

pub(super) fn oci_seeds() -> Vec<Vec<u8>> {
    let index = r#"{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",
        "digest":"sha256:@MANIFEST@","size":"@MANIFEST_SIZE@","platform":{"architecture":"amd64","os":"linux"},
        "annotations":{"org.opencontainers.image.ref.name":"app:1.0"}}]}"#;
    let manifest = r#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json",
        "digest":"sha256:@CONFIG@","size":"@CONFIG_SIZE@"},"layers":[{
        "mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:@LAYER@","size":"@LAYER_SIZE@"}]}"#;
    let config = r#"{"architecture":"amd64","os":"linux","config":{"Entrypoint":["/bin/web"],"Env":["A=b"],
        "User":"www","ExposedPorts":{"80/tcp":{}},"Volumes":null},"rootfs":{"type":"layers",
        "diff_ids":["sha256:@LAYER@"]}}"#;
    let mut out = Vec::new();
    for text in [index, manifest, config] {
        out.extend(text.as_bytes());
        out.push(BETWEEN);
    }
    out.extend(archive());
    vec![out]
}

/// `/etc/passwd` and `/etc/group`, and names looked up in them.
pub(super) fn users(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == BETWEEN);
    let mut part = || parts.next().unwrap_or_default().to_vec();
    let (passwd, group, wanted) = (part(), part(), part());
    let mut tree = Tree::new();
    ignore(tree.file("etc/passwd", 0o644, passwd));
    ignore(tree.file("etc/group", 0o644, group));
    for text in ["", "web", "1000", "web:staff", &String::from_utf8_lossy(&wanted)] {
        ignore(identify(&tree, text));
    }
}

pub(super) fn users_seeds() -> Vec<Vec<u8>> {
    let parts: [&[u8]; 5] = [
        b"root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/srv:/bin/false\n",
        &[BETWEEN],
        b"root:x:0:\nstaff:x:50:web,root\nweb:x:1000:\n",
        &[BETWEEN],
        b"web:50",
    ];
    vec![parts.concat()]
}
