//! A directory of keys: who may sign for which role, and the root metadata that says so.
//!
//! ```text
//! root-1.pem …      may change the root; belong offline
//! targets-1.pem …   sign releases
//! online-1.pem      signs snapshot and timestamp of a repository, and its channels
//! root.json         the newest root metadata: what an image trusts
//! 1.root.json …     every version of it
//! ```
//!
//! Reading order: [`KeyDir`] → [`rotate`] (the next root) → [`sign_staged`] (where keys are in several places) →
//! [`drill`] (what losing keys would mean).

mod drill;
mod passphrase;
mod rotation;
mod secret;
mod staged;

pub use drill::{Loss, drill};
pub use passphrase::{PASSPHRASE_VARIABLE, Passphrase};
pub use rotation::{Change, Rotation, rotate};
pub use secret::{KeyFile, SecretKey};
pub use staged::{Missing, Progress, sign_staged};

use crate::{
    context::Context,
    error::{Doing as _, Error, Kind, Result},
    files,
    signer::Signer,
};
use coracle_trust::{
    Role, TrustError,
    document::{Authority, DOCUMENT_BYTES_MAX, PublicKey},
    publish::{self, Signers},
    root::Root,
};
use ed25519_dalek::{VerifyingKey, pkcs8::DecodePublicKey as _};
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// The newest root metadata in a directory of keys.
pub const ROOT_JSON: &str = "root.json";
/// Versions of the root at most: what a machine with the first one takes in some looks.
const CHAIN_MAX: u32 = 1024;
/// Keys of one role at most.
const KEYS_MAX: u32 = 16;
const DAY: u64 = 86_400;

/// What keys to make.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many root keys, and how many of them must sign.
    pub root: (u32, u32),
    /// How many targets keys, and how many of them must sign.
    pub targets: (u32, u32),
    /// Days until the root expires.
    pub days: u64,
}

/// A directory of keys.
#[derive(Clone, Debug)]
pub struct KeyDir {
    dir: PathBuf,
    passphrase: Passphrase,
    sealing: bool,
}

impl KeyDir {
    /// The directory; it is read when something is asked of it.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), passphrase: Passphrase::default(), sealing: false }
    }

    /// With the passphrase of its keys from elsewhere than the environment and the terminal.
    pub fn with_passphrase(mut self, passphrase: Passphrase) -> Self {
        self.passphrase = passphrase;
        self
    }

    /// New keys are encrypted.
    pub const fn encrypting(mut self) -> Self {
        self.sealing = true;
        self
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes keys and root metadata. With a signer its key is the only targets key. A directory that has keys is left
    /// alone.
    pub fn create(&self, ctx: &Context, plan: &Plan, signer: Option<&Signer>) -> Result<()> {
        let targets = if signer.is_some() { (1, 1) } else { plan.targets };
        for (role, (keys, threshold)) in [("root", plan.root), ("targets", targets)] {
            if threshold == 0 || threshold > keys || keys > KEYS_MAX {
                let message = format!(
                    "{threshold} of {keys} {role} keys cannot sign: at most {KEYS_MAX} keys, 1 to all of them"
                );
                return Err(Error::new(Kind::Usage, message));
            }
        }
        if self.has_keys()? {
            let message = format!("{} has keys already; keys are not replaced", self.dir.display());
            return Err(Error::new(Kind::Usage, message).hint("choose another directory"));
        }
        let generate = |count| (0..count).map(|_| SecretKey::generate()).collect::<Result<Vec<_>>>();
        let (root, online) = (generate(plan.root.0)?, generate(1)?);
        let (own, public) = if let Some(signer) = signer {
            (Vec::new(), vec![signer.public(ctx)?])
        } else {
            let own = generate(targets.0)?;
            let public = own.iter().map(SecretKey::public).collect();
            (own, public)
        };
        let of = |role, keys: &[SecretKey], threshold| Signers {
            role,
            keys: keys.iter().map(SecretKey::public).collect(),
            threshold,
        };
        let roles = [
            of(Role::Root, &root, plan.root.1),
            Signers { role: Role::Targets, keys: public, threshold: targets.1 },
            of(Role::Snapshot, &online, 1),
            of(Role::Timestamp, &online, 1),
        ];
        let expires = now().saturating_add(plan.days.saturating_mul(DAY));
        let body = publish::root(1, expires, &roles)
            .ok_or_else(|| Error::new(Kind::Usage, "the root would expire after the year 9999"))?;
        let signatures: Vec<_> = root.iter().map(|key| (key.public(), key.sign(&body))).collect();
        let document = publish::document(&body, &signatures);
        Root::read(&document).map_err(|why| refused("the new root does not accept itself", why))?;
        let passphrase = self.new_passphrase(ctx)?;
        for (name, keys) in [("root", root), ("targets", own), ("online", online)] {
            for (number, key) in (1..).zip(&keys) {
                key.store(&self.dir.join(format!("{name}-{number}.pem")), passphrase.as_deref())?;
            }
        }
        files::replace(&self.dir.join("1.root.json"), &document)?;
        files::replace(&self.dir.join(ROOT_JSON), &document)
    }

    /// The passphrase for new keys, if they are to be encrypted: asked for, or because the keys that are here are.
    fn new_passphrase(&self, ctx: &Context) -> Result<Option<String>> {
        if self.sealing {
            return self.passphrase.choose(ctx).map(Some);
        }
        let sealed = if self.dir.is_dir() { self.files()?.iter().any(KeyFile::is_sealed) } else { false };
        if sealed { self.passphrase.get(ctx, "the new key").map(Some) } else { Ok(None) }
    }

    fn has_keys(&self) -> Result<bool> {
        let names = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            names => names.doing("list", &self.dir)?,
        };
        for name in names {
            let name = name.doing("list", &self.dir)?.file_name();
            if [".pem", ROOT_JSON].iter().any(|end| name.to_string_lossy().ends_with(end)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Where the newest root metadata is.
    pub fn root_path(&self) -> PathBuf {
        self.dir.join(ROOT_JSON)
    }

    /// The newest root.
    pub fn root(&self) -> Result<Root> {
        read_root(&self.root_path()).map(|(_, root)| root)
    }

    /// Every version of the root metadata, oldest first, the newest last.
    pub fn chain(&self) -> Result<Vec<Vec<u8>>> {
        let (newest, root) = read_root(&self.root_path())?;
        let versions = root.version();
        if versions > CHAIN_MAX {
            let message = format!("{} has more versions than {CHAIN_MAX}", self.root_path().display());
            return Err(Error::new(Kind::TooLarge, message));
        }
        let mut chain = Vec::new();
        for version in 1..versions {
            let path = self.dir.join(format!("{version}.root.json"));
            chain.push(read_limited(&path)?);
        }
        chain.push(newest);
        Ok(chain)
    }

    /// The secret keys in the directory that may sign for a role, in the order of their file names. Keys of other roles
    /// are not opened.
    pub fn signers(&self, ctx: &Context, role: Role) -> Result<Vec<Signer>> {
        self.signers_of(ctx, self.root()?.authority(role))
    }

    /// The secret keys in the directory that are among these.
    pub fn signers_of(&self, ctx: &Context, authority: &Authority) -> Result<Vec<Signer>> {
        let mut signers = Vec::new();
        for file in self.files()? {
            let public = match file.public() {
                Some(public) => public,
                None => file.open(ctx, &self.passphrase)?.public(),
            };
            if authority.has(&public) {
                signers.push(Signer::Key(file.open(ctx, &self.passphrase)?));
            }
        }
        Ok(signers)
    }

    /// The key files that are here, in the order of their names.
    pub fn files(&self) -> Result<Vec<KeyFile>> {
        let entries = fs::read_dir(&self.dir).doing("list", &self.dir)?;
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry.doing("list", &self.dir)?.path();
            if path.extension().is_some_and(|extension| extension == "pem") {
                paths.push(path);
            }
        }
        paths.sort();
        paths.iter().map(|path| KeyFile::load(path)).collect()
    }

    /// Encrypts every key that is not, with one passphrase; says which files it has changed.
    pub fn encrypt(&self, ctx: &Context) -> Result<Vec<PathBuf>> {
        let open: Vec<KeyFile> = self.files()?.into_iter().filter(|file| !file.is_sealed()).collect();
        if open.is_empty() {
            return Ok(Vec::new());
        }
        let passphrase = self.passphrase.choose(ctx)?;
        self.rewrite(ctx, &open, Some(&passphrase))
    }

    /// Takes the encryption off every key; says which files it has changed.
    pub fn decrypt(&self, ctx: &Context) -> Result<Vec<PathBuf>> {
        let sealed: Vec<KeyFile> = self.files()?.into_iter().filter(KeyFile::is_sealed).collect();
        self.rewrite(ctx, &sealed, None)
    }

    fn rewrite(&self, ctx: &Context, files: &[KeyFile], passphrase: Option<&str>) -> Result<Vec<PathBuf>> {
        // Open all before one is changed: the passphrase may be the wrong one.
        let keys = files.iter().map(|file| file.open(ctx, &self.passphrase)).collect::<Result<Vec<_>>>()?;
        for (file, key) in files.iter().zip(keys) {
            key.replace(file.path(), passphrase)?;
        }
        Ok(files.iter().map(|file| file.path().to_owned()).collect())
    }
}

/// The public key in a file: PEM, public or private; an encrypted key is taken by its word.
pub fn public_key(path: &Path) -> Result<PublicKey> {
    let text = fs::read(path).doing("read the key", path)?;
    let text = str::from_utf8(&text).unwrap_or_default();
    if text.contains("BEGIN PUBLIC KEY") {
        let key = VerifyingKey::from_public_key_pem(text).map_err(|source| {
            Error::new(Kind::Usage, format!("{} holds no Ed25519 public key", path.display()))
                .because(source.to_string())
        })?;
        return Ok(key.to_bytes());
    }
    KeyFile::load(path)?.public().ok_or_else(|| {
        Error::new(Kind::Usage, format!("{} is encrypted and does not tell its public key", path.display()))
            .hint("`openssl pkey -in FILE -pubout` prints it")
    })
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |out, byte| out + &format!("{byte:02x}"))
}

/// So many bytes from lower-case hexadecimal digits.
pub(crate) fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    let valid = digits.len() == N * 2 && digits.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()?;
    }
    valid.then_some(out)
}

/// Root metadata in a file: its bytes, and what it says. Its own keys have signed it.
pub fn read_root(path: &Path) -> Result<(Vec<u8>, Root)> {
    let bytes = read_limited(path)?;
    let root =
        Root::read(&bytes).map_err(|why| refused(format!("{} is no root metadata", path.display()), why))?;
    Ok((bytes, root))
}

fn read_limited(path: &Path) -> Result<Vec<u8>> {
    let missing = |error: Error| {
        if path.exists() { error } else { error.hint("coracle keys new DIR makes keys and root metadata") }
    };
    let length = fs::metadata(path).doing("read root metadata", path).map_err(missing)?.len();
    if usize::try_from(length).map_or(true, |length| length > DOCUMENT_BYTES_MAX) {
        let message = format!("{} is larger than {DOCUMENT_BYTES_MAX} bytes", path.display());
        return Err(Error::new(Kind::Hostile, message));
    }
    fs::read(path).doing("read root metadata", path)
}

/// An error for metadata that is not believed: exit code 3.
pub fn refused(message: impl Into<String>, why: TrustError) -> Error {
    let kind = match &why {
        TrustError::Expired { .. } | TrustError::RootTooOld { .. } => Kind::Stale,
        TrustError::Signatures { .. } | TrustError::Chain { .. } => Kind::Signature,
        TrustError::Index => Kind::Digest,
        TrustError::Form(_)
        | TrustError::Document { .. }
        | TrustError::NotARelease(_)
        | TrustError::Disagree(_) => Kind::Hostile,
    };
    Error::new(kind, message).because(why)
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
