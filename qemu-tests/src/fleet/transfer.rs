//! How machines get at the repository, and where they keep what they have verified. Every request is counted.

use coracle_trust::client::{Fetch, FetchError, Store, StoreError};
use std::{
    collections::{BTreeMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
    rc::Rc,
};

/// What a machine has asked for so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Traffic {
    /// Requests, found or not.
    pub(super) requests: u64,
    /// Bytes of bodies: metadata and rollout documents.
    pub(super) metadata: u64,
    /// Bundles: their bytes stay where they are.
    pub(super) bundles: u64,
}

/// A static server: a directory.
#[derive(Debug)]
pub(super) struct Server {
    directory: PathBuf,
}

impl Server {
    pub(super) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// One request for a file.
    pub(super) fn get(
        &self,
        file: &str,
        limit: u64,
        traffic: &mut Traffic,
    ) -> Result<Option<Vec<u8>>, FetchError> {
        traffic.requests += 1;
        match fs::read(self.directory.join(file)) {
            Ok(bytes) => {
                let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                traffic.metadata += length.min(limit);
                if length > limit { Err(FetchError::TooLarge) } else { Ok(Some(bytes)) }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(FetchError::Failed(error.to_string())),
        }
    }
}

/// A machine's way to the server.
#[derive(Debug)]
pub(super) struct Link<'a> {
    pub(super) server: &'a Server,
    pub(super) traffic: &'a mut Traffic,
    /// Whether there is a network.
    pub(super) is_up: bool,
}

impl Fetch for Link<'_> {
    fn metadata(&mut self, file: &str, limit: u64) -> Result<Option<Vec<u8>>, FetchError> {
        if !self.is_up {
            return Err(FetchError::Failed("no network".to_owned()));
        }
        self.server.get(&format!("metadata/{file}"), limit, self.traffic)
    }
}

/// Every document that some machine keeps, once.
#[derive(Debug, Default)]
pub(super) struct Library(HashSet<Rc<[u8]>>);

/// What one machine keeps.
pub(super) type Shelf = BTreeMap<String, Rc<[u8]>>;

/// A machine's store: its own shelf, filled from the library.
#[derive(Debug)]
pub(super) struct Kept<'a> {
    pub(super) library: &'a mut Library,
    pub(super) shelf: &'a mut Shelf,
}

impl Store for Kept<'_> {
    fn load(&mut self, file: &str) -> Option<Vec<u8>> {
        self.shelf.get(file).map(|bytes| bytes.to_vec())
    }

    fn save(&mut self, file: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let kept = self.library.0.get(bytes).cloned().unwrap_or_else(|| Rc::from(bytes));
        self.library.0.insert(Rc::clone(&kept));
        self.shelf.insert(file.to_owned(), kept);
        Ok(())
    }

    fn remove(&mut self, file: &str) -> Result<(), StoreError> {
        self.shelf.remove(file);
        Ok(())
    }
}
