//! Which document speaks of a path: a walk over the delegations, depth first, in the order in which they are stated.

use super::{
    ClientError, Fetch, ROLES_MAX, Store, TARGETS_BYTES_MAX, Trusted, check_time,
    listed::Hashes,
    name, pattern,
    refresh::{self, untrusted},
};
use crate::{
    Fault, TrustError,
    document::{Authority, Document},
    error::Role,
    json::Value,
    key::Kinds,
};

/// Delegations that are read of one document at most.
const DELEGATIONS_MAX: usize = 256;

/// A file that a repository vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its path.
    pub path: String,
    /// Its bytes.
    pub length: u64,
    /// Its digests, one at least.
    pub hashes: Hashes,
    /// What the document says beyond that.
    pub custom: Option<Value>,
}

impl Target {
    fn read(path: &str, stated: &Value) -> Option<Self> {
        Some(Self {
            path: path.to_owned(),
            length: stated.get("length")?.number()?,
            hashes: Hashes::read(stated.get("hashes")?)?,
            custom: stated.get("custom").cloned(),
        })
    }

    /// Where a repository of consistent snapshots keeps it, below its directory of targets. The path is the signer's:
    /// it is no file name on this machine.
    pub fn file(&self) -> String {
        let digest = self.hashes.sha256.as_ref().map(<[u8; 32]>::as_slice);
        let digest = digest.or_else(|| self.hashes.sha512.as_ref().map(|digest| digest.as_slice()));
        name::target(&self.path, digest.unwrap_or_default())
    }

    /// Whether these are its bytes.
    pub fn is(&self, bytes: &[u8]) -> bool {
        u64::try_from(bytes.len()) == Ok(self.length) && self.hashes.are_of(bytes)
    }
}

/// A role that has yet to be asked.
#[derive(Debug)]
struct Pending {
    role: String,
    authority: Authority,
}

pub(super) fn target(
    trusted: &Trusted,
    path: &str,
    fetch: &mut dyn Fetch,
    store: &mut dyn Store,
) -> Result<Option<Target>, ClientError> {
    let kinds = trusted.root.kinds();
    let (found, mut pending) = look(kinds, &trusted.targets, path).map_err(untrusted(refresh::TARGETS))?;
    if found.is_some() {
        return Ok(found);
    }
    pending.stack.reverse();
    let mut stack = pending.stack;
    let mut asked: Vec<String> = Vec::new();
    while let Some(next) = stack.pop() {
        // A role has one document: asking again would say the same again.
        if asked.contains(&next.role) {
            continue;
        }
        if asked.len() == ROLES_MAX {
            return Err(ClientError::Roles(path.to_owned()));
        }
        let document = delegated(trusted, &next, fetch, store)?;
        let (found, below) = look(kinds, &document, path).map_err(untrusted(&name::stored(&next.role)))?;
        if found.is_some() {
            return Ok(found);
        }
        asked.push(next.role);
        if below.is_last {
            stack.clear();
        }
        stack.extend(below.stack.into_iter().rev());
    }
    Ok(None)
}

/// The roles that a document delegates a path to.
#[derive(Debug, Default)]
struct Below {
    stack: Vec<Pending>,
    /// Whether nobody else may be asked.
    is_last: bool,
}

/// What a document says about a path, or whom else to ask.
fn look(kinds: Kinds, document: &Document, path: &str) -> Result<(Option<Target>, Below), TrustError> {
    let targets = document.field("targets")?;
    targets.map().ok_or_else(|| document.wrong("targets"))?;
    if let Some(stated) = targets.get(path) {
        let target = Target::read(path, stated).ok_or_else(|| document.wrong("targets"))?;
        return Ok((Some(target), Below::default()));
    }
    let Ok(delegations) = document.field("delegations") else { return Ok((None, Below::default())) };
    let wrong = || document.wrong("delegations");
    let keys = delegations.get("keys").and_then(Value::map).ok_or_else(wrong)?;
    let roles = delegations.get("roles").and_then(Value::list).ok_or_else(wrong)?;
    if roles.len() > DELEGATIONS_MAX {
        return Err(wrong());
    }
    let mut below = Below::default();
    for delegation in roles {
        let role = delegation.get("name").and_then(Value::text).filter(is_role).ok_or_else(wrong)?;
        if !pattern::delegates(delegation, path).ok_or_else(wrong)? {
            continue;
        }
        let fault = |why: Fault| TrustError::Document { role: Role::Targets, why };
        let authority = Authority::read(kinds, delegation, keys).map_err(fault)?;
        below.stack.push(Pending { role: role.to_owned(), authority });
        match delegation.get("terminating") {
            Some(Value::Bool(true)) => {
                below.is_last = true;
                break;
            }
            Some(Value::Bool(false)) => {}
            _ => return Err(wrong()),
        }
    }
    Ok((None, below))
}

/// A delegated role has a short name that is none of the top-level roles'.
fn is_role(name: &&str) -> bool {
    (1..=name::ROLE_BYTES_MAX).contains(&name.len()) && !Role::ALL.iter().any(|role| role.name() == *name)
}

/// The newest document of a delegated role, verified by the keys of whoever delegates to it here.
fn delegated(
    trusted: &Trusted,
    next: &Pending,
    fetch: &mut dyn Fetch,
    store: &mut dyn Store,
) -> Result<Document, ClientError> {
    let stored = name::stored(&next.role);
    let listed = trusted.listed(&next.role);
    let listed = listed.ok_or_else(|| ClientError::NotListed(format!("{}.json", next.role)))?;
    let verified = |file: &str, bytes: &[u8]| {
        let document = Document::parse(Role::Targets, bytes).map_err(untrusted(file))?;
        let threshold = next.authority.threshold;
        let too_few = |valid| ClientError::Delegated { file: file.to_owned(), valid, threshold };
        document.verify_delegated(&next.authority).map_err(too_few)?;
        if document.version().map_err(untrusted(file))? != listed.version {
            return Err(ClientError::Mismatch(file.to_owned()));
        }
        let expires = document.expires().map_err(untrusted(file))?;
        Ok((expires, document))
    };
    let known = store.load(&stored).filter(|bytes| listed.is(bytes));
    if let Some((expires, document)) = known.and_then(|bytes| verified(&stored, &bytes).ok()) {
        check_time(&stored, Role::Targets, expires, trusted.now)?;
        return Ok(document);
    }
    let file = name::versioned(listed.version, &next.role);
    let bytes = refresh::fetch_listed(fetch, &file, listed, TARGETS_BYTES_MAX)?;
    let (expires, document) = verified(&file, &bytes)?;
    check_time(&file, Role::Targets, expires, trusted.now)?;
    refresh::save(store, &stored, &bytes)?;
    Ok(document)
}
