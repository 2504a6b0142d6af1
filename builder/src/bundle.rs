//! `update.bundle`: what brings a machine from any release to this one. See `docs/formats/bundle.md`.
//!
//! It is made of what a finished disk holds in slot A, so that an image and its update are the same bytes.

pub(crate) mod check;
mod cut;
#[cfg(test)]
pub(crate) mod fixture;
pub(crate) mod pack;
pub(crate) mod pieces;

pub use check::Opened;

use crate::{
    build::{self, Built},
    cache::Origin,
    context::Context,
    digest::{Digest, Hasher},
    error::{Doing as _, Error, Kind, Result},
    files,
    image::inspect::Disk,
    keys::{self, KeyDir, refused},
    show,
    signer::Signer,
};
use coracle_format::{
    bundle::{BUNDLE_VERSION, Header, Index, Metadata},
    layout::Role as PartitionRole,
    slot::{Descriptor, Range},
    version::Version,
};
use coracle_trust::{Release, Role, publish, verify_bundle};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// The file beside `disk.raw`.
pub const FILE_NAME: &str = "update.bundle";
/// Changes whenever the same disk would give other frames.
const STEPS_VERSION: &[u8] = b"coracle bundle steps 3";
/// How long the targets metadata of a bundle is good for a machine that knows the time, from the date of the release.
/// It bounds when an update may start, nothing else.
const LIFETIME_SECONDS: u64 = 10 * 366 * 86_400;

/// Who signs a bundle, and what it says that the image does not.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The directory of keys.
    pub keys: Option<PathBuf>,
    /// The program that signs.
    pub signer: Option<crate::signer::Command>,
    /// Downgrade exception: the newest version that this one may replace though it is older.
    pub replaces: Option<Version>,
}

/// What `build.json` says of the bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleRecord {
    /// Its length in bytes.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub sha256: String,
    /// SHA-256 of the index: what the metadata vouches for.
    pub index: String,
    /// How many frames there are.
    pub frames: usize,
}

impl Options {
    /// An error if nothing is named that could sign.
    pub fn check(&self) -> Result<()> {
        if self.keys.is_some() || self.signer.is_some() {
            return Ok(());
        }
        Err(Error::new(Kind::Usage, "a bundle must be signed, and no key was named").hint(
            "make keys once with `coracle keys new DIR`, name DIR/root.json in the manifest ([update] root), and \
             build with --bundle --keys DIR, or with --signer CMD where an HSM has the key",
        ))
    }
}

/// Removes the bundle of an older disk.
pub(crate) fn remove(dir: &Path) -> Result<()> {
    let path = dir.join(FILE_NAME);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).doing("remove", &path),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes the bundle of a built image beside its disk, or finds that it is there; records it in `build.json`.
pub fn write(ctx: &Context, built: &Built, options: &Options) -> Result<PathBuf> {
    options.check()?;
    let _guard = build::lock_out(ctx, &built.dir)?;
    let trust = Trust::of(ctx, built, options)?;
    let disk = Disk::open(&built.disk)?;
    let slot = disk
        .slot(PartitionRole::SlotA)?
        .ok_or_else(|| Error::new(Kind::Hostile, format!("slot A of {} is empty", built.disk.display())))?;
    let epoch = built.manifest.update.as_ref().map_or(0, |update| update.epoch);
    let release = release(&slot.descriptor, (epoch, built.record.epoch), options)?;
    let packed = packed(ctx, &built.disk, (&slot.descriptor, slot.root().offset))?;
    let path = built.dir.join(FILE_NAME);
    if let Some(record) = current(&path, &packed, &release, &trust)? {
        ctx.report.info(format!("{} is up to date", path.display()));
        build::Record::store_bundle(&built.dir, record)?;
        return Ok(path);
    }
    let metadata = trust.sign(ctx, &release, &packed.index)?;
    let record = assemble(ctx, &path, &packed, &metadata, &trust.shipped)?;
    ctx.report.info(format!("{}  ({})", path.display(), show::bytes(record.bytes)));
    build::Record::store_bundle(&built.dir, record)?;
    Ok(path)
}

/// Whom machines trust, and who signs.
struct Trust {
    /// The root in the image.
    shipped: Vec<u8>,
    /// Every root that is known, oldest first.
    chain: Vec<Vec<u8>>,
    signers: Vec<Signer>,
}

impl Trust {
    fn of(ctx: &Context, built: &Built, options: &Options) -> Result<Self> {
        let declared = built.manifest.update.as_ref().map(|update| update.root.path.clone());
        let dir = options.keys.as_ref().map(KeyDir::new);
        let shipped = declared.or_else(|| dir.as_ref().map(KeyDir::root_path)).ok_or_else(|| {
            Error::new(Kind::Usage, "it is not known what root metadata the image's machines trust")
                .hint("name it in the manifest: [update] root = \"root.json\"")
        })?;
        let (shipped, _) = keys::read_root(&shipped)?;
        let chain = dir.as_ref().map_or_else(|| Ok(vec![shipped.clone()]), KeyDir::chain)?;
        let signers = match (&options.signer, &dir) {
            (Some(command), _) => vec![Signer::Command(command.clone())],
            (None, Some(dir)) => dir.signers(ctx, Role::Targets)?,
            (None, None) => Vec::new(),
        };
        Ok(Self { shipped, chain, signers })
    }

    /// The metadata of a release, which the shipped root accepts.
    fn sign(&self, ctx: &Context, release: &Release, index: &[u8]) -> Result<Vec<u8>> {
        let step = ctx.report.step("sign bundle");
        let expires = release.released.saturating_add(LIFETIME_SECONDS);
        let signed = publish::targets(release, index, expires)
            .ok_or_else(|| Error::new(Kind::Usage, "the release's date is beyond the year 9999"))?;
        let mut signatures = Vec::new();
        for signer in &self.signers {
            signatures.push(signer.sign(ctx, Role::Targets, &signed)?);
        }
        let metadata = self.metadata(&publish::document(&signed, &signatures))?;
        verify_bundle(&self.shipped, &metadata, Some(keys::now()), 0).map_err(|why| {
            refused("no machine with this image would accept the bundle", why).hint(
                "the keys must be those that the image's root metadata names; `coracle keys list DIR` shows them",
            )
        })?;
        step.done(format!("{} of {} signatures", signatures.len(), self.signers.len()));
        Ok(metadata)
    }

    fn metadata(&self, targets: &[u8]) -> Result<Vec<u8>> {
        let roots = self.chain.iter().map(Vec::as_slice).collect();
        Metadata { roots, targets }
            .encode()
            .ok_or_else(|| Error::new(Kind::TooLarge, "the metadata is too large for a bundle"))
    }
}

/// Frames and index of a release, in the cache.
pub(crate) struct Packed {
    /// The index's bytes.
    pub(crate) index: Vec<u8>,
    /// The file of all stored frames.
    pub(crate) frames: PathBuf,
    count: usize,
    stored: u64,
}

/// Packs what slot A of a disk holds.
pub(crate) fn packed(ctx: &Context, disk: &Path, (descriptor, slot): (&Descriptor, u64)) -> Result<Packed> {
    let step = ctx.report.step("pack bundle");
    let mut hasher = Hasher::default();
    hasher.field(STEPS_VERSION);
    hasher.field(&BUNDLE_VERSION.to_le_bytes());
    hasher.field(&pack::LEVEL.to_le_bytes());
    // The descriptor names root and boot artefact by their digests.
    hasher.field(&descriptor.encode());
    let (dir, origin) = ctx.cache.step(&hasher.digest(), |dir| {
        let file = File::open(disk).doing("open", disk)?;
        let of_disk = |range: Range| Range { offset: slot.saturating_add(range.offset), bytes: range.bytes };
        let places = cut::places(&file, disk, (of_disk(descriptor.root), of_disk(descriptor.boot)))?;
        let path = dir.join("frames");
        let mut out = io::BufWriter::new(File::create(&path).doing("create", &path)?);
        let frames = pack::pack(ctx, (&file, disk), &places, &mut out, &step)?;
        out.flush().doing("write", &path)?;
        let index = Index {
            arch: descriptor.arch,
            name: descriptor.name,
            version: descriptor.version,
            root: pack::whole(&file, disk, places[0].range)?,
            boot: pack::whole(&file, disk, places[1].range)?,
            root_hash: descriptor.root_hash,
            salt: descriptor.salt,
            frames,
        };
        let bytes = index.encode().map_err(|why| {
            Error::new(Kind::TooLarge, "the image cannot be described by a bundle").because(why)
        })?;
        files::replace(&dir.join("index"), &bytes)
    })?;
    let path = dir.join("index");
    let bytes = fs::read(&path).doing("read", &path)?;
    let index = Index::parse(&bytes).map_err(|why| check::not_a_bundle(&path, why))?;
    let plain = index.root.bytes.saturating_add(index.boot.bytes);
    let packed = Packed {
        stored: index.stored_bytes(),
        count: index.frames.len(),
        frames: dir.join("frames"),
        index: bytes,
    };
    let note = format!("{} frames, {} from {}", packed.count, show::bytes(packed.stored), show::bytes(plain));
    step.done(match origin {
        Origin::Cached => format!("{note} (cached)"),
        Origin::Made => note,
    });
    Ok(packed)
}

fn release(descriptor: &Descriptor, (epoch, released): (u32, u64), options: &Options) -> Result<Release> {
    let text = descriptor.version.as_str();
    let version = Version::parse(text).ok_or_else(|| {
        Error::new(Kind::Usage, format!("the image version {text:?} cannot be compared with others"))
            .hint("updates need a version such as 1.2.3: one to four numbers up to 65535")
    })?;
    if let Some(replaced) = options.replaces.filter(|replaced| *replaced <= version) {
        let message = format!("version {version} needs no exception to replace version {replaced}");
        return Err(Error::new(Kind::Usage, message));
    }
    Ok(Release {
        name: descriptor.name.as_str().to_owned(),
        arch: descriptor.arch,
        version,
        epoch,
        released,
        replaces: options.replaces,
    })
}

/// The record of the bundle at `path` if it is just what would be written: the same frames, release and roots, with
/// signatures that are accepted. So an HSM is asked once per release.
fn current(path: &Path, packed: &Packed, release: &Release, trust: &Trust) -> Result<Option<BundleRecord>> {
    if !path.is_file() {
        return Ok(None);
    }
    let Ok(opened) = Opened::open(path) else {
        return Ok(None);
    };
    let Ok((verified, _)) = opened.verify(&trust.shipped, Some(keys::now())) else {
        return Ok(None);
    };
    let roots: Vec<&[u8]> = trust.chain.iter().map(Vec::as_slice).collect();
    let same_roots = Metadata::parse(&opened.metadata).is_ok_and(|metadata| metadata.roots == roots);
    if !same_roots || verified.release != *release || opened.index != packed.index {
        return Ok(None);
    }
    let mut file = File::open(path).doing("open", path)?;
    let (digest, bytes) = Digest::of_reader(&mut file).doing("read", path)?;
    let mut whole = Hasher::default();
    pieces(&opened.header, &opened.metadata, packed, &mut |piece| {
        whole.update(piece);
        Ok(())
    })?;
    Ok((whole.digest() == digest).then(|| record(packed, digest, bytes)))
}

/// Puts a bundle together and reads it back before it appears under its name.
fn assemble(
    ctx: &Context,
    path: &Path,
    packed: &Packed,
    metadata: &[u8],
    shipped: &[u8],
) -> Result<BundleRecord> {
    let header = Header::of(metadata, &packed.index, packed.stored)
        .ok_or_else(|| Error::new(Kind::TooLarge, "the bundle is over its limits"))?;
    let mut file = files::beside(path)?;
    let mut hasher = Hasher::default();
    pieces(&header, metadata, packed, &mut |piece| {
        hasher.update(piece);
        file.write_all(piece).doing("write", path)
    })?;
    let opened = Opened::open(file.path())?;
    let (_, index) = opened.verify(shipped, Some(keys::now()))?;
    opened.check_parts(ctx, &index)?;
    files::commit(file, path)?;
    Ok(record(packed, hasher.digest(), hasher.bytes()))
}

/// Gives the bytes of a bundle to `take`, piece by piece.
fn pieces(
    header: &Header,
    metadata: &[u8],
    packed: &Packed,
    take: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    for piece in [&header.encode()[..], metadata, &packed.index] {
        take(piece)?;
    }
    let mut frames = File::open(&packed.frames).doing("open", &packed.frames)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match io::Read::read(&mut frames, &mut buffer).doing("read", &packed.frames)? {
            0 => return Ok(()),
            n => take(&buffer[..n])?,
        }
    }
}

fn record(packed: &Packed, digest: Digest, bytes: u64) -> BundleRecord {
    BundleRecord {
        bytes,
        sha256: digest.to_string(),
        index: Digest::of(&packed.index).to_string(),
        frames: packed.count,
    }
}
