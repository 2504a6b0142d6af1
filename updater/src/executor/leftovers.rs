//! What an interrupted update has left in the spare slot: a file on `state` that says which update was under way and how
//! many of its frames were written and synced. It saves a transfer and is never needed: the frames that it speaks of are
//! compared with the digests in the signed index.

use coracle_block::{PathError, read_limited, replace_file};
use std::io;
use std::path::{Path, PathBuf};

/// Where it is.
pub const PATH: &str = "/state/update/progress";
const MAGIC: &[u8; 8] = b"CORAPROG";
const HASH: usize = 32;
const BYTES: usize = 8 + HASH + 4;

/// How many frames are in the slot.
#[derive(Debug)]
pub(super) struct Leftovers {
    path: Option<PathBuf>,
    index: [u8; HASH],
    /// What an attempt before says.
    claimed: u32,
    /// What this attempt has written.
    written: u32,
    /// Keeping it has failed: nothing more is kept.
    broken: Option<PathError>,
    told: bool,
}

impl Leftovers {
    /// Of the update with this index, kept at `path`, if anywhere. What another update has left says nothing.
    pub(super) fn load(path: Option<&Path>, index: [u8; HASH]) -> Self {
        let claimed = path.and_then(|path| read_limited(path, BYTES).ok());
        let claimed = claimed.and_then(|bytes| parse(&bytes, &index)).unwrap_or(0);
        Self { path: path.map(Path::to_owned), index, claimed, written: 0, broken: None, told: false }
    }

    /// Whether the next frame is said to be in the slot.
    pub(super) fn claims_next(&self) -> bool {
        self.written < self.claimed
    }

    /// Nothing that was said counts any more.
    pub(super) fn doubt(&mut self) {
        self.claimed = 0;
    }

    /// Starts over, without what was said.
    pub(super) fn forget(&mut self) {
        (self.claimed, self.written) = (0, 0);
    }

    /// The next frame is in the slot.
    pub(super) fn push(&mut self) {
        self.written = self.written.saturating_add(1);
    }

    /// Keeps what is written and synced. A failure is remembered and keeps nothing from going on.
    pub(super) fn store(&mut self) {
        let Some(path) = self.path.as_deref().filter(|_| self.broken.is_none() && !self.told) else {
            return;
        };
        let bytes = [&MAGIC[..], &self.index, &self.written.to_le_bytes()].concat();
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

fn parse(bytes: &[u8], index: &[u8; HASH]) -> Option<u32> {
    let rest = bytes.strip_prefix(MAGIC)?.strip_prefix(index)?;
    rest.try_into().ok().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stored_is_claimed_by_the_next_attempt_at_the_same_update_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("update/progress");
        let mut first = Leftovers::load(Some(&path), [1; 32]);
        assert!(!first.claims_next());
        first.push();
        first.push();
        first.store();
        let mut second = Leftovers::load(Some(&path), [1; 32]);
        for claimed in [true, true, false] {
            assert_eq!(second.claims_next(), claimed);
            second.push();
        }
        assert!(!Leftovers::load(Some(&path), [2; 32]).claims_next());
        second.remove();
        assert!(!Leftovers::load(Some(&path), [1; 32]).claims_next());
        assert!(second.take_broken().is_none());
    }

    #[test]
    fn a_file_of_another_length_claims_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("progress");
        for length in [39, 40, 43, 45, 4000] {
            let mut bytes = [&MAGIC[..], &[1; 32]].concat();
            bytes.resize(length, 1);
            replace_file(&path, &bytes, 0o600).unwrap();
            assert!(!Leftovers::load(Some(&path), [1; 32]).claims_next(), "{length}");
        }
    }

    #[test]
    fn a_full_state_is_said_and_stops_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::File::create(&file).unwrap();
        let mut leftovers = Leftovers::load(Some(&file.join("progress")), [1; 32]);
        leftovers.push();
        leftovers.store();
        assert_eq!(leftovers.take_broken().unwrap().action, "make the directory of");
        leftovers.store();
        assert!(leftovers.take_broken().is_none());
    }
}
