//! An old file: bytes of both slots, in one piece or several.

use super::make::Slots;
use coracle_block::{Disk, Partition};
use coracle_delta::Old;
use coracle_format::delta::{Extent, Side};
use sha2::{Digest as _, Sha256};
use std::cell::RefCell;
use std::io;

/// Bytes that are read ahead.
pub(super) const WINDOW: usize = 256 << 10;
/// Bytes of one read of much.
pub(super) const CHUNK: usize = 1 << 20;
/// What is read begins at multiples of this, so that the kernel reads no page twice.
const PAGE: u64 = 4096;

/// The bytes that were read last. All files of an operation share it, since they are read one after the other.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Whose they are.
    owner: Option<usize>,
    /// Where they begin in that file.
    at: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// Gives its memory back.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    /// Where it begins in the file.
    begin: u64,
    /// The slot that holds that release.
    side: Side,
    /// Where it begins in that slot.
    at: u64,
    bytes: u64,
}

/// Bytes of memory that each piece takes.
pub(super) const PIECE_BYTES: usize = size_of::<Piece>();

/// A file that is read from anywhere.
#[derive(Clone, Debug)]
pub(super) struct OldFile<'a> {
    disk: &'a Disk,
    running: Partition,
    spare: Partition,
    pieces: Vec<Piece>,
    length: u64,
    window: &'a RefCell<Window>,
    number: usize,
}

impl<'a> OldFile<'a> {
    /// The file of these extents; `None` if the parts of the slot that runs have no such bytes. `number` tells it apart from
    /// all others that share the window.
    ///
    /// What is of the new release is read as it is in the spare slot, where it was written through the same disk. It is
    /// there already: see where operations are run. A disk that gives back other bytes makes the operation give frames that
    /// are not those of the index, as one does that has lost bytes of the old release.
    pub(super) fn of<'b>(
        slots: &Slots<'a>,
        extents: impl IntoIterator<Item = &'b Extent>,
        (window, number): (&'a RefCell<Window>, usize),
    ) -> Option<Self> {
        let extents = extents.into_iter();
        let (mut length, mut pieces) = (0_u64, Vec::with_capacity(extents.size_hint().0));
        for Extent { side, part, offset, bytes } in extents {
            let at = match side {
                Side::Old => slots.running.place(*part, *offset, *bytes)?,
                Side::New => slots.layout.place(*part, *offset, *bytes)?,
            };
            pieces.push(Piece { begin: length, side: *side, at, bytes: *bytes });
            length = length.checked_add(*bytes)?;
        }
        Some(Self { pieces, length, ..Self::empty(slots, (window, number)) })
    }

    /// The bytes from `at` on of the spare slot.
    pub(super) fn scratch(
        slots: &Slots<'a>,
        (at, bytes): (u64, u64),
        (window, number): (&'a RefCell<Window>, usize),
    ) -> Self {
        let pieces = vec![Piece { begin: 0, side: Side::New, at, bytes }];
        Self { pieces, length: bytes, ..Self::empty(slots, (window, number)) }
    }

    /// The file, which has no bytes from then on.
    pub(super) fn take(&mut self) -> Self {
        let pieces = std::mem::take(&mut self.pieces);
        Self { pieces, length: std::mem::take(&mut self.length), ..*self }
    }

    fn empty(slots: &Slots<'a>, (window, number): (&'a RefCell<Window>, usize)) -> Self {
        let (disk, running, spare) =
            (slots.spare.disk(), slots.running.partition(), *slots.spare.partition());
        Self { disk, running, spare, pieces: Vec::new(), length: 0, window, number }
    }

    /// Adds all bytes to a digest.
    pub(super) fn hash(&self, digest: &mut Sha256) -> io::Result<()> {
        self.each_chunk(&mut |chunk| {
            digest.update(chunk);
            Ok(())
        })
    }

    /// Gives all bytes in order.
    pub(super) fn each_chunk(&self, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut buffer = vec![0; CHUNK.min(usize::try_from(self.length).unwrap_or(CHUNK))];
        let mut done = 0;
        while done < self.length {
            let length = usize::try_from(self.length - done).unwrap_or(CHUNK).min(buffer.len());
            self.read_through(done, &mut buffer[..length])?;
            take(&buffer[..length])?;
            done = done.saturating_add(wide(length));
        }
        Ok(())
    }

    /// Reads exactly `buffer` from `offset`, piece by piece.
    fn read_through(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut number = self.pieces.partition_point(|piece| piece.begin <= offset).saturating_sub(1);
        let mut done = 0;
        while done < buffer.len() {
            let piece = self.pieces.get(number).ok_or(io::ErrorKind::UnexpectedEof)?;
            let inside = offset.saturating_add(wide(done)).saturating_sub(piece.begin);
            let left = usize::try_from(piece.bytes.saturating_sub(inside)).unwrap_or(usize::MAX);
            let length = left.min(buffer.len() - done);
            let to = &mut buffer[done..done + length];
            let partition = match piece.side {
                Side::Old => &self.running,
                Side::New => &self.spare,
            };
            self.disk
                .read_within(partition, piece.at.saturating_add(inside), to)
                .map_err(|error| error.source)?;
            done += length;
            number += 1;
        }
        Ok(())
    }
}

impl Old for OldFile<'_> {
    fn length(&self) -> u64 {
        self.length
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(wide(buffer.len())).filter(|end| *end <= self.length);
        if end.is_none() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut window = self.window.borrow_mut();
        if let Some(found) = window.get(self.number, offset, buffer.len()) {
            buffer.copy_from_slice(found);
            return Ok(());
        }
        if buffer.len() > WINDOW / 2 {
            return self.read_through(offset, buffer);
        }
        // Much of what follows is read next, and some of what is before may be.
        let start = offset.saturating_sub(PAGE) / PAGE * PAGE;
        let length = usize::try_from(self.length - start).unwrap_or(WINDOW).min(WINDOW);
        window.owner = None;
        window.bytes.resize(length, 0);
        self.read_through(start, &mut window.bytes)?;
        (window.owner, window.at) = (Some(self.number), start);
        let found = window.get(self.number, offset, buffer.len());
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl Window {
    fn get(&self, owner: usize, offset: u64, length: usize) -> Option<&[u8]> {
        if self.owner != Some(owner) {
            return None;
        }
        let from = usize::try_from(offset.checked_sub(self.at)?).ok()?;
        self.bytes.get(from..from.checked_add(length)?)
    }
}

/// Reads a file from its beginning to its end.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    file: OldFile<'a>,
    at: u64,
}

impl<'a> Reading<'a> {
    /// From the beginning.
    pub(super) fn of(file: OldFile<'a>) -> Self {
        Self { file, at: 0 }
    }
}

impl io::Read for Reading<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.file.length - self.at).unwrap_or(usize::MAX);
        let length = left.min(buffer.len());
        self.file.read_at(self.at, &mut buffer[..length])?;
        self.at = self.at.saturating_add(wide(length));
        Ok(length)
    }
}

fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
