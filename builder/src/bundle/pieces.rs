//! A bundle or a delta read from its beginning, piece by piece.

use crate::error::{Doing as _, Error, Kind, Result};
use std::{
    error::Error as StdError,
    fs::File,
    io::{self, BufReader, Read as _},
    path::{Path, PathBuf},
};

/// Bytes that are read ahead.
const BUFFER_BYTES: usize = 1 << 20;

/// What a file should be, and what is said if it is not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form<W> {
    /// `an update bundle`.
    pub(crate) name: &'static str,
    /// It ends too early.
    pub(crate) length: W,
    /// A piece is over its limit.
    pub(crate) limit: W,
}

impl<W: StdError + Copy + Send + Sync + 'static> Form<W> {
    /// An error for bytes that are something else.
    pub(crate) fn is_not(&self, path: &Path, why: impl StdError + Send + Sync + 'static) -> Error {
        Error::new(Kind::Hostile, format!("cannot read {} as {}", path.display(), self.name)).because(why)
    }
}

/// A file and how far it has been read.
#[derive(Debug)]
pub(crate) struct Pieces<W> {
    form: Form<W>,
    file: BufReader<File>,
    path: PathBuf,
}

impl<W: StdError + Copy + Send + Sync + 'static> Pieces<W> {
    /// At its beginning.
    pub(crate) fn open(form: Form<W>, path: &Path) -> Result<Self> {
        let file = BufReader::with_capacity(BUFFER_BYTES, File::open(path).doing("open", path)?);
        Ok(Self { form, file, path: path.to_owned() })
    }

    /// Bytes of the whole file.
    pub(crate) fn bytes(&self) -> Result<u64> {
        Ok(self.file.get_ref().metadata().doing("inspect", &self.path)?.len())
    }

    /// The next bytes, as many as there are in the array.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        self.fill(&mut out)?;
        Ok(out)
    }

    /// So many next bytes, if that is within the limit.
    pub(crate) fn take(&mut self, bytes: u32, limit: usize) -> Result<Vec<u8>> {
        let length = usize::try_from(bytes).ok().filter(|length| *length <= limit);
        let mut out = vec![0; length.ok_or_else(|| self.form.is_not(&self.path, self.form.limit))?];
        self.fill(&mut out)?;
        Ok(out)
    }

    fn fill(&mut self, out: &mut [u8]) -> Result<()> {
        self.file.read_exact(out).map_err(|source| {
            if source.kind() == io::ErrorKind::UnexpectedEof {
                return self.form.is_not(&self.path, self.form.length);
            }
            Error::new(Kind::Io, format!("cannot read {}", self.path.display())).because(source)
        })
    }

    /// The file, read from anywhere.
    pub(crate) fn into_file(self) -> File {
        self.file.into_inner()
    }
}
