//! Root metadata under way: keys in several places sign one after the other, until both the root before it and itself
//! are satisfied.

use super::{KeyDir, hex, parse_hex, read_limited, read_root, refused};
use crate::{
    context::Context,
    error::{Error, Kind, Result},
    files,
    signer::Signer,
};
use coracle_trust::{
    Key, Role,
    document::{Authority, Document, PublicKey},
    json::Value,
    publish,
    root::Root,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// What the name of root metadata under way ends with.
pub(super) const STAGED: &str = ".staged";

/// Signatures that are still missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Version of the root that demands them.
    pub by: u32,
    /// How many there are.
    pub have: usize,
    /// How many it takes.
    pub need: u32,
}

/// How far root metadata under way is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is the newest root now.
    Done {
        /// Its version.
        version: u32,
        /// Where it is.
        path: PathBuf,
    },
    /// More keys have to sign.
    Staged {
        /// Its version.
        version: u32,
        /// Where it is.
        path: PathBuf,
        /// What is missing; empty where the root before it is not at hand.
        missing: Vec<Missing>,
    },
}

/// A document under way.
pub(super) struct Staged {
    version: u32,
    body: Vec<u8>,
    own: Authority,
    signatures: Vec<(PublicKey, [u8; 64])>,
}

impl Staged {
    /// From what is to be signed.
    pub(super) fn of(body: &[u8]) -> Result<Self> {
        Self::parse(&publish::document(body, &[]), Path::new("the new root"))
    }

    fn parse(bytes: &[u8], path: &Path) -> Result<Self> {
        let wrong = |why| refused(format!("{} is no root metadata", path.display()), why);
        let document = Document::parse(Role::Root, bytes).map_err(wrong)?;
        let version = document.version().map_err(wrong)?;
        let odd = || Error::new(Kind::Hostile, format!("{} names its keys in no known way", path.display()));
        let whole = Value::parse(bytes).ok();
        let signed = whole.as_ref().and_then(|whole| whole.get("signed")).ok_or_else(odd)?;
        let own = authority(signed).ok_or_else(odd)?;
        let keys = signed.get("keys").and_then(Value::map).unwrap_or_default();
        let mut signatures = Vec::new();
        for item in whole.as_ref().and_then(|whole| whole.get("signatures")?.list()).unwrap_or_default() {
            let text = |name| item.get(name).and_then(Value::text).unwrap_or_default();
            // A key that the new root drops is told with its signature: only the root before it knows its id.
            let key = keys.iter().find(|(id, _)| id == text("keyid")).and_then(|(_, key)| public_key(key));
            let key = key.or_else(|| parse_hex(text("key")));
            if let (Some(key), Some(signature)) = (key, parse_hex(text("sig"))) {
                signatures.push((key, signature));
            }
        }
        Ok(Self { version, body: signed.canonical(), own, signatures })
    }

    fn read(path: &Path) -> Result<Self> {
        Self::parse(&read_limited(path)?, path)
    }

    /// Whether a key may sign at all.
    fn knows(&self, before: Option<&Root>, key: &PublicKey) -> bool {
        self.own.has(key) || before.is_some_and(|before| before.authority(Role::Root).has(key))
    }

    /// Adds signatures; those of keys that count for nothing are an error.
    pub(super) fn sign(&mut self, ctx: &Context, before: Option<&Root>, signers: &[Signer]) -> Result<()> {
        for signer in signers {
            let public = signer.public(ctx)?;
            if before.is_some() && !self.knows(before, &public) {
                let message = format!("key {} may not sign this root", publish::key_id(&public));
                return Err(Error::new(Kind::Usage, message)
                    .hint("only root keys sign root metadata: those of the root before it, and its own"));
            }
            let signature = signer.sign(ctx, Role::Root, &self.body)?;
            self.signatures.retain(|(key, _)| *key != public);
            self.signatures.push(signature);
        }
        Ok(())
    }

    fn document(&self) -> Vec<u8> {
        publish::document(&self.body, &self.signatures)
    }

    /// What is missing: by the root before it, then by itself.
    fn missing(&self, before: &Root) -> Result<Vec<Missing>> {
        let document = self.document();
        let wrong = |why| refused("the new root cannot be read", why);
        let document = Document::parse(Role::Root, &document).map_err(wrong)?;
        let sides = [(before.version(), before.authority(Role::Root)), (self.version, &self.own)];
        let mut out = Vec::new();
        for (by, authority) in sides {
            if let Err(coracle_trust::TrustError::Signatures { valid, threshold, .. }) =
                document.verify(authority, by)
            {
                out.push(Missing { by, have: valid, need: threshold });
            }
        }
        Ok(out)
    }

    /// Writes it into the directory of keys: as the newest root if nothing is missing, else to be signed further.
    pub(super) fn keep(&self, keys: &KeyDir) -> Result<Progress> {
        let before = keys.root()?;
        let missing = self.missing(&before)?;
        let path = keys.dir.join(format!("{}.root.json", self.version));
        let staged = keys.dir.join(format!("{}.root.json{STAGED}", self.version));
        if !missing.is_empty() {
            files::replace(&staged, &self.encode())?;
            return Ok(Progress::Staged { version: self.version, path: staged, missing });
        }
        let document = self.document();
        let parsed = Document::parse(Role::Root, &document);
        let next = parsed.and_then(|parsed| before.followed_by(&parsed));
        next.map_err(|why| refused("the new root does not follow the one before it", why))?;
        files::replace(&path, &document)?;
        files::replace(&keys.root_path(), &document)?;
        match fs::remove_file(&staged) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).map_err(|error| {
                Error::new(Kind::Io, format!("cannot remove {}", staged.display())).because(error)
            }),
            Ok(()) | Err(_) => Ok(Progress::Done { version: self.version, path }),
        }
    }

    /// The form under way: as [`publish::document`], with the key beside each signature.
    fn encode(&self) -> Vec<u8> {
        let item = |(key, signature): &(PublicKey, [u8; 64])| {
            let fields = [("key", hex(key)), ("keyid", publish::key_id(key)), ("sig", hex(signature))];
            Value::Map(fields.map(|(name, text)| (name.to_owned(), Value::Text(text))).into())
        };
        let signatures = Value::List(self.signatures.iter().map(item).collect());
        let mut out = b"{\"signatures\":".to_vec();
        out.extend_from_slice(&signatures.canonical());
        out.extend_from_slice(b",\"signed\":");
        out.extend_from_slice(&self.body);
        out.push(b'}');
        out
    }
}

/// Who must sign a root by its own word. [`Root`] would say so only of one that is signed.
fn authority(signed: &Value) -> Option<Authority> {
    let keys = signed.get("keys")?.map()?;
    let role = signed.get("roles")?.get(Role::Root.name())?;
    let threshold =
        u32::try_from(role.get("threshold")?.number()?).ok().filter(|threshold| *threshold > 0)?;
    let mut named = Vec::new();
    for id in role.get("keyids")?.list()? {
        let id = id.text()?;
        let key =
            keys.iter().find(|(known, _)| known == id).and_then(|(_, key)| public_key(key)).map(Key::Ed25519);
        named.push((id.to_owned(), key));
    }
    Some(Authority { keys: named, threshold })
}

fn public_key(key: &Value) -> Option<PublicKey> {
    parse_hex(key.get("keyval")?.get("public")?.text()?)
}

/// Signs root metadata under way with these. Beside `root.json` and with nothing missing any more it becomes the newest
/// root; elsewhere signatures are only added.
pub fn sign_staged(ctx: &Context, path: &Path, signers: &[Signer]) -> Result<Progress> {
    let named = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with(STAGED));
    if !named {
        let message =
            format!("{} is no root metadata under way: its name does not end with {STAGED}", path.display());
        return Err(Error::new(Kind::Usage, message).hint("coracle keys rotate DIR makes one"));
    }
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let keys = KeyDir::new(dir);
    let mut staged = Staged::read(path)?;
    let before = keys.root_path().exists().then(|| read_root(&keys.root_path())).transpose()?;
    let before = before.map(|(_, root)| root);
    staged.sign(ctx, before.as_ref(), signers)?;
    if let Some(before) = before {
        if before.version().checked_add(1) != Some(staged.version) {
            let message =
                format!("{} does not follow version {} of the root", path.display(), before.version());
            return Err(
                Error::new(Kind::Stale, message).hint("remove it and make it again with coracle keys rotate")
            );
        }
        return staged.keep(&keys);
    }
    files::replace(path, &staged.encode())?;
    Ok(Progress::Staged { version: staged.version, path: path.to_owned(), missing: Vec::new() })
}
