//! Tar archives from outside: package contents, image layers, root file systems.
//!
//! A [`Reader`] lists an uncompressed archive without copying: every regular file is a range of the archive, so an
//! archive kept as a cache object serves its files as [`crate::tree::Content::of_object`] slices. Compressed archives are unpacked into the
//! cache first ([`unpack`]). Nothing here decides what a path means: it is text until a [`crate::tree::TreePath`].

mod compression;
mod header;

pub use compression::{Compression, decoder, unpack, unpacked_limit};

use crate::{
    error::{Doing, Error, Kind, Result},
    tree::Meta,
};
use header::{BLOCK, Extended, Header};
use std::{
    fs::File,
    io::{BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

/// Most entries of one archive.
pub const ENTRIES_MAX: u64 = 1_000_000;
/// Most headers of one archive: a member may have a long name, a long target and an extended header before it.
pub const HEADERS_MAX: u64 = 4 * ENTRIES_MAX;
/// Longest name or link target.
pub const NAME_BYTES_MAX: usize = 4096;
/// Most bytes of one long name or extended header: paths end at 4 KiB, and an attribute at 64 KiB.
pub const EXTENSION_BYTES_MAX: u64 = 1 << 20;

/// One archive member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its path as written: not yet checked.
    pub path: String,
    /// Permissions, owner, extended attributes.
    pub meta: Meta,
    /// What it is.
    pub kind: EntryKind,
}

/// What a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file: a range of the archive that lies inside it.
    File {
        /// First byte.
        offset: u64,
        /// Length.
        bytes: u64,
    },
    /// A directory.
    Dir,
    /// A symbolic link with its target.
    Symlink(String),
    /// Another name of the member with this path, as written.
    HardLink(String),
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
}

/// What pax records for all members that follow are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Globals {
    /// Nothing: in image layers they are comments, and none may name or own a single member.
    Ignored,
    /// What the same records before each of those members would be.
    Honoured,
}

/// Lists the members of an uncompressed tar archive (ustar, GNU and pax).
#[derive(Debug)]
pub struct Reader<R> {
    source: BufReader<R>,
    name: PathBuf,
    at: u64,
    bytes: u64,
    left: u64,
    headers_left: u64,
    globals: Globals,
    global: Extended,
    ended: bool,
}

impl Reader<File> {
    /// The archive at `path`.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).doing("open archive", path)?;
        Self::new(file, path)
    }
}

impl<R: Read + Seek> Reader<R> {
    /// The archive that `source` is from its first byte to its last; `name` is for messages.
    pub fn new(mut source: R, name: &Path) -> Result<Self> {
        let bytes = source.seek(SeekFrom::End(0)).doing("measure archive", name)?;
        source.rewind().doing("read archive", name)?;
        Ok(Self {
            source: BufReader::with_capacity(1 << 16, source),
            name: name.to_owned(),
            at: 0,
            bytes,
            left: ENTRIES_MAX,
            headers_left: HEADERS_MAX,
            globals: Globals::Ignored,
            global: Extended::default(),
            ended: false,
        })
    }

    /// At most `entries` members: more are an error.
    pub fn at_most(mut self, entries: u64) -> Self {
        self.left = entries.min(ENTRIES_MAX);
        self
    }

    /// At most `headers` headers, those of extensions and the mark at the end among them: more are an error.
    pub fn at_most_headers(mut self, headers: u64) -> Self {
        self.headers_left = headers.min(HEADERS_MAX);
        self
    }

    /// What to make of global records; they are ignored unless this says otherwise.
    pub fn globals(mut self, globals: Globals) -> Self {
        self.globals = globals;
        self
    }

    fn bad(&self, why: impl std::fmt::Display) -> Error {
        Error::new(Kind::Hostile, format!("archive {} at byte {}: {why}", self.name.display(), self.at))
    }

    fn read_next(&mut self) -> Result<Option<Entry>> {
        let mut extended = self.global.clone();
        loop {
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            match header.kind {
                b'x' => {
                    let body = self.extension(header.size)?;
                    extended.pax(&body).map_err(|why| self.bad(why))?;
                }
                b'L' => extended.long_path = Some(self.long_name(header.size)?),
                b'K' => extended.long_link = Some(self.long_name(header.size)?),
                b'g' => {
                    let body = self.extension(header.size)?;
                    if self.globals == Globals::Honoured {
                        self.global.pax(&body).map_err(|why| self.bad(why))?;
                        extended.pax(&body).map_err(|why| self.bad(why))?;
                    }
                }
                _ => return self.entry(header, extended).map(Some),
            }
        }
    }

    /// The next header block, `None` at the end-of-archive mark.
    fn header(&mut self) -> Result<Option<Header>> {
        if self.headers_left == 0 {
            return Err(self.bad("has more headers than its limit allows"));
        }
        self.headers_left -= 1;
        if self.at >= self.bytes {
            // Real archives exist that lack the two closing blocks of zeros; none that end inside a block.
            return if self.at == self.bytes {
                Ok(None)
            } else {
                Err(self.bad("ends in the middle of a member"))
            };
        }
        let mut block = [0; BLOCK];
        self.read_exact(&mut block)?;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        Header::parse(&block).map(Some).map_err(|why| self.bad(why))
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> Result<()> {
        let bytes = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
        if self.at.checked_add(bytes).is_none_or(|end| end > self.bytes) {
            return Err(self.bad("is truncated"));
        }
        self.source.read_exact(buffer).doing("read archive", &self.name)?;
        self.at += bytes;
        Ok(())
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>> {
        let length = usize::try_from(size).unwrap_or(usize::MAX);
        if size > EXTENSION_BYTES_MAX {
            return Err(
                self.bad(format!("extended header is larger than its limit of {EXTENSION_BYTES_MAX} bytes"))
            );
        }
        let mut body = vec![0; length];
        self.read_exact(&mut body)?;
        self.skip(padding(size))?;
        Ok(body)
    }

    /// A GNU long name.
    fn long_name(&mut self, size: u64) -> Result<String> {
        let body = self.extension(size)?;
        self.name(text(body))
    }

    /// Moves on. Past the end is found out by the next header.
    fn skip(&mut self, bytes: u64) -> Result<()> {
        let (Ok(step), Some(end)) = (i64::try_from(bytes), self.at.checked_add(bytes)) else {
            return Err(self.bad("has a member of impossible size"));
        };
        self.source.seek_relative(step).doing("read archive", &self.name)?;
        self.at = end;
        Ok(())
    }

    fn entry(&mut self, header: Header, extended: Extended) -> Result<Entry> {
        if self.left == 0 {
            return Err(self.bad("has more members than its limit allows"));
        }
        self.left -= 1;
        let path = self.named(extended.path, extended.long_path, header.path)?;
        let link = self.named(extended.link, extended.long_link, header.link)?;
        let kind = match header.kind {
            b'0' | b'\0' | b'7' if path.ends_with('/') => EntryKind::Dir,
            b'0' | b'\0' | b'7' => self.file(extended.size.unwrap_or(header.size))?,
            b'1' => EntryKind::HardLink(link),
            b'2' => EntryKind::Symlink(link),
            b'3' => EntryKind::CharDevice { major: header.major, minor: header.minor },
            b'4' => EntryKind::BlockDevice,
            b'5' => EntryKind::Dir,
            b'6' => EntryKind::Fifo,
            other => {
                let other = char::from(other).escape_default();
                return Err(self.bad(format!("member {path:?} is of unknown type '{other}'")));
            }
        };
        let meta = Meta {
            mode: header.mode,
            uid: extended.uid.unwrap_or(header.uid),
            gid: extended.gid.unwrap_or(header.gid),
            xattrs: extended.xattrs,
        };
        Ok(Entry { path, meta, kind })
    }

    fn file(&mut self, bytes: u64) -> Result<EntryKind> {
        let offset = self.at;
        if offset.checked_add(bytes).is_none_or(|end| end > self.bytes) {
            return Err(self.bad("is truncated"));
        }
        // The last member's padding may be missing: the next header would start past the end.
        self.skip((bytes + padding(bytes)).min(self.bytes - offset))?;
        Ok(EntryKind::File { offset, bytes })
    }

    /// The name that counts of those in a pax record, a GNU long name and the header.
    fn named(&self, pax: Option<Vec<u8>>, long: Option<String>, short: Vec<u8>) -> Result<String> {
        match (pax, long) {
            (Some(name), _) => self.name(name),
            (None, Some(name)) => Ok(name),
            (None, None) => self.name(short),
        }
    }

    fn name(&self, bytes: Vec<u8>) -> Result<String> {
        if bytes.len() > NAME_BYTES_MAX {
            return Err(self.bad(format!("has a name longer than {NAME_BYTES_MAX} bytes")));
        }
        if bytes.contains(&0) {
            return Err(self.bad("has a name with a NUL byte"));
        }
        String::from_utf8(bytes).map_err(|error| {
            let name = String::from_utf8_lossy(error.as_bytes()).into_owned();
            self.bad(format!("name {name:?} is not UTF-8"))
        })
    }
}

impl<R: Read + Seek> Iterator for Reader<R> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.read_next().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

/// Bytes up to the next block.
fn padding(bytes: u64) -> u64 {
    bytes.wrapping_neg() % 512
}

/// A GNU long name ends at its first NUL.
fn text(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    bytes
}

#[cfg(test)]
mod tests;
