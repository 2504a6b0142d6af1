//! Small bundles for tests, the same bytes in every run: nothing in them is worth compressing.

use super::{
    cut::places,
    pack::{pack, whole},
};
use crate::{context::Context, digest::Digest, files, image::uki, keys::SecretKey};
use coracle_format::{
    bundle::{Header, Index, Metadata},
    device::VERITY_ARG,
    slot::{Arch, BLOCK_BYTES, Range, Text},
    verity,
    version::Version,
};
use coracle_trust::{Release, publish};
use std::{convert::Infallible, fs::File};

/// What a bundle is made of.
pub(crate) struct Recipe<'a> {
    pub(crate) version: &'a str,
    /// Another one is another image.
    pub(crate) flavour: u8,
    pub(crate) arch: Arch,
    pub(crate) released: u64,
    pub(crate) root: &'a [u8],
    pub(crate) targets: &'a SecretKey,
    /// What is in it, if not noise.
    pub(crate) contents: Option<Contents>,
}

/// What is in a release.
#[derive(Clone, Debug)]
pub(crate) struct Contents {
    /// Whole blocks.
    pub(crate) image: Vec<u8>,
    pub(crate) linux: Vec<u8>,
    pub(crate) initrd: Vec<u8>,
    pub(crate) uname: String,
}

impl Contents {
    /// Noise that another flavour or version has otherwise.
    fn noise(recipe: &Recipe<'_>) -> Self {
        Self {
            image: noise(recipe.flavour, 4),
            linux: uki::tests::stub(machine(recipe.arch), 1),
            initrd: noise(recipe.version.bytes().fold(recipe.flavour, u8::wrapping_add), 512),
            uname: "6.12.0".to_owned(),
        }
    }
}

fn machine(arch: Arch) -> u16 {
    match arch {
        Arch::X86_64 => 0x8664,
        Arch::Aarch64 => 0xaa64,
    }
}

/// When the metadata of bundles expires.
const EXPIRES: u64 = 2_100_000_000;

/// Blocks that cannot be compressed, each seed's own.
pub(crate) fn noise(seed: u8, blocks: u32) -> Vec<u8> {
    let pieces = (0..blocks * 128).map(|number| Digest::of(&[&[seed][..], &number.to_le_bytes()].concat()).0);
    pieces.flatten().collect()
}

/// The bytes of a bundle of image `shop`.
pub(crate) fn bundle(ctx: &Context, recipe: &Recipe<'_>) -> Vec<u8> {
    let salt = [4; 32];
    let contents = recipe.contents.clone().unwrap_or_else(|| Contents::noise(recipe));
    let Contents { image, linux, initrd, uname } = &contents;
    let length = |bytes: &[u8]| u64::try_from(bytes.len()).unwrap();
    let blocks = length(image) / BLOCK_BYTES;
    let mut tree = verity::Tree::new(blocks, &salt);
    for block in image.chunks(verity::BLOCK) {
        let Ok(()) = tree.push::<Infallible>(block, &mut |_, _| Ok(()));
    }
    let Ok(root_hash) = tree.finish::<Infallible>(&mut |_, _| Ok(()));
    let [hash, salted] = [root_hash, salt].map(Digest);
    let stub = uki::tests::stub(machine(recipe.arch), 8);
    let parts = uki::Parts {
        linux,
        initrd,
        command_line: &format!("quiet {VERITY_ARG}={hash}:{salted}:{blocks}"),
        os_release: "ID=coracle\n",
        uname,
    };
    let boot = uki::build(&stub, &parts).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("parts");
    files::replace(&path, &[&image[..], &boot].concat()).unwrap();
    let file = File::open(&path).unwrap();
    let root = Range { offset: 0, bytes: length(image) };
    let places = places(&file, &path, (root, Range { offset: root.bytes, bytes: length(&boot) })).unwrap();
    let mut stored = Vec::new();
    let frames = pack(ctx, (&file, &path), &places, &mut stored, &ctx.report.step("pack")).unwrap();
    let index = Index {
        arch: recipe.arch,
        name: Text::new("shop").unwrap(),
        version: Text::new(recipe.version).unwrap(),
        root: whole(&file, &path, places[0].range).unwrap(),
        boot: whole(&file, &path, places[1].range).unwrap(),
        root_hash,
        salt,
        frames,
    };
    let index = index.encode().unwrap();
    let metadata = metadata(recipe, &index);
    let header = Header::of(&metadata, &index, length(&stored)).unwrap().encode();
    [&header[..], &metadata, &index, &stored].concat()
}

fn metadata(recipe: &Recipe<'_>, index: &[u8]) -> Vec<u8> {
    let release = Release {
        name: "shop".to_owned(),
        arch: recipe.arch,
        version: Version::parse(recipe.version).unwrap(),
        epoch: 0,
        released: recipe.released,
        replaces: None,
    };
    let body = publish::targets(&release, index, EXPIRES).unwrap();
    let targets = publish::document(&body, &[(recipe.targets.public(), recipe.targets.sign(&body))]);
    Metadata { roots: vec![recipe.root], targets: &targets }.encode().unwrap()
}
