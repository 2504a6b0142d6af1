//! A suite with its updates and security pockets: InRelease files fetched and verified, indexes on demand.

use super::{
    Freshness, Pocket, SignedRelease,
    index::{Index, LIST_BYTES_MAX, compact},
    mirror::{Base, Mirrors},
    openpgp::{Judge, Keyring},
    release::{IndexFile, RELEASE_BYTES_MAX, Release},
};
use crate::{
    context::{Context, Network},
    digest::{Digest, Hasher},
    error::{Doing, Error, Kind, Result},
    fetch::Meter,
    report::Step,
};
use liblzma::{read::XzDecoder, stream};
use std::{
    fs::{self, File},
    io::{BufReader, Read, Write},
    path::{Path, PathBuf},
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

/// Memory that unpacking an index may use.
const XZ_MEMORY_MAX: u64 = 128 << 20;
/// Changes whenever the compact form does: an older one in the cache is then left alone.
const COMPACT_FORM: &[u8] = b"coracle package list 0";

/// Which archive, and how far it is trusted.
#[derive(Clone, Debug)]
pub struct ArchiveOptions {
    /// Where it is.
    pub mirrors: Mirrors,
    /// Suite: `trixie`.
    pub suite: String,
    /// Components: `main`.
    pub components: Vec<String>,
    /// Pockets of the suite that are read.
    pub pockets: Vec<Pocket>,
    /// A keyring file in place of Debian's keys.
    pub keyring: Option<PathBuf>,
    /// Whether dates are enforced.
    pub freshness: Freshness,
}

impl ArchiveOptions {
    /// Component `main` of `suite`, with Debian's keys and dates enforced.
    pub fn new(mirrors: Mirrors, suite: impl Into<String>) -> Self {
        let suite = suite.into();
        Self {
            mirrors,
            pockets: pockets_of(&suite).to_vec(),
            suite,
            components: vec!["main".to_owned()],
            keyring: None,
            freshness: Freshness::Enforced,
        }
    }
}

/// An archive whose InRelease files are verified.
#[derive(Debug)]
pub struct Archive {
    options: ArchiveOptions,
    pockets: Vec<VerifiedPocket>,
}

#[derive(Debug)]
struct VerifiedPocket {
    signed: SignedRelease,
    release: Release,
}

impl Archive {
    /// Fetches and verifies the InRelease of every pocket. Offline, the ones in the cache are used.
    pub fn open(ctx: &Context, options: &ArchiveOptions) -> Result<Self> {
        let keyring = match &options.keyring {
            Some(path) => Keyring::read(path)?,
            None => Keyring::debian()?,
        };
        let step = ctx.report.step(format!("check signatures of {}", options.suite));
        let opener = Opener { ctx, options, keyring, step: &step, now: now()? };
        let pockets = thread::scope(|scope| {
            let threads: Vec<_> =
                options.pockets.iter().map(|pocket| scope.spawn(|| opener.pocket(*pocket))).collect();
            let join = |thread: thread::ScopedJoinHandle<'_, Result<VerifiedPocket>>| {
                let lost = |_| Error::new(Kind::Internal, "a thread that reads an archive died");
                thread.join().map_err(lost)?
            };
            threads.into_iter().map(join).collect::<Result<Vec<_>>>()
        })?;
        step.done(format!("{} signed lists", pockets.len()));
        Ok(Self { options: options.clone(), pockets })
    }

    /// What was verified: for the lock, and for the default epoch.
    pub fn releases(&self) -> impl Iterator<Item = &SignedRelease> {
        self.pockets.iter().map(|pocket| &pocket.signed)
    }

    /// Where its packages are fetched from.
    pub fn mirrors(&self) -> &Mirrors {
        &self.options.mirrors
    }

    /// The suite.
    pub fn suite(&self) -> &str {
        &self.options.suite
    }

    /// All packages for the Debian architecture `arch`.
    pub fn index(&self, ctx: &Context, arch: &str) -> Result<Index> {
        let suite = &self.options.suite;
        let files = self.index_files(arch)?;
        let step = ctx.report.step(format!("read packages of {suite} ({arch})"));
        let total = files.iter().map(|(_, file)| file.bytes).sum();
        let meter = Meter::new(&step, total);
        let mut lists = Vec::new();
        for (pocket, file) in &files {
            let signed = &pocket.signed;
            let base = self.options.mirrors.base(signed.pocket);
            let list = compact_list(ctx, file, || fetch_index(ctx, (base, &signed.dist), file, &meter));
            let list = list.map_err(|error| {
                let text = format!("cannot read the packages of {} ({arch})", signed.dist);
                Error::new(error.kind(), text).because(error)
            })?;
            lists.push((signed.pocket, list));
        }
        let index = Index::new(suite, arch, lists);
        step.done(format!("{} packages", index.names().count()));
        Ok(index)
    }

    /// The indexes that belong to `arch`, with the pocket each is in. The suite itself must have one.
    fn index_files(&self, arch: &str) -> Result<Vec<(&VerifiedPocket, IndexFile)>> {
        let mut files = Vec::new();
        for pocket in &self.pockets {
            for component in &self.options.components {
                match pocket.release.index(component, arch) {
                    Some(file) => files.push((pocket, file)),
                    None if pocket.signed.pocket == Pocket::Main => {
                        let dist = &pocket.signed.dist;
                        let text = format!("{dist} has no packages in {component} for {arch}");
                        return Err(Error::new(Kind::NotFound, text)
                            .hint("Debian's names are amd64 for x86_64 and arm64 for aarch64"));
                    }
                    None => {}
                }
            }
        }
        Ok(files)
    }

    /// The InRelease and Packages objects behind an index of `arch`, by their paths below a mirror's base.
    pub(super) fn documents(&self, ctx: &Context, arch: &str) -> Result<Vec<(String, Digest)>> {
        let mut out = Vec::new();
        for pocket in &self.pockets {
            let signed = &pocket.signed;
            out.push((format!("dists/{}/InRelease", signed.dist), signed.sha256));
        }
        let step = ctx.report.step(format!("read package lists ({arch})"));
        for (pocket, file) in self.index_files(arch)? {
            let signed = &pocket.signed;
            let base = self.options.mirrors.base(signed.pocket);
            let meter = Meter::new(&step, 0);
            fetch_index(ctx, (base, &signed.dist), &file, &meter)?;
            for path in [&file.path, &file.fetch_path] {
                out.push((format!("dists/{}/{path}", signed.dist), file.sha256));
            }
        }
        step.done("");
        Ok(out)
    }
}

/// Rolling suites have no updates and no security pocket.
fn pockets_of(suite: &str) -> &'static [Pocket] {
    match suite {
        "sid" | "unstable" | "experimental" => &[Pocket::Main],
        _ => &Pocket::ALL,
    }
}

fn now() -> Result<u64> {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    let elapsed = elapsed
        .map_err(|source| Error::new(Kind::Stale, "this machine's clock is before 1970").because(source))?;
    Ok(elapsed.as_secs())
}

struct Opener<'a> {
    ctx: &'a Context,
    options: &'a ArchiveOptions,
    keyring: Keyring,
    step: &'a Step,
    now: u64,
}

impl Opener<'_> {
    fn pocket(&self, pocket: Pocket) -> Result<VerifiedPocket> {
        let dist = pocket.dist(&self.options.suite);
        let base = self.options.mirrors.base(pocket);
        self.verified(pocket, &dist, base).map_err(|error| {
            let text = format!("cannot use {dist} of the mirror {base}");
            Error::new(error.kind(), text).because(error)
        })
    }

    fn verified(&self, pocket: Pocket, dist: &str, base: &Base) -> Result<VerifiedPocket> {
        let floor = Floor::of(self.ctx, base, dist);
        let known = floor.load()?;
        let mut bytes = if base.is_reachable(self.ctx) {
            let path = format!("dists/{dist}/InRelease");
            base.document(self.ctx, &path, RELEASE_BYTES_MAX, self.step)?
        } else {
            self.cached(known.as_ref())?
        };
        let mut release = self.judged(dist, &bytes)?;
        let ahead = known.filter(|known| release.date() < known.date);
        if let (Some(known), Freshness::Enforced) = (&ahead, self.options.freshness) {
            let older = format!("{dist} is older than what this mirror has served before");
            bytes = self.cached(Some(known)).map_err(|error| {
                Error::new(Kind::Stale, older.clone())
                    .because(error)
                    .hint("the mirror may be behind or turned back: try another one")
            })?;
            // Mirrors behind one name are not all renewed at the same moment.
            self.ctx.report.warn(format!("{older}: the newer list that is kept is used"));
            release = self.judged(dist, &bytes)?;
        }
        let sha256 = Digest::of(&bytes);
        self.ctx.cache.insert(&mut &bytes[..], RELEASE_BYTES_MAX)?;
        let date = release.date();
        if ahead.is_none() {
            floor.store(self.ctx, &Known { date, sha256 })?;
        }
        Ok(VerifiedPocket { signed: SignedRelease { pocket, dist: dist.to_owned(), date, sha256 }, release })
    }

    /// What it says, signed and in time.
    fn judged(&self, dist: &str, bytes: &[u8]) -> Result<Release> {
        let judge = Judge { now: self.now, freshness: self.options.freshness };
        let signed = self.keyring.verify(bytes, judge)?;
        let release = Release::parse(&signed.text)?;
        release.check(dist, judge)?;
        Ok(release)
    }

    fn cached(&self, known: Option<&Known>) -> Result<Vec<u8>> {
        let path = known.and_then(|known| self.ctx.cache.object(&known.sha256));
        let path = path.ok_or_else(|| {
            Error::new(Kind::NotFound, "its InRelease is not in the cache").hint(
                "run once without --offline, or point the mirror at a directory made by `coracle vendor`",
            )
        })?;
        fs::read(&path).doing("read", &path)
    }
}

/// The newest InRelease seen of a mirror's suite: an older one is a rollback, and is not used.
struct Floor(Option<PathBuf>);

struct Known {
    date: u64,
    sha256: Digest,
}

impl Floor {
    /// A directory is its owner's: it has no floor.
    fn of(ctx: &Context, base: &Base, dist: &str) -> Self {
        match base {
            Base::Dir(_) => Self(None),
            Base::Web(url) => {
                let mut key = Hasher::default();
                key.field(url.as_bytes());
                key.field(dist.as_bytes());
                let name = format!("{}.newest", key.digest());
                Self(Some(ctx.cache.root().join("index").join(name)))
            }
        }
    }

    fn load(&self) -> Result<Option<Known>> {
        let Some(path) = &self.0 else {
            return Ok(None);
        };
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(path).doing("read", path)?;
        let parse = || {
            let (date, sha256) = text.trim().split_once(' ')?;
            Some(Known { date: date.parse().ok()?, sha256: sha256.parse().ok()? })
        };
        Ok(parse())
    }

    fn store(&self, ctx: &Context, known: &Known) -> Result<()> {
        let Some(path) = &self.0 else {
            return Ok(());
        };
        let mut file = ctx.cache.temp_file()?;
        writeln!(file, "{} {}", known.date, known.sha256).doing("write", path)?;
        file.as_file().sync_all().doing("sync", path)?;
        file.persist(path).map_err(|error| error.error).doing("store", path)?;
        Ok(())
    }
}

/// Fetches an index by its digest's path where the mirror has it, else by its name.
fn fetch_index(
    ctx: &Context,
    (base, dist): (&Base, &str),
    file: &IndexFile,
    meter: &Meter<'_>,
) -> Result<PathBuf> {
    let fetch = |path: &str| {
        let path = format!("dists/{dist}/{path}");
        base.object(ctx, &path, (file.bytes, file.sha256), meter)
    };
    match fetch(&file.fetch_path) {
        Err(error)
            if error.kind() == Kind::NotFound
                && file.path != file.fetch_path
                && ctx.network == Network::Online =>
        {
            fetch(&file.path)
        }
        outcome => outcome,
    }
}

/// The compact form of an index, made once and kept.
fn compact_list(ctx: &Context, file: &IndexFile, fetch: impl FnOnce() -> Result<PathBuf>) -> Result<String> {
    let mut key = Hasher::default();
    key.field(COMPACT_FORM);
    key.field(&file.sha256.0);
    let (dir, _) = ctx.cache.step(&key.digest(), |out| {
        let text = compact(&unpack_index(&fetch()?, LIST_BYTES_MAX)?)?;
        let path = out.join("packages");
        let mut file = File::create(&path).doing("create", &path)?;
        file.write_all(text.as_bytes()).doing("write", &path)
    })?;
    let path = dir.join("packages");
    fs::read_to_string(&path).doing("read", &path)
}

/// The text of an index, refused if it is longer than `limit`.
fn unpack_index(path: &Path, limit: u64) -> Result<String> {
    let file = File::open(path).doing("open", path)?;
    let stream = stream::Stream::new_stream_decoder(XZ_MEMORY_MAX, stream::CONCATENATED)
        .map_err(|source| Error::new(Kind::Internal, "cannot set up xz").because(source))?;
    let mut text = String::new();
    XzDecoder::new_stream(BufReader::new(file), stream)
        .take(limit.saturating_add(1))
        .read_to_string(&mut text)
        .map_err(|source| Error::new(Kind::Hostile, "a list of packages is damaged").because(source))?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > limit {
        let text = format!("a list of packages is larger than {limit} bytes");
        return Err(Error::new(Kind::Hostile, text));
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
