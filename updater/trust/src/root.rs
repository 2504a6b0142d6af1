//! Root metadata: who may sign what, and how it changes.

use crate::{
    document::{Authority, Document},
    error::{Role, TrustError},
    json::Value,
    key::Kinds,
};

/// A root whose own keys have signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    version: u32,
    expires: u64,
    consistent: bool,
    kinds: Kinds,
    authorities: [Authority; 4],
}

impl Root {
    /// Reads a root and checks that it is signed as it demands of roots itself. That alone is no reason to trust it.
    pub fn read(bytes: &[u8]) -> Result<Self, TrustError> {
        Self::read_with(Kinds::default(), bytes)
    }

    /// Reads a root whose keys may be of other kinds; what follows it may have them too.
    pub fn read_with(kinds: Kinds, bytes: &[u8]) -> Result<Self, TrustError> {
        Self::of(kinds, &Document::parse(Role::Root, bytes)?)
    }

    /// The root that follows this one: of the next version, and signed as both of them demand.
    pub fn followed_by(&self, document: &Document) -> Result<Self, TrustError> {
        // The signatures of the keys that are trusted already come before everything else that it says.
        document.verify(self.authority(Role::Root), self.version)?;
        let next = Self::of(self.kinds, document)?;
        if self.version.checked_add(1) != Some(next.version) {
            return Err(TrustError::Chain { trusted: self.version, found: next.version });
        }
        Ok(next)
    }

    fn of(kinds: Kinds, document: &Document) -> Result<Self, TrustError> {
        let version = document.version()?;
        let keys = document.field("keys")?.map().ok_or_else(|| document.wrong("keys"))?;
        let roles = document.field("roles")?;
        let read = |role: Role| {
            let stated = roles.get(role.name()).ok_or_else(|| document.wrong("roles"))?;
            Authority::read(kinds, stated, keys).map_err(|why| TrustError::Document { role: Role::Root, why })
        };
        let authorities =
            [read(Role::Root)?, read(Role::Targets)?, read(Role::Snapshot)?, read(Role::Timestamp)?];
        let consistent =
            document.field("consistent_snapshot").is_ok_and(|stated| *stated == Value::Bool(true));
        let this = Self { version, expires: document.expires()?, consistent, kinds, authorities };
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

    /// Whether it demands consistent snapshots: every document and target has a name of its own for each version.
    pub const fn is_consistent(&self) -> bool {
        self.consistent
    }

    /// The kinds of keys that count.
    pub(crate) const fn kinds(&self) -> Kinds {
        self.kinds
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
