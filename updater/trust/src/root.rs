//! Root metadata: who may sign what, and how it changes.

use crate::{
    document::{Authority, Document, PublicKey, hex},
    error::{Fault, Role, TrustError},
    json::Value,
};

/// Keys in one root at most.
const KEYS_MAX: usize = 64;

/// A root whose own keys have signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    version: u32,
    expires: u64,
    authorities: [Authority; 4],
}

impl Root {
    /// Reads a root and checks that it is signed as it demands of roots itself. That alone is no reason to trust it.
    pub fn read(bytes: &[u8]) -> Result<Self, TrustError> {
        Self::of(&Document::parse(Role::Root, bytes)?)
    }

    /// The root that follows this one: of the next version, and signed as both of them demand.
    pub fn followed_by(&self, document: &Document) -> Result<Self, TrustError> {
        // The signatures of the keys that are trusted already come before everything else that it says.
        document.verify(self.authority(Role::Root), self.version)?;
        let next = Self::of(document)?;
        if self.version.checked_add(1) != Some(next.version) {
            return Err(TrustError::Chain { trusted: self.version, found: next.version });
        }
        Ok(next)
    }

    fn of(document: &Document) -> Result<Self, TrustError> {
        let version = document.version()?;
        let keys = document.field("keys")?.map().filter(|keys| keys.len() <= KEYS_MAX);
        let keys = keys.ok_or_else(|| document.wrong("keys"))?;
        let roles = document.field("roles")?;
        let read = |role: Role| {
            let stated = roles.get(role.name()).ok_or_else(|| document.wrong("roles"))?;
            authority(stated, keys).map_err(|why| TrustError::Document { role: Role::Root, why })
        };
        let authorities =
            [read(Role::Root)?, read(Role::Targets)?, read(Role::Snapshot)?, read(Role::Timestamp)?];
        let this = Self { version, expires: document.expires()?, authorities };
        document.verify(this.authority(Role::Root), version)?;
        Ok(this)
    }

    /// Its version.
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// When it expires, seconds since 1970.
    pub const fn expires(&self) -> u64 {
        self.expires
    }

    /// Who may sign for a role.
    pub const fn authority(&self, role: Role) -> &Authority {
        let [root, targets, snapshot, timestamp] = &self.authorities;
        match role {
            Role::Root => root,
            Role::Targets => targets,
            Role::Snapshot => snapshot,
            Role::Timestamp => timestamp,
        }
    }
}

fn authority(stated: &Value, keys: &[(String, Value)]) -> Result<Authority, Fault> {
    let threshold =
        stated.get("threshold").and_then(Value::number).and_then(|number| u32::try_from(number).ok());
    let threshold = threshold.ok_or(Fault::Field("threshold"))?;
    if threshold == 0 {
        return Err(Fault::Threshold);
    }
    let ids = stated.get("keyids").and_then(Value::list).filter(|ids| ids.len() <= KEYS_MAX);
    let mut named: Vec<(String, Option<PublicKey>)> = Vec::new();
    for id in ids.ok_or(Fault::Field("keyids"))? {
        let id = id.text().ok_or(Fault::Field("keyids"))?;
        if named.iter().any(|(known, _)| known == id) {
            return Err(Fault::Field("keyids"));
        }
        // A key that is named but not there is a key that never signs.
        let key = keys.iter().find(|(known, _)| known == id).and_then(|(_, key)| public_key(key));
        named.push((id.to_owned(), key));
    }
    Ok(Authority { keys: named, threshold })
}

/// An Ed25519 key; `None` for other kinds, which other clients may understand.
fn public_key(key: &Value) -> Option<PublicKey> {
    let is = |name: &str| key.get(name).and_then(Value::text) == Some("ed25519");
    let public = key.get("keyval")?.get("public")?.text()?;
    if is("keytype") && is("scheme") { hex(public) } else { None }
}
