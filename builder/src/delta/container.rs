//! The file: header, metadata, index, table, streams. See `docs/formats/delta.md`.

use super::{operation::Made, release::Release};
use crate::{
    error::{Doing as _, Error, Kind, Result},
    files,
};
use coracle_format::{
    bundle::{FRAME_BYTES_MAX, INDEX_BYTES_MAX, Index, METADATA_BYTES_MAX},
    delta::{
        HEADER_BYTES, Header, NotADelta, Operation, Pieces, TABLE_BYTES_MAX, TABLE_STORED_BYTES_MAX, Table,
    },
};
use sha2::{Digest as _, Sha256};
use std::{
    fs::File,
    io::{self, BufReader, Read, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

/// Compression level of the table.
const LEVEL: i32 = 19;

/// A delta that has been made and not written yet.
#[derive(Debug)]
pub(super) struct Delta<'a> {
    header: Header,
    new: &'a Release,
    table: Vec<u8>,
    streams: Vec<&'a [u8]>,
}

impl<'a> Delta<'a> {
    /// From these operations, which make every frame in order.
    pub(super) fn of(base: [u8; 32], new: &'a Release, made: &'a [Made]) -> Result<Self> {
        let large =
            |why| Error::new(Kind::TooLarge, "the difference cannot be described by a delta").because(why);
        let operations = made.iter().map(|made| made.operation.clone()).collect();
        let plain = Table::new(operations, &new.index).map_err(large)?.encode();
        let table = zstd::bulk::compress(&plain, LEVEL).map_err(|source| {
            Error::new(Kind::Internal, "cannot compress the table of a delta").because(source)
        })?;
        let streams: Vec<&[u8]> = made.iter().map(|made| made.stream.as_slice()).collect();
        let sum = streams.iter().map(|stream| u64::try_from(stream.len()).unwrap_or(u64::MAX)).sum();
        let pieces = Pieces { metadata: &new.metadata, index: &new.index_bytes, table: &table };
        let header = (plain.len() <= TABLE_BYTES_MAX).then(|| Header::of(base, &pieces, sum)).flatten();
        let header = header.ok_or_else(|| large(NotADelta::Limit))?;
        Ok(Self { header, new, table, streams })
    }

    /// Its bytes in all.
    pub(super) fn bytes(&self) -> u64 {
        self.header.total()
    }

    /// Bytes of metadata, index and table.
    pub(super) fn overhead(&self) -> u64 {
        self.header.streams_offset()
    }

    /// Writes it to a file, which appears whole or not at all. Gives its digest.
    pub(super) fn write(&self, path: &Path) -> Result<[u8; 32]> {
        let mut file = files::beside(path)?;
        let mut digest = Sha256::new();
        let header = self.header.encode();
        let begin = [&header[..], &self.new.metadata, &self.new.index_bytes, &self.table];
        for piece in begin.into_iter().chain(self.streams.iter().copied()) {
            digest.update(piece);
            file.write_all(piece).doing("write", path)?;
        }
        Opened::open(file.path())?;
        files::commit(file, path)?;
        Ok(digest.finalize().into())
    }
}

/// A delta that has been read; nothing vouches for it.
#[derive(Debug)]
pub(crate) struct Opened {
    /// How long everything is, and what it starts from.
    pub(crate) header: Header,
    /// Who vouches for the index.
    pub(crate) metadata: Vec<u8>,
    /// The index as it is stored.
    pub(crate) index_bytes: Vec<u8>,
    /// What the release that it leads to is made of.
    pub(crate) index: Index,
    /// What makes it.
    pub(crate) table: Table,
    file: File,
    path: PathBuf,
}

impl Opened {
    /// Reads everything before the streams of a file, which must be exactly as long as it says.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let bad = |why: NotADelta| not_a_delta(path, why);
        let file = File::open(path).doing("open", path)?;
        let bytes = file.metadata().doing("inspect", path)?.len();
        let mut reader = BufReader::new(&file);
        let mut head = [0; HEADER_BYTES];
        fill(&mut reader, &mut head, path)?;
        let header = Header::parse(&head).map_err(bad)?;
        if bytes != header.total() {
            return Err(bad(NotADelta::Length));
        }
        let metadata = take(&mut reader, (header.metadata, METADATA_BYTES_MAX), path)?;
        header.check_metadata(&metadata).map_err(bad)?;
        let index_bytes = take(&mut reader, (header.index, INDEX_BYTES_MAX), path)?;
        let index = Index::parse(&index_bytes).map_err(|why| not_a_delta(path, why))?;
        let table = take(&mut reader, (header.table, TABLE_STORED_BYTES_MAX), path)?;
        header.check_table(&table).map_err(bad)?;
        let table = zstd::bulk::decompress(&table, TABLE_BYTES_MAX).map_err(|why| not_a_delta(path, why))?;
        let table = Table::parse(&table, &index).map_err(bad)?;
        if table.streams() != header.streams {
            return Err(bad(NotADelta::Length));
        }
        drop(reader);
        Ok(Self { header, metadata, index_bytes, index, table, file, path: path.to_owned() })
    }

    /// What an operation carries, which begins there among the streams.
    pub(crate) fn stream(&self, (at, operation): (u64, &Operation)) -> Result<Vec<u8>> {
        // Of frames the index has bounded it, of files the table.
        let frames = u64::from(operation.frames).saturating_mul(u64::from(FRAME_BYTES_MAX));
        let length = operation.stream.min(frames.max(coracle_format::delta::STREAM_BYTES_MAX.into()));
        let mut out = vec![0; usize::try_from(length).unwrap_or(0)];
        let offset = self.header.streams_offset().saturating_add(at);
        self.file.read_exact_at(&mut out, offset).doing("read", &self.path)?;
        Ok(out)
    }
}

/// An error for bytes that are no delta.
fn not_a_delta(path: &Path, why: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(Kind::Hostile, format!("cannot read {} as a delta", path.display())).because(why)
}

fn take(reader: &mut impl Read, (bytes, limit): (u32, usize), path: &Path) -> Result<Vec<u8>> {
    let length = usize::try_from(bytes).ok().filter(|length| *length <= limit);
    let mut out = vec![0; length.ok_or_else(|| not_a_delta(path, NotADelta::Limit))?];
    fill(reader, &mut out, path)?;
    Ok(out)
}

fn fill(reader: &mut impl Read, out: &mut [u8], path: &Path) -> Result<()> {
    reader.read_exact(out).map_err(|source| {
        if source.kind() == io::ErrorKind::UnexpectedEof {
            return not_a_delta(path, NotADelta::Length);
        }
        Error::new(Kind::Io, format!("cannot read {}", path.display())).because(source)
    })
}
