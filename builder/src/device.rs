//! The programs that run on the device: compiled from the sources beside this tool, or taken from an artefact by digest.
//!
//! ```text
//! fingerprint  what the programs are made of, as one digest
//! compile      cargo, for one architecture: the same bytes wherever the sources and the caches are
//! artefact     all programs of all architectures in one file
//! ```

mod artefact;
mod compile;
mod fingerprint;
mod source;

pub use artefact::ARTEFACT_LIMIT_BYTES;
pub use source::{Location, Source};

use crate::{
    context::Context,
    digest::{Digest, Hasher},
    error::{Doing, Result},
    tree::Content,
};
use coracle_manifests::manifest::Arch;
use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
};

/// The architectures that the programs are made for.
pub const ARCHES: [Arch; 2] = [Arch::X86_64, Arch::Aarch64];
/// Changes whenever the same sources would give other bytes.
const BUILD_VERSION: &[u8] = b"device-3";

/// A program of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// PID 1.
    Init,
    /// What PID 1 supervises.
    Services,
    /// Takes updates and commits them.
    Update,
    /// Prints the boot clock.
    Probe,
    /// The UEFI boot selector.
    Selector,
}

impl Program {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Init, Self::Services, Self::Update, Self::Probe, Self::Selector];

    /// Name of its crate.
    pub const fn package(self) -> &'static str {
        match self {
            Self::Init => "coracle-init",
            Self::Services => "coracle-services",
            Self::Update => "coracle-update",
            Self::Probe => "coracle-probe",
            Self::Selector => "coracle-selector",
        }
    }

    /// Name of its file.
    pub const fn file(self) -> &'static str {
        match self {
            Self::Init | Self::Services | Self::Update | Self::Probe => self.package(),
            Self::Selector => "coracle-selector.efi",
        }
    }
}

/// The programs for one architecture.
#[derive(Clone, Debug)]
pub struct Programs {
    /// PID 1, of the initramfs and of the root alike.
    pub init: Content,
    /// What PID 1 supervises.
    pub services: Content,
    /// Takes updates and commits them; only in images that take updates.
    pub update: Content,
    /// Prints the boot clock: the init of `coracle bench`'s floor.
    pub probe: Content,
    /// The UEFI boot selector.
    pub selector: Content,
}

/// The programs for `arch`. What the cache has is neither compiled nor fetched again.
pub fn programs(ctx: &Context, source: &Source, arch: Arch) -> Result<Programs> {
    let key = key(source, arch)?;
    let (dir, _) = ctx.cache.step(&key, |dir| match source {
        Source::Workspace(root) => compile::compile(ctx, root, arch, dir),
        Source::Artefact { location, sha256 } => artefact::unpack(ctx, location, sha256, arch, dir),
    })?;
    let content = |program: Program| content_of(&dir.join(program.file()));
    Ok(Programs {
        init: content(Program::Init)?,
        services: content(Program::Services)?,
        update: content(Program::Update)?,
        probe: content(Program::Probe)?,
        selector: content(Program::Selector)?,
    })
}

/// Packs the programs of all architectures, compiled from the sources, into the file `out`; its digest.
pub fn pack(ctx: &Context, out: &Path) -> Result<Digest> {
    let source = Source::workspace()?;
    let mut all = Vec::new();
    for arch in ARCHES {
        all.push((arch, programs(ctx, &source, arch)?));
    }
    artefact::pack(ctx, &all, out)
}

impl Programs {
    fn get(&self, program: Program) -> &Content {
        match program {
            Program::Init => &self.init,
            Program::Services => &self.services,
            Program::Update => &self.update,
            Program::Probe => &self.probe,
            Program::Selector => &self.selector,
        }
    }
}

fn key(source: &Source, arch: Arch) -> Result<Digest> {
    let mut hasher = Hasher::default();
    hasher.field(BUILD_VERSION);
    hasher.field(arch.name().as_bytes());
    match source {
        Source::Workspace(root) => hasher.field(&fingerprint::of_sources(root)?.0),
        Source::Artefact { sha256, .. } => hasher.field(&sha256.0),
    }
    Ok(hasher.digest())
}

fn content_of(path: &Path) -> Result<Content> {
    let mut file = File::open(path).doing("read device program", path)?;
    let (digest, bytes) = Digest::of_reader(&mut file).doing("read device program", path)?;
    Ok(Content::file(path, bytes, digest))
}

/// Puts a program into a step's directory.
fn put(dir: &Path, program: Program, bytes: &[u8]) -> Result<()> {
    let path = dir.join(program.file());
    let mut file = File::create_new(&path).doing("create", &path)?;
    file.write_all(bytes).doing("write", &path)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).doing("read", path)
}

#[cfg(test)]
mod tests;
