//! A tar reader for archives that nobody vouches for: ustar, GNU long names, PAX. It yields positions, never bytes.

use crate::error::{Doing, Error, Kind, Result};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

/// Most entries of an archive.
pub const ENTRIES_MAX: usize = 500_000;
/// Longest name or link target.
pub const NAME_BYTES_MAX: usize = 4096;
/// Largest extended header.
const PAX_BYTES_MAX: u64 = 1 << 20;
const BLOCK: usize = 512;
const BLOCK_BYTES: u64 = 512;

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, as written.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
    /// The lower twelve bits of its mode.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Where its bytes begin in the archive.
    pub offset: u64,
    /// How many there are; 0 unless it is a regular file.
    pub bytes: u64,
    /// Extended attributes.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// What a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link to this text.
    Symlink(String),
    /// Another name of the member with this one.
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

/// Reads an uncompressed archive member by member.
#[derive(Debug)]
pub struct Reader {
    file: BufReader<File>,
    path: PathBuf,
    /// Where the next header is.
    at: u64,
    size: u64,
    count: usize,
    global: Records,
}

type Records = BTreeMap<String, Vec<u8>>;

/// What extension headers say about the member that follows.
#[derive(Default)]
struct Extension {
    records: Records,
    path: Option<String>,
    link: Option<String>,
}

fn bad(why: &str) -> Error {
    Error::new(Kind::Hostile, format!("a tar archive is refused: {why}"))
}

impl Reader {
    /// Begins with the first member of the archive at `path`.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).doing("open", path)?;
        let size = file.metadata().doing("inspect", path)?.len();
        Ok(Self {
            file: BufReader::new(file),
            path: path.to_owned(),
            at: 0,
            size,
            count: 0,
            global: Records::new(),
        })
    }

    /// The next member; `None` at the end.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        let mut extension = Extension { records: self.global.clone(), ..Extension::default() };
        loop {
            self.count += 1;
            if self.count > ENTRIES_MAX {
                return Err(bad(&format!("it has more than {ENTRIES_MAX} members")));
            }
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let size = header.number(124..136)?;
            match header.kind() {
                b'L' => extension.path = Some(text(&self.long(size)?)?),
                b'K' => extension.link = Some(text(&self.long(size)?)?),
                b'x' => extension.records.extend(parse_pax(&self.long(size)?)?),
                b'g' => {
                    let records = parse_pax(&self.long(size)?)?;
                    self.global.extend(records.clone());
                    extension.records.extend(records);
                }
                _ => return self.member(&header, extension).map(Some),
            }
        }
    }

    /// The next header; `None` at the end, which is a block of zeros or the end of the file.
    fn header(&mut self) -> Result<Option<Header>> {
        if self.at == self.size {
            return Ok(None);
        }
        let mut block = [0; BLOCK];
        self.read_exactly(&mut block)?;
        self.at += BLOCK_BYTES;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let header = Header(block);
        header.check()?;
        Ok(Some(header))
    }

    fn read_exactly(&mut self, out: &mut [u8]) -> Result<()> {
        match self.file.read_exact(out) {
            Err(source) if source.kind() == io::ErrorKind::UnexpectedEof => Err(bad("it is cut short")),
            outcome => outcome.doing("read", &self.path),
        }
    }

    /// The body of an extension header.
    fn long(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > PAX_BYTES_MAX {
            let text = format!("an extended header is larger than {PAX_BYTES_MAX} bytes");
            return Err(bad(&text));
        }
        let length = usize::try_from(size).map_err(|source| bad("a size").because(source))?;
        let begin = self.at;
        let end = self.body_end(begin, size)?;
        let mut body = vec![0; length];
        self.read_exactly(&mut body)?;
        self.skip_to(begin + size, end)?;
        Ok(body)
    }

    /// Where the header behind a body is; the body must be whole.
    fn body_end(&self, begin: u64, size: u64) -> Result<u64> {
        let end = begin.checked_add(size).filter(|end| *end <= self.size);
        let end = end.ok_or_else(|| bad("it is cut short"))?;
        // The padding of the last member may be missing.
        let padded = end.checked_next_multiple_of(BLOCK_BYTES);
        Ok(padded.unwrap_or(self.size).min(self.size))
    }

    fn skip_to(&mut self, from: u64, to: u64) -> Result<()> {
        let by = i64::try_from(to - from).map_err(|source| bad("a size").because(source))?;
        self.file.seek_relative(by).doing("seek in", &self.path)?;
        self.at = to;
        Ok(())
    }

    fn member(&mut self, header: &Header, extension: Extension) -> Result<Entry> {
        let Extension { records, path, link } = extension;
        if records.keys().any(|name| name.starts_with("GNU.sparse.")) {
            return Err(bad("sparse files are not supported"));
        }
        let record = |name: &str| records.get(name).map(|value| text(value)).transpose();
        let path = match record("path")?.or(path) {
            Some(path) => path,
            None => header.name()?,
        };
        let link = match record("linkpath")?.or(link) {
            Some(link) => link,
            None => text(&header.0[157..257])?,
        };
        let number = |name: &str, range| match record(name)? {
            Some(value) => {
                value.parse().map_err(|source| bad(&format!("{name} of {path:?}")).because(source))
            }
            None => header.number(range),
        };
        let (uid, gid) = (number("uid", 108..116)?, number("gid", 116..124)?);
        let size = number("size", 124..136)?;
        let kind = header.entry_kind(&path, link)?;
        let bytes = if kind == EntryKind::File { size } else { 0 };
        // Only regular files have a body, whatever the size field of a link says.
        let offset = self.at;
        let end = self.body_end(offset, bytes)?;
        self.skip_to(offset, end)?;
        let id = |value: u64| {
            u32::try_from(value).map_err(|source| bad(&format!("the owner of {path:?}")).because(source))
        };
        Ok(Entry {
            mode: u16::try_from(header.number(100..108)? & 0o7777).unwrap_or_default(),
            uid: id(uid)?,
            gid: id(gid)?,
            kind,
            offset,
            bytes,
            xattrs: xattrs(records),
            path,
        })
    }
}

fn xattrs(records: Records) -> BTreeMap<String, Vec<u8>> {
    let named = records.into_iter().filter_map(|(name, value)| {
        let name = name.strip_prefix("SCHILY.xattr.")?.to_owned();
        Some((name, value))
    });
    named.collect()
}

struct Header([u8; BLOCK]);

impl Header {
    fn check(&self) -> Result<()> {
        let sum: u64 = self
            .0
            .iter()
            .enumerate()
            .map(|(at, byte)| {
                // The sum is made as if its own field were blank.
                let blank = (148..156).contains(&at);
                u64::from(if blank { b' ' } else { *byte })
            })
            .sum();
        if self.number(148..156)? == sum { Ok(()) } else { Err(bad("a header's checksum is wrong")) }
    }

    fn kind(&self) -> u8 {
        self.0[156]
    }

    /// An octal number, or a binary one where the first bit is set.
    fn number(&self, range: std::ops::Range<usize>) -> Result<u64> {
        let field = &self.0[range];
        if field[0] & 0x80 != 0 {
            let (high, low) = field.split_at(field.len().saturating_sub(8));
            let fits = high.iter().skip(1).all(|byte| *byte == 0) && (high.is_empty() || high[0] == 0x80);
            let low = low.iter().enumerate().map(|(at, byte)| {
                // A field of eight bytes carries the mark in the number's own first byte.
                let marked = at == 0 && high.is_empty();
                u64::from(if marked { byte & 0x7f } else { *byte })
            });
            let value = low.fold(0_u64, |sum, byte| (sum << 8) | byte);
            return if fits { Ok(value) } else { Err(bad("a number is out of range")) };
        }
        let digits =
            field.split(|byte| matches!(byte, 0 | b' ')).find(|part| !part.is_empty()).unwrap_or_default();
        digits.iter().try_fold(0_u64, |sum, byte| match byte {
            b'0'..=b'7' => Ok((sum << 3) | u64::from(byte - b'0')),
            _ => Err(bad("a number is not octal")),
        })
    }

    fn name(&self) -> Result<String> {
        let name = text(&self.0[..100])?;
        let is_posix = &self.0[257..263] == b"ustar\0";
        let prefix = if is_posix { text(&self.0[345..500])? } else { String::new() };
        Ok(if prefix.is_empty() { name } else { format!("{prefix}/{name}") })
    }

    fn entry_kind(&self, path: &str, link: String) -> Result<EntryKind> {
        Ok(match self.kind() {
            // Before ustar, a directory was a file with a slash at the end of its name.
            0 | b'0' | b'7' if path.ends_with('/') => EntryKind::Dir,
            0 | b'0' | b'7' => EntryKind::File,
            b'1' => EntryKind::HardLink(link),
            b'2' => EntryKind::Symlink(link),
            b'3' => EntryKind::CharDevice { major: self.device(329..337)?, minor: self.device(337..345)? },
            b'4' => EntryKind::BlockDevice,
            b'5' => EntryKind::Dir,
            b'6' => EntryKind::Fifo,
            kind => {
                let kind = char::from(kind);
                return Err(bad(&format!("{path:?} is of unknown type {kind:?}")));
            }
        })
    }

    fn device(&self, range: std::ops::Range<usize>) -> Result<u32> {
        u32::try_from(self.number(range)?)
            .map_err(|source| bad("a device number is out of range").because(source))
    }
}

/// Text up to the first NUL.
fn text(field: &[u8]) -> Result<String> {
    let end = field.iter().position(|byte| *byte == 0);
    let field = &field[..end.unwrap_or(field.len())];
    if field.len() > NAME_BYTES_MAX {
        let text = format!("a name is longer than {NAME_BYTES_MAX} bytes");
        return Err(bad(&text));
    }
    match str::from_utf8(field) {
        Ok(text) => Ok(text.to_owned()),
        Err(source) => Err(bad("a name is not UTF-8").because(source)),
    }
}

/// Records `LENGTH NAME=VALUE\n`, where the length counts the whole record.
fn parse_pax(mut body: &[u8]) -> Result<Records> {
    let broken = || bad("an extended header is damaged");
    let mut records = Records::new();
    while body.iter().any(|byte| *byte != 0) {
        let space = body.iter().position(|byte| *byte == b' ');
        let (digits, _) = body.split_at(space.filter(|at| *at < 8).ok_or_else(broken)?);
        let length: usize = str::from_utf8(digits)
            .map_err(|source| broken().because(source))?
            .parse()
            .map_err(|source| broken().because(source))?;
        if length > body.len() || length < digits.len() + 2 {
            return Err(broken());
        }
        let (record, rest) = body.split_at(length);
        let record = record[digits.len() + 1..].strip_suffix(b"\n");
        let record = record.ok_or_else(broken)?;
        let equals = record.iter().position(|byte| *byte == b'=');
        let (name, value) = record.split_at(equals.ok_or_else(broken)?);
        let name = str::from_utf8(name).map_err(|source| broken().because(source))?;
        records.insert(name.to_owned(), value[1..].to_vec());
        body = rest;
    }
    Ok(records)
}
