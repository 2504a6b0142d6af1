//! An update in a file, or raw on a block device such as a USB stick.

use super::{Length, Source, SourceError};
use crate::error::Kind;
use std::fs::{File, FileType};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// A file or a block device.
#[derive(Debug)]
pub struct FileSource {
    path: PathBuf,
}

impl FileSource {
    /// The file or block device at `path`; it is opened when it is read.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    fn open_file(&self) -> Result<(File, FileType), SourceError> {
        let kind = std::fs::metadata(&self.path).map_err(|error| self.failed("open", error))?.file_type();
        // A pipe would block and cannot be read again, a directory cannot be read at all.
        if !kind.is_file() && !kind.is_block_device() {
            let message =
                format!("cannot read {}: it is neither a file nor a block device", self.path.display());
            return Err(SourceError::new(Kind::Usage, message));
        }
        let file = File::open(&self.path).map_err(|error| self.failed("open", error))?;
        Ok((file, kind))
    }

    fn failed(&self, action: &str, error: io::Error) -> SourceError {
        let kind = if error.kind() == io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Io };
        SourceError::new(kind, format!("cannot {action} {}", self.path.display())).because(error)
    }
}

impl Source for FileSource {
    fn describe(&self) -> String {
        self.path.display().to_string()
    }

    fn length(&mut self) -> Result<Length, SourceError> {
        let (mut file, kind) = self.open_file()?;
        let bytes = file.seek(SeekFrom::End(0)).map_err(|error| self.failed("measure", error))?;
        Ok(if kind.is_file() { Length::Exactly(bytes) } else { Length::AtMost(bytes) })
    }

    fn open(&mut self, offset: u64) -> Result<Box<dyn Read + '_>, SourceError> {
        let (mut file, _) = self.open_file()?;
        file.seek(SeekFrom::Start(offset)).map_err(|error| self.failed("read", error))?;
        Ok(Box::new(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_from_the_offset_on_and_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("update.bundle");
        coracle_block::replace_file(&path, b"0123456789", 0o600).unwrap();
        let mut source = FileSource::new(&path);
        assert_eq!(source.length().unwrap(), Length::Exactly(10));
        for (offset, expected) in [(0, "0123456789"), (7, "789"), (10, ""), (99, "")] {
            let mut text = String::new();
            source.open(offset).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, expected, "from {offset}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_said_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        let error = FileSource::new(&missing).open(0).err().unwrap();
        assert_eq!(
            (error.kind, error.to_string()),
            (Kind::NotFound, format!("cannot open {}", missing.display()))
        );
        let error = FileSource::new(directory.path()).open(0).err().unwrap();
        assert_eq!(error.kind, Kind::Usage);
        assert!(error.to_string().ends_with("it is neither a file nor a block device"));
    }
}
