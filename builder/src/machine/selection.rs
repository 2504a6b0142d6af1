//! The host plays the boot selector for machines whose kernel QEMU loads itself: the selector's own code, over the file
//! that is the machine's disk.

use super::{
    spec::{Parts, Selection},
    write_log::WriteLog,
};
use crate::{
    error::{Doing as _, Error, Kind, Result},
    image::uki::Uki,
};
use coracle_format::gpt::Geometry;
use coracle_selector::{Disk, DiskError, Firmware, Start, select};
use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

/// Blocks of the disks of our machines.
const BLOCK_BYTES: u32 = 512;

/// What the selector has of its machine beside the disk.
pub(super) trait Surroundings {
    /// Shows a line on the console.
    fn say(&mut self, line: &str);
    /// Waits, unless the machine is to stop.
    fn pause(&mut self, duration: Duration);
    /// Whether the machine is to stop: nothing is started then.
    fn stopping(&self) -> bool;
}

/// What the selector has chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    /// What is started.
    pub(super) parts: Parts,
    /// Whether it finds the machine's watchdog running.
    pub(super) watched: bool,
}

/// Lets the selector choose, and takes the boot artefact that it starts apart. `None`: nothing could be started. What the
/// selector writes to the disk is added to the recording of its writes, if there is one.
pub(super) fn choose(
    selection: &Selection,
    (disk, write_log): (&Path, Option<&Path>),
    surroundings: &mut dyn Surroundings,
) -> Result<Option<Chosen>> {
    let disk = HostDisk::open(disk, write_log)?;
    let mut host = Host { disk, selection, surroundings, chosen: None, watched: false, fault: None };
    select(&mut host);
    match host.fault {
        Some(fault) => Err(fault),
        None => Ok(host.chosen.map(|parts| Chosen { parts, watched: host.watched })),
    }
}

/// Takes a boot artefact apart.
pub(crate) fn take_apart(image: &[u8], selection: &Selection) -> Result<Parts> {
    let uki = Uki::parse(image)?;
    let put = |name: &str, bytes: &[u8]| -> Result<PathBuf> {
        let path = selection.dir.join(name);
        crate::files::replace(&path, bytes)?;
        Ok(path)
    };
    let mut cmdline = uki.command_line()?.to_owned();
    if !selection.more.is_empty() {
        cmdline = format!("{cmdline} {}", selection.more);
    }
    Ok(Parts { kernel: put("kernel", uki.linux()?)?, initrd: put("initrd", uki.initrd()?)?, cmdline })
}

/// The host as firmware.
struct Host<'a> {
    disk: HostDisk,
    selection: &'a Selection,
    surroundings: &'a mut dyn Surroundings,
    chosen: Option<Parts>,
    watched: bool,
    fault: Option<Error>,
}

impl Firmware for Host<'_> {
    fn disk(&mut self) -> &mut dyn Disk {
        &mut self.disk
    }

    fn start(&mut self, image: &[u8]) -> Start {
        if self.surroundings.stopping() {
            return Start::Started;
        }
        match take_apart(image, self.selection) {
            Ok(parts) => self.chosen = Some(parts),
            // What is wrong with the image is the image's fault; that it cannot be written down is this computer's.
            Err(error) if error.kind() == Kind::Hostile => return Start::Refused(error.to_string()),
            Err(error) => self.fault = Some(error),
        }
        Start::Started
    }

    /// The machine's own watchdog has not started yet, and this program does not hang.
    fn arm_watchdog(&mut self, _: Duration) {}

    fn arm_kernel_watchdog(&mut self) {
        self.watched = true;
    }

    fn disarm_kernel_watchdog(&mut self) {
        self.watched = false;
    }

    fn say(&mut self, line: &str) {
        self.surroundings.say(line);
    }

    fn pause(&mut self, duration: Duration) {
        self.surroundings.pause(duration);
    }
}

/// A disk that is a file.
struct HostDisk {
    file: File,
    geometry: Geometry,
    log: Option<WriteLog>,
}

impl HostDisk {
    fn open(path: &Path, write_log: Option<&Path>) -> Result<Self> {
        let log = write_log.map(WriteLog::open).transpose()?;
        let file = OpenOptions::new().read(true).write(true).open(path).doing("open disk", path)?;
        let bytes = file.metadata().doing("inspect", path)?.len();
        Ok(Self { file, geometry: Geometry::of_bytes(BLOCK_BYTES, bytes), log })
    }
}

impl Disk for HostDisk {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> std::result::Result<(), DiskError> {
        self.file.read_exact_at(buffer, offset).ok().ok_or(DiskError("the disk's file cannot be read there"))
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> std::result::Result<(), DiskError> {
        let log = self.log.as_mut().map_or(Ok(()), |log| log.write(offset, bytes));
        log.ok().ok_or(DiskError("the disk's write log cannot be written"))?;
        self.file.write_all_at(bytes, offset).ok().ok_or(DiskError("the disk's file cannot be written"))
    }

    fn flush(&mut self) -> std::result::Result<(), DiskError> {
        let log = self.log.as_mut().map_or(Ok(()), WriteLog::flush);
        log.ok().ok_or(DiskError("the disk's write log cannot be written"))?;
        self.file.sync_data().ok().ok_or(DiskError("the disk's file cannot be synced"))
    }
}

#[cfg(test)]
mod tests;
