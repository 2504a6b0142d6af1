//! From the trusted root to the newest one: first by what the store remembers, then by what the repository has.

use super::{ClientError, Fetch, ROOT_BYTES_MAX, ROOTS_MAX, STORED_ROOTS_MAX, Start, Store, refresh};
use crate::{TrustError, document::Document, error::Role, root::Root};

/// The newest root.
#[derive(Debug)]
pub(super) struct Newest {
    pub(super) root: Root,
    pub(super) bytes: Vec<u8>,
    /// Whether a root beyond that of the floors takes a timestamp key away.
    pub(super) recovered: bool,
    floor: u32,
}

/// The file of a root, in the repository and in the store.
fn file(version: u32) -> String {
    format!("{version}.root.json")
}

/// Walks the chain and remembers every step.
pub(super) fn walk(
    start: &Start<'_>,
    fetch: &mut dyn Fetch,
    store: &mut dyn Store,
) -> Result<Newest, ClientError> {
    let root = Root::read_with(start.kinds, start.trusted_root)
        .map_err(|why| ClientError::Untrusted { file: "root.json".to_owned(), why })?;
    let floor = start.floors.root_version;
    let mut newest = Newest { root, bytes: start.trusted_root.to_vec(), recovered: false, floor };
    for _ in 0..STORED_ROOTS_MAX {
        let Some(name) = newest.root.version().checked_add(1).map(file) else { break };
        // What the store remembers badly the repository has to tell again.
        let Some(next) = store.load(&name).and_then(|bytes| newest.follow(bytes).ok()) else { break };
        newest = next;
    }
    let mut more = true;
    for _ in 0..ROOTS_MAX {
        more = newest.fetch_next(fetch, store)?;
        if !more {
            break;
        }
    }
    if more {
        return Err(ClientError::Roots);
    }
    if newest.root.version() < floor {
        let why = TrustError::RootTooOld { found: newest.root.version(), floor };
        return Err(ClientError::Untrusted { file: file(newest.root.version()), why });
    }
    Ok(newest)
}

impl Newest {
    /// Whether the repository had one more.
    fn fetch_next(&mut self, fetch: &mut dyn Fetch, store: &mut dyn Store) -> Result<bool, ClientError> {
        let Some(name) = self.root.version().checked_add(1).map(file) else { return Ok(false) };
        let Some(bytes) = refresh::fetch(fetch, &name, ROOT_BYTES_MAX)? else { return Ok(false) };
        let next = self.follow(bytes).map_err(|why| ClientError::Untrusted { file: name.clone(), why })?;
        let failed = |why| ClientError::Store { file: name.clone(), why };
        // What a lost key has signed is forgotten before the root is remembered: if only the first happens, it is
        // asked for again, and the floors still hold.
        if takes_away(&self.root, &next.root, Role::Timestamp)
            || takes_away(&self.root, &next.root, Role::Snapshot)
        {
            store.remove(refresh::TIMESTAMP).map_err(failed)?;
            store.remove(refresh::SNAPSHOT).map_err(failed)?;
        }
        store.save(&name, &next.bytes).map_err(failed)?;
        *self = next;
        Ok(true)
    }

    fn follow(&self, bytes: Vec<u8>) -> Result<Self, TrustError> {
        let root = self.root.followed_by(&Document::parse(Role::Root, &bytes)?)?;
        let is_news = self.root.version() >= self.floor;
        let recovered = self.recovered || is_news && takes_away(&self.root, &root, Role::Timestamp);
        Ok(Self { root, bytes, recovered, floor: self.floor })
    }
}

/// Whether a key of a role is not its key any more.
fn takes_away(before: &Root, after: &Root, role: Role) -> bool {
    let after = &after.authority(role).keys;
    let keys = before.authority(role).keys.iter().filter_map(|(_, key)| key.as_ref());
    let mut gone = keys.filter(|key| !after.iter().any(|(_, other)| other.as_ref() == Some(key)));
    gone.next().is_some()
}
