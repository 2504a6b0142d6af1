//! A built release taken apart: its image as one file, and everything in it file by file.

use anyhow::{Context as _, Result, ensure};
use coracle::{
    archive,
    image::{
        inspect::{Disk, Slot},
        uki::Uki,
    },
    kernel::image::payload,
};
use coracle_format::layout::Role;
use cpio::newc;
use ext4_view::Ext4;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    ops::Range,
    path::Path,
};

/// Files by their paths. A path begins with the part it is in: `root`, `memory` (the initramfs) or `boot`.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// The most that anything compressed may unpack to.
const UNPACKED_BYTES_MAX: u64 = 512 << 20;
const FILE_KIND: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;

/// Writes the root file system and the boot artefact of the disk to `image`, one behind the other, and returns every
/// file of both.
pub(super) fn take_apart(disk: &Path, image: &Path) -> Result<Files> {
    let doing = || format!("cannot take {} apart", disk.display());
    let opened = Disk::open(disk)?;
    let slot = opened.slot(Role::SlotA)?.with_context(doing)?;
    let boot = slot.boot()?;
    copy_root(disk, &slot, image).with_context(doing)?;
    let mut files = Files::new();
    root(&Ext4::load(Box::new(fs::read(image)?))?, &mut files).with_context(doing)?;
    File::options().append(true).open(image)?.write_all(&boot)?;
    boot_files(&boot, &mut files).with_context(doing)?;
    Ok(files)
}

fn copy_root(disk: &Path, slot: &Slot<'_>, image: &Path) -> Result<()> {
    let range = slot.root();
    let mut from = File::open(disk)?;
    from.seek(SeekFrom::Start(range.offset))?;
    let copied = io::copy(&mut from.take(range.bytes), &mut File::create(image)?)?;
    ensure!(copied == range.bytes, "the root file system ends early");
    Ok(())
}

/// The regular files of a file system.
fn root(fs: &Ext4, files: &mut Files) -> Result<()> {
    let mut directories = vec![ext4_view::PathBuf::new("/")];
    while let Some(directory) = directories.pop() {
        for entry in fs.read_dir(&directory)? {
            let entry = entry?;
            if matches!(entry.file_name().as_ref(), b"." | b"..") {
                continue;
            }
            let path = entry.path();
            let kind = fs.symlink_metadata(&path)?.file_type();
            if kind.is_dir() {
                directories.push(path);
            } else if kind.is_regular_file() {
                files.insert(format!("root{}", path.display()), fs.read(&path)?);
            }
        }
    }
    Ok(())
}

/// The files of the initramfs, the kernel unpacked, what packs it, and what is around both.
fn boot_files(boot: &[u8], files: &mut Files) -> Result<()> {
    let uki = Uki::parse(boot)?;
    let (linux, initrd) = (uki.linux()?, uki.initrd()?);
    let initrd_range = uki.range(".initrd").context("there is no initramfs")?;
    files.insert("boot/rest".to_owned(), without(boot, &[uki.linux_range()?, initrd_range]));
    match payload(linux) {
        Some(range) => {
            let packed = linux.get(range.clone()).unwrap_or_default();
            files.insert("boot/vmlinux".to_owned(), unpack(packed).context("cannot unpack the kernel")?);
            files.insert("boot/kernel".to_owned(), without(linux, &[range]));
        }
        None => drop(files.insert("boot/kernel".to_owned(), linux.to_vec())),
    }
    memory(&unpack(initrd).context("cannot unpack the initramfs")?, files)
}

fn unpack(packed: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    archive::decoder(packed)?.take(UNPACKED_BYTES_MAX).read_to_end(&mut out)?;
    Ok(out)
}

/// `whole` without some ranges, which are in order or not.
fn without(whole: &[u8], ranges: &[Range<usize>]) -> Vec<u8> {
    let mut ranges = ranges.to_vec();
    ranges.sort_by_key(|range| range.start);
    let (mut out, mut at) = (Vec::new(), 0);
    for range in ranges {
        out.extend_from_slice(whole.get(at..range.start).unwrap_or_default());
        at = range.end;
    }
    out.extend_from_slice(whole.get(at..).unwrap_or_default());
    out
}

/// The regular files of archives one behind the other.
pub(super) fn memory(mut archives: &[u8], files: &mut Files) -> Result<()> {
    loop {
        let zeros = archives.iter().take_while(|byte| **byte == 0).count();
        archives = archives.get(zeros..).unwrap_or_default();
        if archives.is_empty() {
            return Ok(());
        }
        loop {
            let mut entry = newc::Reader::new(archives)?;
            let (name, mode) = (entry.entry().name().to_owned(), entry.entry().mode());
            let is_last = entry.entry().is_trailer();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            archives = entry.finish()?;
            if is_last {
                break;
            }
            if mode & FILE_KIND == REGULAR && !bytes.is_empty() {
                files.insert(format!("memory/{name}"), bytes);
            }
        }
    }
}
