//! One file with the programs of all architectures: `device.json`, then `<arch>/<program>`, as tar and zstd. The same
//! programs give the same bytes.

use super::{
    Program, Programs, put,
    source::{Location, VERSION},
};
use crate::{
    archive::{self, EntryKind, Reader},
    context::Context,
    digest::Digest,
    error::{Doing, Error, Kind, Result},
    fetch::Fetcher,
    image::tar,
    tree::{Content, Tree},
};
use coracle_manifests::manifest::Arch;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Largest artefact.
pub const ARTEFACT_LIMIT_BYTES: u64 = 64 << 20;
/// Largest artefact, unpacked.
const UNPACKED_LIMIT_BYTES: u64 = 256 << 20;
/// Largest index in it.
const INDEX_LIMIT_BYTES: u64 = 64 << 10;
/// Most members.
const MEMBERS_MAX: u64 = 64;
const INDEX_NAME: &str = "device.json";
/// It is made once and fetched often.
const LEVEL: i32 = 19;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    version: String,
    files: BTreeMap<String, Digest>,
}

fn name(arch: Arch, program: Program) -> String {
    format!("{}/{}", arch.name(), program.file())
}

pub(super) fn pack(ctx: &Context, all: &[(Arch, Programs)], out: &Path) -> Result<Digest> {
    let step = ctx.report.step("pack device programs");
    let mut tree = Tree::new();
    let mut index = Index { version: VERSION.to_owned(), files: BTreeMap::new() };
    for (arch, programs) in all {
        for program in Program::ALL {
            let content = programs.get(program);
            let name = name(*arch, program);
            tree.file(&name, 0o755, content.clone())?;
            index.files.insert(name, content.identity());
        }
    }
    let text = serde_json::to_string_pretty(&index)
        .map_err(|source| Error::new(Kind::Internal, "cannot encode the index").because(source))?;
    tree.file(INDEX_NAME, 0o644, Content::from(format!("{text}\n").as_str()))?;
    let mut archive = Vec::new();
    tar::write(&tree, 0, &mut archive)?;
    let bytes = zstd::bulk::compress(&archive, LEVEL).doing("compress", out)?;
    write_whole(out, &bytes)?;
    step.done(format!("{} bytes", bytes.len()));
    Ok(Digest::of(&bytes))
}

/// The file appears whole or not at all.
fn write_whole(out: &Path, bytes: &[u8]) -> Result<()> {
    let dir = out.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir).doing("create a file in", dir)?;
    file.write_all(bytes).doing("write", out)?;
    file.as_file().sync_all().doing("sync", out)?;
    file.persist(out).map_err(|error| error.error).doing("write", out)?;
    Ok(())
}

pub(super) fn unpack(
    ctx: &Context,
    location: &Location,
    sha256: &Digest,
    arch: Arch,
    dir: &Path,
) -> Result<()> {
    let step = ctx.report.step("unpack device programs");
    let packed = object(ctx, location, sha256)?;
    let file = File::open(&packed).doing("open", &packed)?;
    let digest = archive::unpack(&ctx.cache, file, &packed, UNPACKED_LIMIT_BYTES)?;
    let path: Arc<Path> = ctx.cache.object_path(&digest).into();
    let mut members = BTreeMap::new();
    for entry in Reader::open(&path)?.at_most(MEMBERS_MAX) {
        let entry = entry?;
        if let EntryKind::File { offset, bytes } = entry.kind {
            let name = entry.path.trim_start_matches("./").to_owned();
            members.insert(name, Content::of_object(&path, &digest, offset, bytes));
        }
    }
    let index = read_index(&members)?;
    for program in Program::ALL {
        let name = name(arch, program);
        let (Some(content), Some(expected)) = (members.get(&name), index.files.get(&name)) else {
            let message = format!("the device programs have no {name}");
            return Err(Error::new(Kind::Hostile, message));
        };
        let bytes = content.read()?;
        if Digest::of(&bytes) != *expected {
            return Err(Error::new(Kind::Digest, format!("device program {name} does not match its digest")));
        }
        put(dir, program, &bytes)?;
    }
    step.done(arch.name());
    Ok(())
}

fn read_index(members: &BTreeMap<String, Content>) -> Result<Index> {
    let bad = |why: &str| Error::new(Kind::Hostile, format!("not an artefact of device programs: {why}"));
    let content = members.get(INDEX_NAME).ok_or_else(|| bad("it has no device.json"))?;
    if content.len() > INDEX_LIMIT_BYTES {
        return Err(bad("its device.json is too large"));
    }
    let index: Index = serde_json::from_slice(&content.read()?)
        .map_err(|source| bad("its device.json cannot be read").because(source))?;
    if index.version != VERSION {
        let message =
            format!("the device programs are of version {}, this is coracle {VERSION}", index.version);
        return Err(Error::new(Kind::Locked, message)
            .hint(format!("take coracle-device-{VERSION}.tar.zst, or that version of coracle")));
    }
    Ok(index)
}

/// The artefact as a cache object with the right digest.
fn object(ctx: &Context, location: &Location, sha256: &Digest) -> Result<PathBuf> {
    if let Some(path) = ctx.cache.object(sha256) {
        return Ok(path);
    }
    let found = match location {
        Location::File(path) => {
            let mut file = File::open(path).doing("open device programs", path)?;
            ctx.cache.insert(&mut file, ARTEFACT_LIMIT_BYTES)?
        }
        Location::Url(url) => {
            let step = ctx.report.step("fetch device programs");
            let bytes = Fetcher::shared().document(ctx, url, ARTEFACT_LIMIT_BYTES, &step)?;
            let digest = ctx.cache.insert(&mut &bytes[..], ARTEFACT_LIMIT_BYTES)?;
            step.done(format!("{} bytes", bytes.len()));
            digest
        }
    };
    if found == *sha256 {
        return Ok(ctx.cache.object_path(sha256));
    }
    let place = match location {
        Location::File(path) => path.display().to_string(),
        Location::Url(url) => url.clone(),
    };
    let message = format!("the device programs in {place} have digest {found}, {sha256} is expected");
    Err(Error::new(Kind::Digest, message).hint("fetch them again, or correct CORACLE_DEVICE_SHA256"))
}
