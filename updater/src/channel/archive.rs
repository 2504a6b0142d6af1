//! A repository that somebody brings: an archive on a partition of a stick, or in a file.
//!
//! It is a cpio archive ("newc", `docs/formats/channel.md`) read in place: no file system is mounted, nothing is
//! unpacked. Its names are only compared with those that the client asks for.

use crate::error::{Error, Kind, Result};
use crate::source::{FileSource, Length, Source, SourceError};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// Files in an archive at most.
pub const ENTRIES_MAX: usize = 4096;
/// Bytes of a name at most, its end included.
const NAME_BYTES_MAX: u64 = 512;
const HEADER_BYTES: usize = 110;
const MAGIC: &[u8] = b"070701";
const TRAILER: &[u8] = b"TRAILER!!!";

/// Why bytes are not such an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnArchive {
    /// A header is not one.
    #[error("no header of a file at byte {0}")]
    Header(u64),
    /// A name is too long or empty.
    #[error("a name that is empty or too long at byte {0}")]
    Name(u64),
    /// More files than allowed.
    #[error("more than {ENTRIES_MAX} files")]
    TooMany,
}

/// A file in the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: Vec<u8>,
    /// Where its contents begin.
    pub offset: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// An archive: what is in it and where.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    start: u64,
    file: File,
    entries: Vec<Entry>,
}

impl Archive {
    /// The archive that begins at byte `start` of a file or block device.
    pub fn open(path: &Path, start: u64) -> Result<Self> {
        let failed = |error: io::Error| {
            let kind = if error.kind() == io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Io };
            Error::new(kind, format!("cannot read {}", path.display())).because(error)
        };
        let file = File::open(path).map_err(failed)?;
        let read = |offset: u64, buffer: &mut [u8]| match start.checked_add(offset) {
            Some(at) => file.read_exact_at(buffer, at),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        };
        let entries = list(read).map_err(|error| {
            let hint = "it is no stick of a channel: write it with coracle publish --usb";
            match error.downcast::<NotAnArchive>() {
                Ok(why) => {
                    Error::new(Kind::Hostile, format!("cannot read the archive on {}", path.display()))
                        .because(why)
                        .hint(hint)
                }
                Err(error) => failed(error),
            }
        })?;
        Ok(Self { path: path.to_owned(), start, file, entries })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A document of at most `limit` bytes, if the archive has it.
    pub fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, SourceError> {
        let Some(entry) = self.find(path) else {
            return Ok(None);
        };
        let failed = |why: io::Error| {
            SourceError::new(Kind::Io, format!("cannot read {} on {}", path, self.path.display()))
                .because(why)
        };
        let bytes = usize::try_from(entry.bytes).ok().filter(|_| entry.bytes <= limit);
        let bytes =
            bytes.ok_or_else(|| failed(io::Error::other(format!("it has more than {limit} bytes"))))?;
        let mut out = vec![0; bytes];
        self.file.read_exact_at(&mut out, self.start.saturating_add(entry.offset)).map_err(failed)?;
        Ok(Some(out))
    }

    /// A file of the archive as a source.
    pub fn section(&self, path: &str) -> Result<Section, SourceError> {
        let found = self.find(path).ok_or_else(|| {
            let message = format!("cannot read {} on {}", path, self.path.display());
            SourceError::new(Kind::NotFound, message)
                .because(io::Error::other("it is not on the stick"))
                .hint("write the stick again: it must hold the release for this image and architecture")
        })?;
        Ok(Section {
            file: FileSource::new(&self.path),
            place: format!("{} on {}", path, self.path.display()),
            start: self.start.saturating_add(found.offset),
            bytes: found.bytes,
        })
    }

    fn find(&self, path: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == path.as_bytes())
    }
}

/// The files of an archive, in its order; `read` fills a buffer from an offset on. A name that comes again is ignored by
/// whoever looks for the first.
pub fn list(read: impl Fn(u64, &mut [u8]) -> io::Result<()>) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut at = 0_u64;
    loop {
        let mut header = [0; HEADER_BYTES];
        read(at, &mut header)?;
        let [bytes, name_bytes] = sizes(&header).ok_or_else(|| not(NotAnArchive::Header(at)))?;
        if !(2..=NAME_BYTES_MAX).contains(&name_bytes) {
            return Err(not(NotAnArchive::Name(at)));
        }
        // All of these are below 2^32, and `at` grows by as much as the disk has bytes.
        let name_at = at.saturating_add(110);
        let mut name = vec![0; usize::try_from(name_bytes).unwrap_or(0)];
        read(name_at, &mut name)?;
        // The name ends at its first NUL; what pads it follows.
        name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(0));
        if name.is_empty() {
            return Err(not(NotAnArchive::Name(at)));
        }
        if name == TRAILER {
            return Ok(entries);
        }
        if entries.len() == ENTRIES_MAX {
            return Err(not(NotAnArchive::TooMany));
        }
        let offset = aligned(name_at.saturating_add(name_bytes));
        entries.push(Entry { name, offset, bytes });
        at = aligned(offset.saturating_add(bytes));
    }
}

/// Bytes of the contents and of the name.
fn sizes(header: &[u8; HEADER_BYTES]) -> Option<[u64; 2]> {
    let fields = header.strip_prefix(MAGIC)?.as_chunks::<8>().0;
    let number = |field: usize| {
        fields.get(field)?.iter().try_fold(0_u64, |sum, byte| Some(sum << 4 | u64::from(digit(*byte)?)))
    };
    Some([number(6)?, number(11)?])
}

const fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

const fn aligned(at: u64) -> u64 {
    at.saturating_add(3) & !3
}

fn not(why: NotAnArchive) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// One file of an archive as a source.
#[derive(Debug)]
pub struct Section {
    file: FileSource,
    place: String,
    start: u64,
    bytes: u64,
}

impl Source for Section {
    fn describe(&self) -> String {
        self.place.clone()
    }

    fn length(&mut self) -> Result<Length, SourceError> {
        Ok(Length::Exactly(self.bytes))
    }

    fn open(&mut self, offset: u64) -> Result<Box<dyn Read + '_>, SourceError> {
        let left = self.bytes.saturating_sub(offset);
        Ok(Box::new(self.file.open(self.start.saturating_add(offset))?.take(left)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(name_bytes: usize, bytes: usize) -> Vec<u8> {
        let mut fields = [0; 13];
        (fields[6], fields[11]) = (bytes, name_bytes);
        fields
            .iter()
            .fold(MAGIC.to_vec(), |out, field| [&out[..], format!("{field:08x}").as_bytes()].concat())
    }

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, bytes) in files.iter().chain(&[("TRAILER!!!", &b""[..])]) {
            out.extend(header(name.len() + 1, bytes.len()));
            out.extend_from_slice(name.as_bytes());
            out.push(0);
            out.resize(out.len().next_multiple_of(4), 0);
            out.extend_from_slice(bytes);
            out.resize(out.len().next_multiple_of(4), 0);
        }
        out
    }

    fn listed(bytes: &[u8]) -> io::Result<Vec<Entry>> {
        list(|offset, buffer| {
            let from =
                usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default();
            let from = from.get(..buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            buffer.copy_from_slice(from);
            Ok(())
        })
    }

    #[test]
    fn files_are_found_by_name_and_read_in_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("stick");
        let before = [7; 512];
        let bytes = archive(&[("metadata/timestamp.json", b"{}"), ("targets/b", b"0123456789")]);
        coracle_block::replace_file(&path, &[&before[..], &bytes].concat(), 0o600).unwrap();
        let archive = Archive::open(&path, 512).unwrap();
        assert_eq!(archive.read("metadata/timestamp.json", 2).unwrap().unwrap(), b"{}");
        archive.read("metadata/timestamp.json", 1).unwrap_err();
        assert_eq!(archive.read("metadata/1.root.json", 9).unwrap(), None);
        let mut source = archive.section("targets/b").unwrap();
        assert_eq!(source.length().unwrap(), Length::Exactly(10));
        let mut text = String::new();
        source.open(4).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "456789");
        assert_eq!(archive.section("targets/c").unwrap_err().kind, Kind::NotFound);
    }

    #[test]
    fn what_is_no_archive_is_told_apart_from_a_device_that_fails() {
        let why = |bytes: &[u8]| listed(bytes).unwrap_err().downcast::<NotAnArchive>().ok();
        assert_eq!(why(&[0; 200]), Some(NotAnArchive::Header(0)));
        assert_eq!(why(&[header(0, 0), vec![0; 9]].concat()), Some(NotAnArchive::Name(0)));
        assert_eq!(why(&[header(4, 0), vec![0; 9]].concat()), Some(NotAnArchive::Name(0)));
        assert_eq!(why(&[header(513, 0), vec![b'x'; 600]].concat()), Some(NotAnArchive::Name(0)));
        let whole = archive(&[("a", b"b")]);
        for length in 0..whole.len() - 13 {
            assert_eq!(why(&whole[..length]), None, "cut at {length}");
        }
        let many: Vec<(&str, &[u8])> = vec![("a", b""); ENTRIES_MAX + 1];
        assert_eq!(why(&archive(&many)), Some(NotAnArchive::TooMany));
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_archive_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let with_magic = [MAGIC, &bytes].concat();
            let _is_either = (listed(&bytes).is_ok(), listed(&with_magic).is_ok());
        }

        #[test]
        fn sizes_of_any_kind_do_not_overflow(field in any::<u32>(), rest in proptest::collection::vec(any::<u8>(), 0..200)) {
            let bytes = [header(3, usize::try_from(field).unwrap()), b"x\0\0".to_vec(), rest].concat();
            let _is_either = listed(&bytes).is_ok();
        }
    }
}
