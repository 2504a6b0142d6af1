//! Bundles of releases that nobody boots: small, whole, and the same bytes in every run.

use super::publisher::{ARCH, IMAGE};
use crate::parsers;
use anyhow::{Context as _, Result};
use coracle::{digest::Digest, image::uki, keys::SecretKey};
use coracle_format::{
    bundle::{Encoding, Frame, Header, Index, Metadata, Part, Whole},
    device::VERITY_ARG,
    slot::{BLOCK_BYTES, Text},
    verity::{BLOCK, Tree},
    version::Version,
};
use coracle_trust::{Release, publish};
use sha2::{Digest as _, Sha256};
use std::convert::Infallible;

/// A bundle, and the release in it.
pub(super) struct Made {
    pub(super) bytes: Vec<u8>,
    /// SHA-256 of the boot artefact.
    pub(super) release: [u8; 32],
}

/// The bundle of a version, released and signed at `now`.
pub(super) fn make(version: Version, now: u64, root: &[u8], targets: &SecretKey) -> Result<Made> {
    let text = version.to_string();
    let image: Vec<u8> = text.bytes().cycle().take(4 * BLOCK).collect();
    let (root_hash, salt) = (root_hash(&image), SALT);
    let argument = format!("{VERITY_ARG}={}:{}:4", Digest(root_hash), Digest(salt));
    let stub = parsers::stub();
    let parts = uki::Parts {
        linux: &stub,
        initrd: text.as_bytes(),
        command_line: &argument,
        os_release: "ID=coracle\n",
        uname: "6.12.0",
    };
    let boot = uki::build(&stub, &parts)?;
    let release = Sha256::digest(&boot).into();
    let index = Index {
        arch: ARCH,
        name: Text::new(IMAGE).context("the name is too long")?,
        version: Text::new(&text).context("the version is too long")?,
        root: Whole { bytes: 4 * BLOCK_BYTES, sha256: Sha256::digest(&image).into() },
        boot: Whole { bytes: u64::try_from(boot.len())?, sha256: release },
        root_hash,
        salt,
        frames: vec![frame(Part::Root, &image)?, frame(Part::Boot, &boot)?],
    };
    let index = index.encode()?;
    let metadata = metadata(version, now, &index, (root, targets))?;
    let stored = u64::try_from(image.len() + boot.len())?;
    let header = Header::of(&metadata, &index, stored).context("the bundle is too large")?.encode();
    Ok(Made { bytes: [&header[..], &metadata, &index, &image, &boot].concat(), release })
}

const SALT: [u8; 32] = [4; 32];

fn root_hash(image: &[u8]) -> [u8; 32] {
    let (blocks, _) = image.as_chunks::<BLOCK>();
    let mut tree = Tree::new(4, &SALT);
    for block in blocks {
        let Ok(()) = tree.push::<Infallible>(block, &mut |_, _| Ok(()));
    }
    let Ok(hash) = tree.finish::<Infallible>(&mut |_, _| Ok(()));
    hash
}

fn frame(part: Part, bytes: &[u8]) -> Result<Frame> {
    let plain = u32::try_from(bytes.len())?;
    let (encoding, sha256) = (Encoding::Raw, Sha256::digest(bytes).into());
    Ok(Frame { part, offset: 0, plain, stored: plain, encoding, sha256, plain_sha256: sha256 })
}

fn metadata(version: Version, now: u64, index: &[u8], by: (&[u8], &SecretKey)) -> Result<Vec<u8>> {
    let (root, key) = by;
    let release =
        Release { name: IMAGE.to_owned(), arch: ARCH, version, epoch: 0, released: now, replaces: None };
    let body = publish::targets(&release, index, now + 3650 * super::plan::DAY).context("no such date")?;
    let targets = publish::document(&body, &[(key.public(), key.sign(&body))]);
    Metadata { roots: vec![root], targets: &targets }.encode().context("the metadata is too large")
}
