//! The workflow of the specification's section 5: root, timestamp, snapshot, targets.

use super::{
    ClientError, Fetch, FetchError, Listed, SNAPSHOT_BYTES_MAX, Snapshot, Start, Store, TARGETS_BYTES_MAX,
    TIMESTAMP_BYTES_MAX, Timestamp, Trusted, chain, check_time, name,
};
use crate::{Fault, TrustError, date, document::Document, error::Role, json::Value, root::Root};

pub(super) const TIMESTAMP: &str = "timestamp.json";
pub(super) const SNAPSHOT: &str = "snapshot.json";
pub(super) const TARGETS: &str = "targets.json";

/// Brings what is known of a repository up to date. What was accepted on the way stays accepted if a later step fails.
pub fn refresh(
    start: &Start<'_>,
    fetch: &mut dyn Fetch,
    store: &mut dyn Store,
) -> Result<Trusted, ClientError> {
    let newest = chain::walk(start, fetch, store)?;
    let root = &newest.root;
    // The newest signed date is a time too. It only ever makes more things expire.
    let signed = if newest.recovered { 0 } else { start.floors.issued };
    let now = start.now.unwrap_or_default().max(signed);
    check_time("root.json", Role::Root, root.expires(), now)?;
    if !root.is_consistent() {
        let why = TrustError::Document { role: Role::Root, why: Fault::Field("consistent_snapshot") };
        return Err(ClientError::Untrusted { file: "root.json".to_owned(), why });
    }
    let floor = if newest.recovered { 0 } else { start.floors.timestamp_version };
    let timestamp = Step { root, now, fetch, store }.timestamp(floor)?;
    let snapshot = Step { root, now, fetch, store }.snapshot(&timestamp.snapshot)?;
    let targets = Step { root, now, fetch, store }.targets(&snapshot)?;
    Ok(Trusted {
        root: newest.root,
        root_bytes: newest.bytes,
        recovered: newest.recovered,
        floors: start.floors,
        now,
        timestamp,
        snapshot,
        targets,
    })
}

/// Fetches a file and makes sure that it is no larger than asked for.
pub(super) fn fetch(from: &mut dyn Fetch, file: &str, limit: u64) -> Result<Option<Vec<u8>>, ClientError> {
    let failed = |why| ClientError::Fetch { file: file.to_owned(), why };
    let bytes = from.metadata(file, limit).map_err(failed)?;
    let fits = |bytes: &Vec<u8>| u64::try_from(bytes.len()).is_ok_and(|length| length <= limit);
    if bytes.as_ref().is_some_and(|bytes| !fits(bytes)) {
        return Err(failed(FetchError::TooLarge));
    }
    Ok(bytes)
}

/// Fetches the version of a document that was vouched for, and makes sure that these are its bytes.
pub(super) fn fetch_listed(
    from: &mut dyn Fetch,
    file: &str,
    listed: &Listed,
    limit: u64,
) -> Result<Vec<u8>, ClientError> {
    let stated = listed.length.unwrap_or(limit);
    if stated > limit {
        return Err(ClientError::Fetch { file: file.to_owned(), why: FetchError::TooLarge });
    }
    let bytes = fetch(from, file, stated)?.ok_or_else(|| ClientError::Missing(file.to_owned()))?;
    if listed.is(&bytes) { Ok(bytes) } else { Err(ClientError::Mismatch(file.to_owned())) }
}

/// Remembers a document.
pub(super) fn save(store: &mut dyn Store, file: &str, bytes: &[u8]) -> Result<(), ClientError> {
    store.save(file, bytes).map_err(|why| ClientError::Store { file: file.to_owned(), why })
}

/// What a step needs.
struct Step<'a> {
    root: &'a Root,
    now: u64,
    fetch: &'a mut dyn Fetch,
    store: &'a mut dyn Store,
}

impl Step<'_> {
    fn timestamp(&mut self, floor: u32) -> Result<Timestamp, ClientError> {
        let stored = self.store.load(TIMESTAMP).and_then(|bytes| timestamp(self.root, &bytes).ok());
        let bytes = fetch(self.fetch, TIMESTAMP, TIMESTAMP_BYTES_MAX)?;
        let bytes = bytes.ok_or_else(|| ClientError::Missing(TIMESTAMP.to_owned()))?;
        let found = timestamp(self.root, &bytes).map_err(untrusted(TIMESTAMP))?;
        let accepted = stored.as_ref().map_or(floor, |stored| floor.max(stored.version));
        not_before(TIMESTAMP, found.version, accepted)?;
        match stored {
            // A version is what it was when it was first seen.
            Some(stored) if stored.version == found.version => {
                check_time(TIMESTAMP, Role::Timestamp, stored.expires, self.now)?;
                Ok(stored)
            }
            stored => {
                let accepted = stored.map_or(0, |stored| stored.snapshot.version);
                not_before(SNAPSHOT, found.snapshot.version, accepted)?;
                check_time(TIMESTAMP, Role::Timestamp, found.expires, self.now)?;
                save(self.store, TIMESTAMP, &bytes)?;
                Ok(found)
            }
        }
    }

    fn snapshot(&mut self, listed: &Listed) -> Result<Snapshot, ClientError> {
        let stored_bytes = self.store.load(SNAPSHOT);
        let stored = stored_bytes.as_ref().and_then(|bytes| snapshot(self.root, bytes).ok());
        if let (Some(stored), Some(bytes)) = (&stored, &stored_bytes)
            && stored.version == listed.version
            && listed.is(bytes)
        {
            check_time(SNAPSHOT, Role::Snapshot, stored.expires, self.now)?;
            return Ok(stored.clone());
        }
        let file = name::versioned(listed.version, Role::Snapshot.name());
        let bytes = fetch_listed(self.fetch, &file, listed, SNAPSHOT_BYTES_MAX)?;
        let found = snapshot(self.root, &bytes).map_err(untrusted(&file))?;
        if found.version != listed.version {
            return Err(ClientError::Mismatch(file));
        }
        for (name, before) in stored.iter().flat_map(|stored| &stored.meta) {
            let after = found.get(name).ok_or_else(|| ClientError::Vanished(name.clone()))?;
            not_before(name, after.version, before.version)?;
        }
        check_time(&file, Role::Snapshot, found.expires, self.now)?;
        save(self.store, SNAPSHOT, &bytes)?;
        Ok(found)
    }

    fn targets(&mut self, snapshot: &Snapshot) -> Result<Document, ClientError> {
        let listed = snapshot.get(TARGETS).ok_or_else(|| ClientError::NotListed(TARGETS.to_owned()))?;
        let verified = |bytes: &[u8]| {
            let document = Document::parse(Role::Targets, bytes)?;
            document.verify(self.root.authority(Role::Targets), self.root.version())?;
            Ok((document.version()?, document.expires()?, document))
        };
        if let Some(bytes) = self.store.load(TARGETS).filter(|bytes| listed.is(bytes))
            && let Ok((version, expires, document)) = verified(&bytes)
            && version == listed.version
        {
            check_time(TARGETS, Role::Targets, expires, self.now)?;
            return Ok(document);
        }
        let file = name::versioned(listed.version, Role::Targets.name());
        let bytes = fetch_listed(self.fetch, &file, listed, TARGETS_BYTES_MAX)?;
        let (version, expires, document) = verified(&bytes).map_err(untrusted(&file))?;
        if version != listed.version {
            return Err(ClientError::Mismatch(file));
        }
        check_time(&file, Role::Targets, expires, self.now)?;
        save(self.store, TARGETS, &bytes)?;
        Ok(document)
    }
}

pub(super) fn untrusted(file: &str) -> impl Fn(TrustError) -> ClientError {
    move |why| ClientError::Untrusted { file: file.to_owned(), why }
}

fn not_before(file: &str, found: u32, accepted: u32) -> Result<(), ClientError> {
    if found < accepted {
        return Err(ClientError::Rollback { file: file.to_owned(), found, accepted });
    }
    Ok(())
}

fn timestamp(root: &Root, bytes: &[u8]) -> Result<Timestamp, TrustError> {
    let document = Document::parse(Role::Timestamp, bytes)?;
    document.verify(root.authority(Role::Timestamp), root.version())?;
    let snapshot = document.field("meta")?.get(SNAPSHOT).and_then(Listed::read);
    let expires = document.expires()?;
    let issued = match document.field("issued") {
        Ok(stated) => {
            let issued = stated.text().and_then(date::parse).filter(|issued| *issued <= expires);
            Some(issued.ok_or_else(|| document.wrong("issued"))?)
        }
        // Only ours say so.
        Err(_) => None,
    };
    let snapshot = snapshot.ok_or_else(|| document.wrong("meta"))?;
    Ok(Timestamp { version: document.version()?, expires, issued, snapshot })
}

fn snapshot(root: &Root, bytes: &[u8]) -> Result<Snapshot, TrustError> {
    let document = Document::parse(Role::Snapshot, bytes)?;
    document.verify(root.authority(Role::Snapshot), root.version())?;
    let meta = document.field("meta")?.map().ok_or_else(|| document.wrong("meta"))?;
    let meta =
        meta.iter().map(|(name, stated): &(String, Value)| Some((name.clone(), Listed::read(stated)?)));
    let meta = meta.collect::<Option<_>>().ok_or_else(|| document.wrong("meta"))?;
    Ok(Snapshot { version: document.version()?, expires: document.expires()?, meta })
}
