//! The device's channel client behind the command line that the public TUF conformance suite speaks.
//!
//! Verification, store and transport are the device's own. Two things are parameters: the clock (`CORACLE_TUF_TIME`,
//! seconds since 1970, in place of the machine's), and that ECDSA over P-256 counts beside Ed25519, because that is what
//! the suite signs with. What the store accepts is copied to where the suite looks for it.

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};
use coracle_block::{read_limited, replace_file};
use coracle_tls::Clock;
use coracle_trust::{
    Kinds,
    client::{self, Fetch, FetchError, Floors, ROOT_BYTES_MAX, Start, StoreError, Target, Trusted, refresh},
};
use coracle_update::{
    Kind,
    channel::store::Store,
    fetch::stream::{Patience, Stream, agent},
    source::{SourceError, encoded},
};
use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

/// Bytes of a file that is downloaded at most.
const TARGET_BYTES_MAX: u64 = 16 << 20;
/// Who may read what it writes.
const MODE: u32 = 0o644;

/// A TUF client for the conformance suite.
#[derive(Parser, Debug)]
#[command(name = "coracle-tuf-client")]
struct Cli {
    /// Where trusted metadata is.
    #[arg(long)]
    metadata_dir: PathBuf,
    /// Where the repository's metadata is.
    #[arg(long, default_value = "")]
    metadata_url: String,
    /// What to download.
    #[arg(long)]
    target_name: Vec<String>,
    /// Where the repository's targets are.
    #[arg(long, default_value = "")]
    target_base_url: String,
    /// Where downloaded files go.
    #[arg(long)]
    target_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Trust this root.
    Init {
        /// The root.
        root: PathBuf,
    },
    /// Bring metadata up to date.
    Refresh,
    /// The same, then download targets.
    Download,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Command::Init { root } => init(&cli, root),
        Command::Refresh => Client::of(&cli).refresh().map(drop),
        Command::Download => Client::of(&cli).download(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // There is nobody left to tell if this cannot be written either.
            drop(writeln!(io::stderr(), "error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// What stands for the verified image and the slot record of a machine.
fn machine(cli: &Cli) -> PathBuf {
    cli.metadata_dir.join("machine")
}

fn init(cli: &Cli, root: &Path) -> Result<()> {
    let bytes = read(root, ROOT_BYTES_MAX)?;
    fs::create_dir_all(machine(cli))?;
    replace_file(&machine(cli).join("root"), &bytes, MODE)?;
    replace_file(&cli.metadata_dir.join("root.json"), &bytes, MODE)?;
    Ok(())
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    Ok(read_limited(path, usize::try_from(limit)?)?)
}

struct Client<'a> {
    cli: &'a Cli,
    store: Shown,
}

impl<'a> Client<'a> {
    fn of(cli: &'a Cli) -> Self {
        let store = Store::new(&machine(cli).join("store"));
        Self { cli, store: Shown { store, directory: cli.metadata_dir.clone() } }
    }

    fn metadata(&self) -> Directory {
        Directory { url: self.cli.metadata_url.clone() }
    }

    fn refresh(&mut self) -> Result<Trusted> {
        let trusted_root = read(&machine(self.cli).join("root"), ROOT_BYTES_MAX)?;
        let floors = machine(self.cli).join("floors");
        let start = Start {
            trusted_root: &trusted_root,
            floors: read_floors(&floors)?,
            now: Some(now()?),
            kinds: Kinds::WithEcdsa,
        };
        let trusted = refresh(&start, &mut self.metadata(), &mut self.store)?;
        let Floors { root_version, timestamp_version, issued } = trusted.floors();
        let text = format!("{root_version} {timestamp_version} {issued}");
        replace_file(&floors, text.as_bytes(), MODE)?;
        Ok(trusted)
    }

    fn download(&mut self) -> Result<()> {
        let mut trusted = self.refresh()?;
        let directory = self.cli.target_dir.as_deref().context("--target-dir is missing")?;
        for path in &self.cli.target_name {
            let target = trusted.target(path, &mut self.metadata(), &mut self.store)?;
            let target = target.with_context(|| format!("nobody vouches for {path}"))?;
            self.save(&target, directory)?;
        }
        Ok(())
    }

    /// The path is the signer's: files here are named by its digest.
    fn save(&self, target: &Target, directory: &Path) -> Result<()> {
        let name = coracle::digest::Digest::of(target.path.as_bytes()).to_string();
        let file = directory.join(name);
        let known = read(&file, TARGET_BYTES_MAX);
        if known.is_ok_and(|bytes| target.is(&bytes)) {
            return Ok(());
        }
        if target.length > TARGET_BYTES_MAX {
            bail!("{} is larger than this client takes", target.path);
        }
        let targets = Directory { url: self.cli.target_base_url.clone() };
        let bytes = targets.get(&encoded(&target.file()), target.length.max(1))?;
        let bytes = bytes.with_context(|| format!("the repository has no {}", target.path))?;
        if !target.is(&bytes) {
            bail!("{} is not the file that was vouched for", target.path);
        }
        Ok(replace_file(&file, &bytes, MODE)?)
    }
}

/// The floors that a machine has in its slot record.
fn read_floors(path: &Path) -> Result<Floors> {
    if !path.exists() {
        return Ok(Floors::default());
    }
    let text = String::from_utf8(read(path, 64)?)?;
    let mut words = text.split(' ');
    let mut next = || words.next().context("a floor is missing");
    Ok(Floors {
        root_version: next()?.parse()?,
        timestamp_version: next()?.parse()?,
        issued: next()?.parse()?,
    })
}

fn now() -> Result<u64> {
    match std::env::var("CORACLE_TUF_TIME") {
        Ok(stated) => stated.parse().with_context(|| format!("{stated:?} is no number of seconds")),
        Err(_) => Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs()),
    }
}

/// A directory behind an address, fetched with the code of the device's confined process.
struct Directory {
    url: String,
}

impl Directory {
    fn get(&self, file: &str, limit: u64) -> Result<Option<Vec<u8>>, SourceError> {
        let url = format!("{}/{file}", self.url.trim_end_matches('/'));
        let agent = agent(Clock::Set, &Patience::default())
            .map_err(|error| SourceError::new(error.kind(), error.to_string()))?;
        let stream = Stream::document(agent, &url, limit, Patience::default());
        let mut transfer = stream.from(0);
        let mut bytes = Vec::new();
        let mut buffer = vec![0; 16 << 10];
        loop {
            match transfer.read(&mut buffer) {
                Ok(0) => return Ok(Some(bytes)),
                Ok(read) => bytes.extend_from_slice(buffer.get(..read).unwrap_or_default()),
                Err(error) if error.kind == Kind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
}

impl Fetch for Directory {
    fn metadata(&mut self, file: &str, limit: u64) -> Result<Option<Vec<u8>>, FetchError> {
        self.get(file, limit).map_err(|error| FetchError::Failed(error.to_string()))
    }
}

/// The device's store, and copies of what it accepts under the names that the suite knows.
struct Shown {
    store: Store,
    directory: PathBuf,
}

impl Shown {
    fn copy(&self, file: &str) -> PathBuf {
        let role = if file.ends_with(".root.json") { "root.json" } else { file };
        self.directory.join(role.strip_prefix("delegated.").unwrap_or(role))
    }
}

impl client::Store for Shown {
    fn load(&mut self, file: &str) -> Option<Vec<u8>> {
        self.store.load(file)
    }

    fn save(&mut self, file: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.store.save(file, bytes)?;
        replace_file(&self.copy(file), bytes, MODE).map_err(|error| StoreError(error.to_string()))
    }

    fn remove(&mut self, file: &str) -> Result<(), StoreError> {
        self.store.remove(file)?;
        match fs::remove_file(self.copy(file)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError(error.to_string())),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}
