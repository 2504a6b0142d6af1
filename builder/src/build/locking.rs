//! The lock of a manifest: made, read, checked against what the manifest asks for.

use super::{
    local,
    requests::{self, Group},
};
use crate::{
    context::Context,
    debian::{Archive, ArchiveOptions, Freshness, Mirrors, Package, Pocket, Wish, fetch_all},
    device::Source,
    digest::Digest,
    error::{Doing as _, Error, Kind, Result},
};
use coracle_manifests::{
    lock::{Lock, LockedDebian, LockedDevice, LockedGroup, LockedPackage, LockedRelease},
    manifest::Manifest,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

/// Where packages come from, as the user said.
#[derive(Clone, Debug, Default)]
pub struct SourceOptions {
    /// The mirrors named by flags.
    pub mirrors: Wish,
    /// Archive keys instead of the built-in ones.
    pub keyring: Option<PathBuf>,
    /// Whether expired indexes are refused.
    pub freshness: Option<Freshness>,
}

/// What may become of the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// It is made when missing, and made anew when it no longer fits the manifest.
    Follow,
    /// It must exist and fit (`--locked`).
    Fixed,
}

/// A lock and what is needed to act on it.
#[derive(Debug)]
pub(super) struct Locked<'a> {
    pub(super) lock: Lock,
    manifest: &'a Manifest,
    source: &'a SourceOptions,
}

impl<'a> Locked<'a> {
    /// The lock beside the manifest if it fits, else a fresh one, stored.
    pub(super) fn open(
        ctx: &Context,
        manifest: &'a Manifest,
        source: &'a SourceOptions,
        mode: LockMode,
    ) -> Result<Self> {
        let path = Lock::path_of(&manifest.file);
        let found = read(&path)?;
        let why = match &found {
            Some(lock) => misfit(manifest, lock)?,
            None => Some("there is none yet".to_owned()),
        };
        let lock = match (why, found, mode) {
            (None, Some(lock), _) => lock,
            (Some(why), _, LockMode::Fixed) => {
                return Err(Error::new(
                    Kind::Locked,
                    format!("cannot use the lock {}: {why}", path.display()),
                )
                .hint(format!("make one with `coracle lock {}`", manifest.file.display())));
            }
            (_, _, LockMode::Fixed | LockMode::Follow) => make(ctx, manifest, source)?,
        };
        Ok(Self { lock, manifest, source })
    }

    /// A lock that was opened before.
    pub(super) fn of(lock: Lock, manifest: &'a Manifest, source: &'a SourceOptions) -> Self {
        Self { lock, manifest, source }
    }

    /// The device programs that the lock names.
    pub(super) fn device(&self) -> Result<Option<Digest>> {
        let Some(device) = &self.lock.device else {
            return Ok(None);
        };
        let digest = device.sha256.parse();
        digest.map(Some).map_err(|source| {
            Error::new(Kind::Locked, "the lock has a bad digest for the device programs").because(source)
        })
    }

    /// Holds the local files against the lock: under [`LockMode::Fixed`] they must be the same, otherwise the lock
    /// follows them.
    pub(super) fn settle_files(&mut self, mode: LockMode) -> Result<()> {
        let files = local::locked(self.manifest)?;
        if files == self.lock.file {
            return Ok(());
        }
        if mode == LockMode::Fixed {
            let other = files.iter().find(|file| !self.lock.file.contains(file));
            let lost = self.lock.file.iter().find(|file| !files.contains(file));
            let path = other.or(lost).map_or("a file", |file| file.path.as_str());
            let lock = Lock::path_of(&self.manifest.file);
            return Err(Error::new(
                Kind::Locked,
                format!("{path} is not what the lock {} says", lock.display()),
            )
            .hint(format!("lock it again with `coracle lock {}`", self.manifest.file.display())));
        }
        self.lock = store(self.manifest, &Lock { file: files, ..self.lock.clone() })?;
        Ok(())
    }

    /// The lock itself.
    pub(super) fn into_lock(self) -> Lock {
        self.lock
    }

    /// The packages of a group.
    pub(super) fn packages(&self, group: &str) -> Result<Vec<Package>> {
        self.lock.packages_of(group).into_iter().map(unlocked).collect()
    }

    /// Fetches what the cache lacks of these packages. The mirror is asked for only when something is missing.
    pub(super) fn fetch(&self, ctx: &Context, packages: &[Package]) -> Result<()> {
        if packages.iter().all(|package| ctx.cache.object(&package.sha256).is_some()) {
            return Ok(());
        }
        fetch_all(ctx, &mirrors(self.manifest, self.source)?, packages)
    }
}

/// Resolves everything anew and writes the lock; returns it with the one it replaces.
pub(super) fn renew(
    ctx: &Context,
    manifest: &Manifest,
    source: &SourceOptions,
) -> Result<(Lock, Option<Lock>)> {
    let old = read(&Lock::path_of(&manifest.file))?;
    Ok((make(ctx, manifest, source)?, old))
}

/// The mirrors that flags, environment, manifest or this host name.
pub(super) fn mirrors(manifest: &Manifest, source: &SourceOptions) -> Result<Mirrors> {
    let text = |url: &Option<coracle_manifests::values::Url>| url.as_ref().map(|url| url.as_str().to_owned());
    let wish = Wish { main: text(&manifest.debian.mirror), security: text(&manifest.debian.security_mirror) };
    Mirrors::find(&source.mirrors, &wish)
}

fn read(path: &Path) -> Result<Option<Lock>> {
    let damaged = |source: Box<dyn std::error::Error + Send + Sync>| {
        Error::new(Kind::Locked, format!("cannot read the lock {}", path.display()))
            .because(source)
            .hint("delete it; the next build, or `coracle lock`, makes a new one")
    };
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(damaged(error.into())),
        other => other.doing("read lock", path)?,
    };
    Lock::parse(&text).map(Some).map_err(|source| damaged(source.into()))
}

/// Why the lock does not fit the manifest, if it does not.
fn misfit(manifest: &Manifest, lock: &Lock) -> Result<Option<String>> {
    let arch = manifest.image.arch.name();
    if lock.arch != arch {
        return Ok(Some(format!("it is for {}, the manifest for {arch}", lock.arch)));
    }
    let suite = manifest.debian.suite.name();
    if lock.debian.as_ref().is_none_or(|debian| debian.suite != suite) {
        return Ok(Some(format!("it is not of the suite {suite}")));
    }
    for group in requests::groups(manifest)? {
        match lock.group.iter().find(|locked| locked.name == group.name) {
            None => return Ok(Some(format!("it has no packages for {}", group.name))),
            Some(locked) if locked.request != group.words() => {
                return Ok(Some(format!("the manifest asks for other packages for {}", group.name)));
            }
            Some(_) => {}
        }
    }
    Ok(None)
}

fn make(ctx: &Context, manifest: &Manifest, source: &SourceOptions) -> Result<Lock> {
    let mut options = ArchiveOptions::new(mirrors(manifest, source)?, manifest.debian.suite.name());
    options.keyring.clone_from(&source.keyring);
    options.freshness = source.freshness.unwrap_or(options.freshness);
    if !manifest.debian.security {
        options.pockets = vec![Pocket::Main, Pocket::Updates];
    }
    let archive = Archive::open(ctx, &options)?;
    let epoch = archive.releases().map(|release| release.date).max().unwrap_or(0);
    let name = manifest.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut lock = Lock::new(&name, manifest.image.arch.name(), epoch);
    lock.debian = Some(LockedDebian {
        suite: archive.suite().to_owned(),
        releases: archive
            .releases()
            .map(|release| LockedRelease {
                pocket: release.pocket.word().to_owned(),
                date: release.date,
                sha256: release.sha256.to_string(),
            })
            .collect(),
    });
    let groups = requests::groups(manifest)?;
    resolve(ctx, &archive, &groups, &mut lock)?;
    lock.file = local::locked(manifest)?;
    if let Source::Artefact { sha256, .. } = Source::find(None)? {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        lock.device = Some(LockedDevice { version, sha256: sha256.to_string() });
    }
    store(manifest, &lock)
}

fn resolve(ctx: &Context, archive: &Archive, groups: &[Group], lock: &mut Lock) -> Result<()> {
    let arches: BTreeSet<&str> = groups.iter().map(|group| group.arch).collect();
    let mut chosen = BTreeMap::new();
    for arch in arches {
        let index = archive.index(ctx, arch)?;
        for group in groups.iter().filter(|group| group.arch == arch) {
            let packages = index.resolve(&group.request).map_err(|error| {
                Error::new(error.kind(), format!("cannot choose packages for {}", group.name)).because(error)
            })?;
            let locked: Vec<LockedPackage> = packages.iter().map(to_lock).collect();
            lock.group.push(LockedGroup {
                name: group.name.clone(),
                request: group.words(),
                packages: locked.iter().map(LockedPackage::reference).collect(),
            });
            chosen.extend(locked.into_iter().map(|package| (package.reference(), package)));
        }
    }
    lock.package = chosen.into_values().collect();
    Ok(())
}

/// Writes the lock and returns it as it will be read: in the order of the file, which the image's package list has too.
fn store(manifest: &Manifest, lock: &Lock) -> Result<Lock> {
    let path = Lock::path_of(&manifest.file);
    let text = lock
        .to_toml()
        .map_err(|source| Error::new(Kind::Internal, "cannot write the lock as TOML").because(source))?;
    let stored = Lock::parse(&text)
        .map_err(|source| Error::new(Kind::Internal, "the lock does not read back").because(source))?;
    crate::files::replace(&path, text.as_bytes())?;
    Ok(stored)
}

fn to_lock(package: &Package) -> LockedPackage {
    LockedPackage {
        name: package.name.clone(),
        version: package.version.clone(),
        arch: package.arch.clone(),
        pocket: package.pocket.word().to_owned(),
        filename: package.filename.clone(),
        size: package.size,
        sha256: package.sha256.to_string(),
    }
}

fn unlocked(package: &LockedPackage) -> Result<Package> {
    let bad =
        |what: &str| Error::new(Kind::Locked, format!("the lock has a bad {what} for {}", package.name));
    Ok(Package {
        name: package.name.clone(),
        version: package.version.clone(),
        arch: package.arch.clone(),
        pocket: Pocket::from_word(&package.pocket).ok_or_else(|| bad("pocket"))?,
        filename: package.filename.clone(),
        size: package.size,
        sha256: package.sha256.parse::<Digest>().map_err(|source| bad("digest").because(source))?,
    })
}
