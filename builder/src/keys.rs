//! A directory of keys: who may sign for which role, and the root metadata that says so.
//!
//! ```text
//! root-1.pem …      may change the root; belong offline
//! targets-1.pem …   sign releases
//! online-1.pem      will sign snapshot and timestamp of a channel
//! root.json         the newest root metadata: what an image trusts
//! 1.root.json …     every version of it
//! ```

mod secret;

pub use secret::SecretKey;

use crate::{
    context::Context,
    error::{Doing as _, Error, Kind, Result},
    files,
    signer::Signer,
};
use coracle_format::bundle::ROOTS_MAX;
use coracle_trust::{
    Role, TrustError,
    document::{DOCUMENT_BYTES_MAX, PublicKey},
    publish::{self, Signers},
    root::Root,
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// The newest root metadata in a directory of keys.
pub const ROOT_JSON: &str = "root.json";
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
}

impl KeyDir {
    /// The directory; it is read when something is asked of it.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
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
        for (name, keys) in [("root", root), ("targets", own), ("online", online)] {
            for (number, key) in (1..).zip(&keys) {
                key.save(&self.dir.join(format!("{name}-{number}.pem")))?;
            }
        }
        files::replace(&self.dir.join("1.root.json"), &document)?;
        files::replace(&self.dir.join(ROOT_JSON), &document)
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
        if usize::try_from(versions).is_ok_and(|versions| versions > ROOTS_MAX) {
            let message = format!("{} has more versions than {ROOTS_MAX}", self.root_path().display());
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

    /// The secret keys in the directory that may sign for a role, in the order of their file names.
    pub fn signers(&self, role: Role) -> Result<Vec<Signer>> {
        let root = self.root()?;
        let keys = self.secrets()?;
        let may_sign = |key: &SecretKey| root.authority(role).has(&key.public());
        Ok(keys.into_iter().filter(|(_, key)| may_sign(key)).map(|(_, key)| Signer::Key(key)).collect())
    }

    /// The file of each secret key that is here.
    pub fn files(&self) -> Result<Vec<(PathBuf, PublicKey)>> {
        Ok(self.secrets()?.into_iter().map(|(path, key)| (path, key.public())).collect())
    }

    fn secrets(&self) -> Result<Vec<(PathBuf, SecretKey)>> {
        let entries = fs::read_dir(&self.dir).doing("list", &self.dir)?;
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry.doing("list", &self.dir)?.path();
            if path.extension().is_some_and(|extension| extension == "pem") {
                paths.push(path);
            }
        }
        paths.sort();
        paths.into_iter().map(|path| SecretKey::load(&path).map(|key| (path, key))).collect()
    }
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
