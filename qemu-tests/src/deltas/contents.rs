//! A built release taken apart: its image as one file, and everything in it file by file.

use anyhow::{Context as _, Result, ensure};
use coracle::{
    archive,
    image::{
        inspect::{Disk, Slot},
        uki::Uki,
    },
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
/// Where a bzImage says how many sectors its setup has, and where behind them its payload is (x86 boot protocol).
const SETUP_SECTORS_AT: usize = 0x1f1;
const PAYLOAD_AT: usize = 0x248;
/// The length of the unpacked kernel stands behind the compressed one.
const LENGTH_BYTES: usize = 4;
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
    files.insert("boot/rest".to_owned(), without(boot, &[within(boot, linux), within(boot, initrd)]));
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

/// Where a part of `whole` is in it.
fn within(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr().saturating_sub(whole.as_ptr().addr());
    start..start.saturating_add(part.len())
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

/// Where a bzImage has the compressed kernel, if that is what it is.
pub(super) fn payload(linux: &[u8]) -> Option<Range<usize>> {
    let number = |at: usize| {
        let bytes = linux.get(at..)?.first_chunk::<4>()?;
        usize::try_from(u32::from_le_bytes(*bytes)).ok()
    };
    linux.get(0x202..)?.strip_prefix(b"HdrS")?;
    let sectors = usize::from(*linux.get(SETUP_SECTORS_AT)?).checked_add(1)?;
    let start = sectors.checked_mul(512)?.checked_add(number(PAYLOAD_AT)?)?;
    let end = start.checked_add(number(PAYLOAD_AT + 4)?)?.checked_sub(LENGTH_BYTES)?;
    (start < end && end <= linux.len()).then_some(start..end)
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
