//! The state partition of a machine that is off, looked at from outside.

use crate::{context, packages::filesystem_tools};
use anyhow::{Context as _, Result};
use coracle::{image::inspect::Disk, tool::Tool};
use coracle_format::layout::Role;
use std::{fs::OpenOptions, os::unix::fs::FileExt as _, path::Path};

/// What is kept at the end of a disk: the backup of its partition table.
const TAIL_BYTES: usize = 1 << 20;

/// The disk of a machine that is off.
#[derive(Debug)]
pub struct StateDisk<'a> {
    path: &'a Path,
    /// Where the state partition begins.
    pub offset: u64,
    /// Bytes of the state partition.
    pub bytes: u64,
}

impl<'a> StateDisk<'a> {
    /// Finds the state partition of a disk that has been booted.
    pub fn open(path: &'a Path) -> Result<Self> {
        let disk = Disk::open(path)?;
        let range = disk.range(disk.table.find(Role::State).context("the disk has no state partition")?);
        Ok(Self { path, offset: range.offset, bytes: range.bytes })
    }

    /// The text of a file in it.
    pub fn read(&self, file: &str) -> Result<String> {
        let ctx = context()?;
        let tools = filesystem_tools(&ctx)?;
        let device = format!("{}?offset={}", self.path.display(), self.offset);
        let output = Tool::new(&tools, "debugfs").args(["-R", &format!("cat {file}"), &device]).run(&ctx)?;
        Ok(output.text())
    }

    /// The first bytes of the partition.
    pub fn head(&self, bytes: usize) -> Result<Vec<u8>> {
        let mut head = vec![0; bytes];
        OpenOptions::new().read(true).open(self.path)?.read_exact_at(&mut head, self.offset)?;
        Ok(head)
    }

    /// Writes zeros over bytes of the partition.
    pub fn wipe(&self, from: u64, bytes: usize) -> Result<()> {
        let file = OpenOptions::new().write(true).open(self.path)?;
        Ok(file.write_all_at(&vec![0; bytes], self.offset + from)?)
    }

    /// Makes the whole partition zero: another, blank disk behind the same partition table.
    pub fn wipe_all(&self) -> Result<()> {
        let file = OpenOptions::new().read(true).write(true).open(self.path)?;
        let length = file.metadata()?.len();
        let tail = length - u64::try_from(TAIL_BYTES)?;
        let mut backup = vec![0; TAIL_BYTES];
        file.read_exact_at(&mut backup, tail)?;
        // What was cut off and comes back reads as zeros.
        file.set_len(self.offset)?;
        file.set_len(length)?;
        Ok(file.write_all_at(&backup, tail)?)
    }
}
