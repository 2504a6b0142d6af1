//! What was verified before, kept on `state` in two copies.
//!
//! It saves transfers and carries the client over a server that is away. It is never needed and never trusted: what is
//! read from it is verified as if it came from the network, and the floors that forbid going back are in the slot record.
//!
//! One copy: `CORASTOR`, number of the save u64, length u32, SHA-256 of number and contents, the contents. Little-endian.

use coracle_block::{Doing as _, PathError, read_limited, replace_file};
use coracle_trust::client::{self, StoreError};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where it is on a machine.
pub const PATH: &str = "/state/update/channel";
/// The largest document that is kept.
pub const DOCUMENT_BYTES_MAX: usize = 5 << 20;
/// The longest name that is used as it is.
const NAME_BYTES_MAX: usize = 64;
const MAGIC: &[u8; 8] = b"CORASTOR";
const HEAD: usize = 8 + 8 + 4 + 32;
const COPIES: [&str; 2] = ["0", "1"];

/// A directory with documents. What cannot be kept there is kept in memory: no update is lost for a full disk.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
    memory: BTreeMap<String, Option<Vec<u8>>>,
    broken: Option<String>,
}

/// A copy that is what was written.
struct Copy {
    number: u64,
    contents: Vec<u8>,
}

impl Store {
    /// In this directory, which is made when something is kept.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), memory: BTreeMap::new(), broken: None }
    }

    /// Why something could not be kept, the last time that happened.
    pub fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// What was kept last under a name; `None` if nothing was or both copies are spoilt.
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        let [first, second] = self.copies(name);
        let newest = match (first, second) {
            (Some(first), Some(second)) if second.number > first.number => Some(second),
            (Some(first), _) => Some(first),
            (None, second) => second,
        };
        newest.map(|copy| copy.contents)
    }

    /// Keeps a document: on the disk, in two copies, when this returns. What is kept already is not written again.
    pub fn write(&self, name: &str, contents: &[u8]) -> Result<(), PathError> {
        let copies = self.copies(name);
        if copies.iter().all(|copy| copy.as_ref().is_some_and(|copy| copy.contents == contents)) {
            return Ok(());
        }
        std::fs::create_dir_all(&self.directory).doing("make the directory", &self.directory)?;
        let numbers = copies.each_ref().map(|copy| copy.as_ref().map_or(0, |copy| copy.number));
        let number = numbers.into_iter().fold(0, u64::max).saturating_add(1);
        let bytes = encode(number, contents);
        // The older copy first: the newer one stays whole until there is a newer one still.
        let order = if numbers[0] <= numbers[1] { [0, 1] } else { [1, 0] };
        for copy in order {
            replace_file(&self.path(name, COPIES[copy]), &bytes, 0o600)?;
        }
        Ok(())
    }

    /// Forgets a document.
    pub fn forget(&self, name: &str) -> Result<(), PathError> {
        for copy in COPIES {
            let path = self.path(name, copy);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).doing("remove", &path);
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    fn copies(&self, name: &str) -> [Option<Copy>; 2] {
        COPIES.map(|copy| {
            parse(read_limited(&self.path(name, copy), HEAD.saturating_add(DOCUMENT_BYTES_MAX)).ok()?)
        })
    }

    /// A name is a plain word, or it is hashed: no name leaves the directory or meets another one.
    fn path(&self, name: &str, copy: &str) -> PathBuf {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
        let fits = (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.starts_with('.');
        let is_plain = fits && name.bytes().all(plain);
        let stem = if is_plain {
            name.to_owned()
        } else {
            format!("_{}", crate::report::hex(&Sha256::digest(name)))
        };
        self.directory.join(format!("{stem}.{copy}"))
    }
}

impl client::Store for Store {
    fn load(&mut self, file: &str) -> Option<Vec<u8>> {
        self.memory.get(file).cloned().unwrap_or_else(|| self.read(file))
    }

    fn save(&mut self, file: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.memory.remove(file);
        if let Err(error) = self.write(file, bytes) {
            self.broken = Some(format!("{error}: {}", error.source));
            self.memory.insert(file.to_owned(), Some(bytes.to_vec()));
        }
        Ok(())
    }

    fn remove(&mut self, file: &str) -> Result<(), StoreError> {
        self.memory.remove(file);
        if let Err(error) = self.forget(file) {
            self.broken = Some(format!("{error}: {}", error.source));
            self.memory.insert(file.to_owned(), None);
        }
        Ok(())
    }
}

fn encode(number: u64, contents: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD.saturating_add(contents.len()));
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&u32::try_from(contents.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&digest_of(number, contents));
    out.extend_from_slice(contents);
    out
}

fn digest_of(number: u64, contents: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(number.to_le_bytes()).chain_update(contents).finalize().into()
}

fn parse(mut bytes: Vec<u8>) -> Option<Copy> {
    let (number, rest) = bytes.strip_prefix(MAGIC)?.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (digest, contents) = rest.split_first_chunk::<32>()?;
    let whole = usize::try_from(u32::from_le_bytes(*length)) == Ok(contents.len());
    let number = u64::from_le_bytes(*number);
    if !whole || digest_of(number, contents) != *digest {
        return None;
    }
    Some(Copy { number, contents: bytes.split_off(HEAD) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(&directory.path().join("update/channel"));
        (directory, store)
    }

    #[test]
    fn what_is_kept_is_found_and_a_newer_one_takes_its_place() {
        let (_keep, store) = store();
        assert_eq!(store.read("timestamp"), None);
        for contents in [&b"one"[..], b"two", b""] {
            store.write("timestamp", contents).unwrap();
            assert_eq!(store.read("timestamp").as_deref(), Some(contents));
        }
        assert_eq!(store.read("snapshot"), None);
        store.forget("timestamp").unwrap();
        store.forget("timestamp").unwrap();
        assert_eq!(store.read("timestamp"), None);
    }

    #[test]
    fn any_byte_of_one_copy_may_spoil_and_the_next_save_mends_it() {
        let (_keep, store) = store();
        store.write("root", b"contents").unwrap();
        for copy in COPIES {
            let path = store.path("root", copy);
            let good = std::fs::read(&path).unwrap();
            for index in 0..good.len() {
                let mut spoilt = good.clone();
                spoilt[index] ^= 1;
                replace_file(&path, &spoilt, 0o600).unwrap();
                assert_eq!(store.read("root").as_deref(), Some(&b"contents"[..]), "{copy} {index}");
                assert!(parse(spoilt).is_none(), "{index}");
            }
            replace_file(&path, &good[1..], 0o600).unwrap();
            store.write("root", b"contents").unwrap();
        }
        let contents = store.copies("root").map(|copy| copy.unwrap().contents);
        assert_eq!(contents, [b"contents".to_vec(), b"contents".to_vec()]);
    }

    #[test]
    fn a_save_that_stops_between_the_copies_is_a_save() {
        let (_keep, store) = store();
        store.write("root", b"old").unwrap();
        let first = store.path("root", COPIES[0]);
        let before = std::fs::read(&first).unwrap();
        store.write("root", b"new").unwrap();
        replace_file(&first, &before, 0o600).unwrap();
        assert_eq!(store.read("root").as_deref(), Some(&b"new"[..]));
    }

    #[test]
    fn what_is_kept_already_is_not_written_again() {
        use std::os::unix::fs::MetadataExt as _;
        let (_keep, store) = store();
        store.write("root", b"same").unwrap();
        let inode = || COPIES.map(|copy| std::fs::metadata(store.path("root", copy)).unwrap().ino());
        let before = inode();
        store.write("root", b"same").unwrap();
        assert_eq!(inode(), before);
    }

    #[test]
    fn what_cannot_be_kept_on_the_disk_is_kept_in_memory_and_said() {
        use client::Store as _;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        replace_file(&file, b"no directory", 0o600).unwrap();
        let mut store = Store::new(&file);
        store.save("root.json", b"contents").unwrap();
        assert_eq!(store.load("root.json").as_deref(), Some(&b"contents"[..]));
        assert!(store.broken().unwrap().starts_with("cannot make the directory"), "{:?}", store.broken());
        store.remove("root.json").unwrap();
        assert_eq!(store.load("root.json"), None);
    }

    #[test]
    fn a_name_stays_in_its_directory() {
        let store = Store::new(Path::new("/s"));
        assert_eq!(store.path("3.root.json", "0"), Path::new("/s/3.root.json.0"));
        assert_eq!(store.path("stable", "0"), Path::new("/s/stable.0"));
        for name in ["../x", "", "a/b", "Stable", "..", ".0", "a%2fb"] {
            let path = store.path(name, "0");
            assert!(
                path.parent() == Some(Path::new("/s")) && path.to_string_lossy().starts_with("/s/_"),
                "{name}"
            );
        }
    }
}
