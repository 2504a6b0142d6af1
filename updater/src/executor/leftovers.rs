//! What an interrupted update has left in the spare slot: a file on `state` with the digest of each frame that was
//! written and synced. It saves a transfer and is never needed: what it says is compared with the slot, and what comes of
//! it is compared with the signed digests like everything else.

use coracle_block::{PathError, read_limited, replace_file};
use std::io;
use std::path::{Path, PathBuf};

/// Where it is.
pub const PATH: &str = "/state/update/progress";
const MAGIC: &[u8; 8] = b"CORAPROG";
const HASH: usize = 32;
const HEAD: usize = 8 + HASH;
/// Frames of the longest index, and then some.
const LIMIT_BYTES: usize = 4 << 20;

/// The digests of the frames, unpacked, in their order.
#[derive(Debug)]
pub(super) struct Leftovers {
    path: Option<PathBuf>,
    index: [u8; HASH],
    /// What an attempt before says.
    claimed: Vec<[u8; HASH]>,
    /// What this attempt has written.
    written: Vec<[u8; HASH]>,
    /// Keeping it has failed: nothing more is kept.
    broken: Option<PathError>,
    told: bool,
}

impl Leftovers {
    /// Of the update with this index, kept at `path`, if anywhere. What another update has left says nothing.
    pub(super) fn load(path: Option<&Path>, index: [u8; HASH]) -> Self {
        let claimed = path.and_then(|path| read_limited(path, LIMIT_BYTES).ok());
        let claimed = claimed.and_then(|bytes| parse(&bytes, &index)).unwrap_or_default();
        Self {
            path: path.map(Path::to_owned),
            index,
            claimed,
            written: Vec::new(),
            broken: None,
            told: false,
        }
    }

    /// What the next frame's digest is said to be; `None` if nothing is said.
    pub(super) fn next(&self) -> Option<[u8; HASH]> {
        self.claimed.get(self.written.len()).copied()
    }

    /// Nothing that was said counts any more.
    pub(super) fn doubt(&mut self) {
        self.claimed.clear();
    }

    /// Starts over, without what was said.
    pub(super) fn forget(&mut self) {
        self.claimed.clear();
        self.written.clear();
    }

    /// The next frame is in the slot.
    pub(super) fn push(&mut self, digest: [u8; HASH]) {
        self.written.push(digest);
    }

    /// Keeps what is written and synced. A failure is remembered and keeps nothing from going on.
    pub(super) fn store(&mut self) {
        let Some(path) = self.path.as_deref().filter(|_| self.broken.is_none() && !self.told) else {
            return;
        };
        let mut bytes = Vec::with_capacity(HEAD + self.written.len() * HASH);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.index);
        self.written.iter().for_each(|digest| bytes.extend_from_slice(digest));
        let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        let stored = made
            .map_err(|source| PathError { action: "make the directory of", path: path.to_owned(), source })
            .and_then(|()| replace_file(path, &bytes, 0o600));
        self.broken = stored.err();
    }

    /// Why keeping it failed, the first time it is asked for.
    pub(super) fn take_broken(&mut self) -> Option<PathError> {
        let broken = self.broken.take()?;
        self.told = true;
        Some(broken)
    }

    /// Nothing is left to go on with.
    pub(super) fn remove(&mut self) {
        let Some(path) = &self.path else {
            return;
        };
        match std::fs::remove_file(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                self.broken = Some(PathError { action: "remove", path: path.clone(), source });
            }
        }
    }
}

fn parse(bytes: &[u8], index: &[u8; HASH]) -> Option<Vec<[u8; HASH]>> {
    let rest = bytes.strip_prefix(MAGIC)?.strip_prefix(index)?;
    let (digests, []) = rest.as_chunks::<HASH>() else {
        return None;
    };
    Some(digests.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stored_is_claimed_by_the_next_attempt_at_the_same_update_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("update/progress");
        let mut first = Leftovers::load(Some(&path), [1; 32]);
        assert_eq!(first.next(), None);
        for digest in [[7; 32], [8; 32]] {
            first.push(digest);
        }
        first.store();
        let mut second = Leftovers::load(Some(&path), [1; 32]);
        assert_eq!(second.next(), Some([7; 32]));
        second.push([7; 32]);
        assert_eq!(second.next(), Some([8; 32]));
        assert_eq!(Leftovers::load(Some(&path), [2; 32]).next(), None);
        second.remove();
        assert_eq!(Leftovers::load(Some(&path), [1; 32]).next(), None);
        assert!(second.take_broken().is_none());
    }

    #[test]
    fn a_full_state_is_said_and_stops_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::File::create(&file).unwrap();
        let mut leftovers = Leftovers::load(Some(&file.join("progress")), [1; 32]);
        leftovers.push([7; 32]);
        leftovers.store();
        assert_eq!(leftovers.take_broken().unwrap().action, "make the directory of");
        leftovers.store();
        assert!(leftovers.take_broken().is_none());
    }
}
