//! What a machine makes of a repository: the device's own client, over a directory.

use super::change::Draft;
use super::{
    Repository,
    files::{self, Content, Writes},
    state::Chain,
};
use crate::{
    error::{Error, Kind, Result},
    keys::refused,
};
use coracle_rollout::document;
use coracle_trust::client::{
    ClientError, Fetch, FetchError, Floors, Start, Store, StoreError, Trusted, refresh,
};
use std::collections::BTreeMap;

/// A machine that has never looked before.
#[derive(Debug)]
pub struct Client<'a> {
    repository: &'a Repository,
    /// Files that will be there.
    coming: Writes,
    remembered: BTreeMap<String, Vec<u8>>,
}

impl<'a> Client<'a> {
    /// One that looks at a repository as it is.
    pub fn new(repository: &'a Repository) -> Self {
        Self { repository, coming: Writes::default(), remembered: BTreeMap::new() }
    }

    /// Everything that the repository vouches for, by a machine that trusts this root.
    pub fn refresh(&mut self, trusted_root: &[u8], now: u64) -> Result<Trusted, ClientError> {
        let start = Start {
            trusted_root,
            floors: Floors::default(),
            now: Some(now),
            kinds: coracle_trust::Kinds::default(),
        };
        let (mut fetch, mut store) = self.halves();
        refresh(&start, &mut fetch, &mut store)
    }

    /// What channels say about a path.
    pub fn target(
        &mut self,
        trusted: &mut Trusted,
        path: &str,
    ) -> Result<Option<coracle_trust::client::Target>, ClientError> {
        let (mut fetch, mut store) = self.halves();
        trusted.target(path, &mut fetch, &mut store)
    }

    fn halves(&mut self) -> (Directory<'_>, Memory<'_>) {
        let directory = Directory { repository: self.repository, coming: &self.coming };
        (directory, Memory(&mut self.remembered))
    }
}

struct Directory<'a> {
    repository: &'a Repository,
    coming: &'a Writes,
}

impl Fetch for Directory<'_> {
    fn metadata(&mut self, file: &str, limit: u64) -> Result<Option<Vec<u8>>, FetchError> {
        if let Some(bytes) = self.coming.metadata(file).filter(|bytes| !bytes.is_empty()) {
            return Ok(Some(bytes.to_vec()));
        }
        let read = files::read(&self.repository.metadata(file), limit);
        read.map_err(|error| FetchError::Failed(error.to_string()))
    }
}

struct Memory<'a>(&'a mut BTreeMap<String, Vec<u8>>);

impl Store for Memory<'_> {
    fn load(&mut self, file: &str) -> Option<Vec<u8>> {
        self.0.get(file).cloned()
    }

    fn save(&mut self, file: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.0.insert(file.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn remove(&mut self, file: &str) -> Result<(), StoreError> {
        self.0.remove(file);
        Ok(())
    }
}

/// An error for a repository that a machine does not believe.
pub fn refused_by_client(message: impl Into<String>, why: ClientError) -> Error {
    let kind = match why {
        ClientError::Untrusted { why, .. } => return refused(message, why),
        ClientError::Delegated { .. } => Kind::Signature,
        ClientError::Mismatch(_) => Kind::Digest,
        ClientError::Missing(_) | ClientError::Vanished(_) | ClientError::NotListed(_) => Kind::NotFound,
        ClientError::Rollback { .. } => Kind::Stale,
        ClientError::Fetch { .. } | ClientError::Store { .. } => Kind::Io,
        ClientError::Roots | ClientError::Roles(_) => Kind::Hostile,
    };
    Error::new(kind, message).because(why)
}

/// Refuses a change that a machine with the first root would not accept.
pub(super) fn accepted(repository: &Repository, chain: &Chain, writes: &Writes, draft: &Draft) -> Result<()> {
    let wrong = |why| refused_by_client("no machine would accept the repository; nothing was written", why);
    let mut client = Client { coming: writes.clone(), ..Client::new(repository) };
    let first = chain.documents.first().map(Vec::as_slice).unwrap_or_default();
    let mut trusted = client.refresh(first, draft.now).map_err(wrong)?;
    let missing = |what: &str| {
        Error::new(
            Kind::Internal,
            format!("the new repository does not vouch for {what}; nothing was written"),
        )
    };
    for vouched in &draft.state.releases {
        let path = vouched.path();
        let found = trusted.release(&path).map_err(|why| refused(format!("cannot vouch for {path}"), why))?;
        found.filter(|found| found == vouched).ok_or_else(|| missing(&path))?;
    }
    for rollout in draft.state.channels.values().flatten() {
        let path = document::path(&rollout.channel, &rollout.image, rollout.arch);
        let target = client.target(&mut trusted, &path).map_err(wrong)?.ok_or_else(|| missing(&path))?;
        let bytes = rollout.encode().map_err(|why| missing(&path).because(why))?;
        if !target.is(&bytes) {
            return Err(missing(&path));
        }
    }
    let copies = writes.new.iter().filter(|new| matches!(new.content, Content::Copy(..)));
    let vouched: usize = draft.state.releases.iter().map(|vouched| 1 + vouched.deltas.len()).sum();
    debug_assert!(copies.count() <= vouched, "a bundle or delta that nothing vouches for");
    Ok(())
}
