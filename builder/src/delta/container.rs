//! The file: header, metadata, index, table, streams. See `docs/formats/delta.md`.

use super::{operation::Made, release::Release};
use crate::{
    bundle::pieces::{Form, Pieces},
    error::{Doing as _, Error, Kind, Result},
    files,
};
use coracle_format::{
    bundle::{FRAME_BYTES_MAX, INDEX_BYTES_MAX, Index, METADATA_BYTES_MAX},
    delta::{
        self, HEADER_BYTES, Header, NotADelta, Operation, STREAM_BYTES_MAX, TABLE_BYTES_MAX,
        TABLE_STORED_BYTES_MAX, Table,
    },
};
use sha2::{Digest as _, Sha256};
use std::{
    fs::File,
    io::Write as _,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

/// Compression level of the table.
const LEVEL: i32 = 19;

/// What is read.
const FORM: Form<NotADelta> = Form { name: "a delta", length: NotADelta::Length, limit: NotADelta::Limit };

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
        let pieces = delta::Pieces { metadata: &new.metadata, index: &new.index_bytes, table: &table };
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
        let bad = |why: NotADelta| FORM.is_not(path, why);
        let mut file = Pieces::open(FORM, path)?;
        let header = Header::parse(&file.array::<HEADER_BYTES>()?).map_err(bad)?;
        if file.bytes()? != header.total() {
            return Err(bad(NotADelta::Length));
        }
        let metadata = file.take(header.metadata, METADATA_BYTES_MAX)?;
        header.check_metadata(&metadata).map_err(bad)?;
        let index_bytes = file.take(header.index, INDEX_BYTES_MAX)?;
        let index = Index::parse(&index_bytes).map_err(|why| FORM.is_not(path, why))?;
        let table = file.take(header.table, TABLE_STORED_BYTES_MAX)?;
        header.check_table(&table).map_err(bad)?;
        let table = zstd::bulk::decompress(&table, TABLE_BYTES_MAX).map_err(|why| FORM.is_not(path, why))?;
        let table = Table::parse(&table, &index).map_err(bad)?;
        if table.streams() != header.streams {
            return Err(bad(NotADelta::Length));
        }
        let file = file.into_file();
        Ok(Self { header, metadata, index_bytes, index, table, file, path: path.to_owned() })
    }

    /// What an operation carries, which begins there among the streams.
    pub(crate) fn stream(&self, (at, operation): (u64, &Operation)) -> Result<Vec<u8>> {
        // Of frames the index has bounded it, of files the table.
        let frames = u64::from(operation.frames).saturating_mul(u64::from(FRAME_BYTES_MAX));
        let length = operation.stream.min(frames.max(STREAM_BYTES_MAX.into()));
        let mut out = vec![0; usize::try_from(length).unwrap_or(0)];
        let offset = self.header.streams_offset().saturating_add(at);
        self.file.read_exact_at(&mut out, offset).doing("read", &self.path)?;
        Ok(out)
    }
}
