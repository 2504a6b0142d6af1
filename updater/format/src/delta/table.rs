//! The table of a delta: what makes each run of frames.

use super::{
    EXTENTS_MAX, Encoder, Extent, FILES_MAX, File, How, Method, NotADelta, OLD_BYTES_MAX,
    OPERATION_BYTES_MAX, OPERATION_EXTENTS_MAX, OPERATIONS_MAX, Operation, Packed, STREAM_BYTES_MAX, Side,
    TABLE_BYTES_MAX, TABLE_EXTENTS_MAX, TABLE_FILES_MAX, UNPACKED_BYTES_MAX,
    varint::{Reader, put},
};
use crate::bundle::{Frame, Index, Part};
use alloc::vec::Vec;

const FRAMES: u8 = 0;
const COPY: u8 = 1;
const FILES: u8 = 2;

/// How much of what takes memory may still come.
#[derive(Clone, Copy)]
struct Left {
    files: usize,
    extents: usize,
}

impl Left {
    const ALL: Self = Self { files: TABLE_FILES_MAX, extents: TABLE_EXTENTS_MAX };

    fn take(from: &mut usize, count: usize) -> Result<(), NotADelta> {
        *from = from.checked_sub(count).ok_or(NotADelta::Limit)?;
        Ok(())
    }
}

/// What makes each run of frames, in the order of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    operations: Vec<Operation>,
}

impl Table {
    /// With these operations, if they make every frame of the index once and keep to their limits.
    pub fn new(operations: Vec<Operation>, index: &Index) -> Result<Self, NotADelta> {
        let this = Self { operations };
        this.check(index).map(|()| this)
    }

    /// The operations: each begins with the frame behind the last one of the one before.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// Bytes that all operations carry.
    pub fn streams(&self) -> u64 {
        self.operations.iter().map(|operation| operation.stream).sum()
    }

    /// Every operation with the place of what it carries among the streams.
    pub fn placed(&self) -> impl Iterator<Item = (u64, &Operation)> {
        self.operations.iter().scan(0_u64, |at, operation| {
            let begin = *at;
            *at = at.saturating_add(operation.stream);
            Some((begin, operation))
        })
    }

    /// The table's bytes, not packed.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, wide(self.operations.len()));
        for operation in &self.operations {
            let method = match operation.method {
                Method::Frames => FRAMES,
                Method::Copy(_) => COPY,
                Method::Files(_) => FILES,
            };
            out.push(method);
            put(&mut out, operation.frames.into());
            match &operation.method {
                Method::Frames => {}
                Method::Copy(extents) => {
                    out.extend_from_slice(&operation.source_sha256);
                    put_extents(&mut out, extents);
                }
                Method::Files(files) => {
                    out.extend_from_slice(&operation.source_sha256);
                    out.extend_from_slice(&operation.stream_sha256);
                    put(&mut out, operation.stream);
                    put(&mut out, wide(files.len()));
                    for file in files {
                        put_file(&mut out, file);
                    }
                }
            }
        }
        out
    }

    /// Parses an unpacked table, of a delta that leads to `index`. Everything stated about the types' fields holds for the
    /// result.
    pub fn parse(bytes: &[u8], index: &Index) -> Result<Self, NotADelta> {
        if bytes.len() > TABLE_BYTES_MAX {
            return Err(NotADelta::Limit);
        }
        let mut reader = Reader(bytes);
        let count = reader.count(OPERATIONS_MAX)?;
        let (mut operations, mut first, mut left) = (Vec::new(), 0_u32, Left::ALL);
        for number in 0..count {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            let operation = operation((&mut reader, &mut left), number, (first, index))?;
            first = first.checked_add(operation.frames).ok_or(NotADelta::Coverage)?;
            operations.push(operation);
        }
        if !reader.0.is_empty() {
            return Err(NotADelta::Length);
        }
        Self::new(operations, index)
    }

    fn check(&self, index: &Index) -> Result<(), NotADelta> {
        if self.operations.len() > OPERATIONS_MAX {
            return Err(NotADelta::Limit);
        }
        let (mut at, mut streams, mut left) = (0_usize, 0_u64, Left::ALL);
        for (number, operation) in (0..).zip(&self.operations) {
            Left::take(&mut left.files, operation.files().len())?;
            Left::take(&mut left.extents, operation.sources().count())?;
            let frames = index.run(operation.first, operation.frames);
            let begins = usize::try_from(operation.first) == Ok(at);
            let frames = frames.filter(|_| begins).ok_or(NotADelta::Coverage)?;
            let are_there = |first| operation.sources().all(|extent| extent.is_there(index, first));
            if !is_sound(operation, frames) || !frames.first().is_some_and(are_there) {
                return Err(NotADelta::Operation(number));
            }
            streams = streams.checked_add(operation.stream).ok_or(NotADelta::Limit)?;
            at += frames.len();
        }
        if at == index.frames.len() { Ok(()) } else { Err(NotADelta::Coverage) }
    }
}

fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn put_extents(out: &mut Vec<u8>, extents: &[Extent]) {
    put(out, wide(extents.len()));
    for extent in extents {
        out.push(match (extent.side, extent.part) {
            (Side::Old, Part::Root) => 1,
            (Side::Old, Part::Boot) => 2,
            (Side::New, Part::Root) => 3,
            (Side::New, Part::Boot) => 4,
        });
        put(out, extent.offset);
        put(out, extent.bytes);
    }
}

fn put_file(out: &mut Vec<u8>, file: &File) {
    put(out, file.bytes);
    put_extents(out, &file.old);
    let packed = match &file.how {
        How::Differs => return out.push(0),
        How::Same => return out.push(2),
        How::Contents(packed) => packed,
    };
    let Encoder::Zstd157 { level } = packed.encoder;
    out.extend_from_slice(&[1, level]);
    put(out, packed.plain);
    put(out, packed.old_plain);
    put(out, packed.memory_mib.into());
}

fn operation(
    (reader, left): (&mut Reader<'_>, &mut Left),
    number: u32,
    (first, index): (u32, &Index),
) -> Result<Operation, NotADelta> {
    let malformed = NotADelta::Operation(number);
    let method = reader.byte()?;
    let frames = u32::try_from(reader.number()?).or(Err(NotADelta::Coverage))?;
    let mut made = Operation {
        first,
        frames,
        method: Method::Frames,
        source_sha256: [0; 32],
        stream: 0,
        stream_sha256: [0; 32],
    };
    match method {
        FRAMES => {
            let frames = index.run(first, frames).ok_or(NotADelta::Coverage)?;
            made.stream = frames.iter().map(|frame| u64::from(frame.stored)).sum();
        }
        COPY => {
            made.source_sha256 = *reader.take()?;
            made.method = Method::Copy(extents((reader, left), malformed)?);
        }
        FILES => {
            made.source_sha256 = *reader.take()?;
            made.stream_sha256 = *reader.take()?;
            made.stream = reader.number()?;
            let count = reader.count(FILES_MAX)?;
            Left::take(&mut left.files, count)?;
            let files = (0..count).map(|_| file((reader, left), malformed)).collect::<Result<_, _>>()?;
            made.method = Method::Files(files);
        }
        _ => return Err(malformed),
    }
    Ok(made)
}

fn extents(
    (reader, left): (&mut Reader<'_>, &mut Left),
    malformed: NotADelta,
) -> Result<Vec<Extent>, NotADelta> {
    let count = reader.count(EXTENTS_MAX)?;
    Left::take(&mut left.extents, count)?;
    let extent = |_| {
        let (side, part) = match reader.byte()? {
            1 => (Side::Old, Part::Root),
            2 => (Side::Old, Part::Boot),
            3 => (Side::New, Part::Root),
            4 => (Side::New, Part::Boot),
            _ => return Err(malformed),
        };
        Ok(Extent { side, part, offset: reader.number()?, bytes: reader.number()? })
    };
    (0..count).map(extent).collect()
}

fn file((reader, left): (&mut Reader<'_>, &mut Left), malformed: NotADelta) -> Result<File, NotADelta> {
    let bytes = reader.number()?;
    let old = extents((reader, left), malformed)?;
    let how = match reader.byte()? {
        0 => How::Differs,
        2 => How::Same,
        1 => How::Contents(Packed {
            encoder: Encoder::Zstd157 { level: reader.byte()? },
            plain: reader.number()?,
            old_plain: reader.number()?,
            memory_mib: u32::try_from(reader.number()?).or(Err(malformed))?,
        }),
        _ => return Err(malformed),
    };
    Ok(File { bytes, old, how })
}

/// Whether an operation keeps to its limits and makes just these frames.
fn is_sound(operation: &Operation, frames: &[Frame]) -> bool {
    let bytes: u64 = frames.iter().map(|frame| u64::from(frame.plain)).sum();
    let one_part = frames.first().is_some_and(|first| frames.iter().all(|frame| frame.part == first.part));
    let made = match &operation.method {
        Method::Frames => {
            let stored: u64 = frames.iter().map(|frame| u64::from(frame.stored)).sum();
            let digests = [operation.source_sha256, operation.stream_sha256];
            (operation.stream == stored && digests == [[0; 32]; 2]).then_some(bytes)
        }
        Method::Copy(extents) => {
            let nothing = operation.stream == 0 && operation.stream_sha256 == [0; 32];
            length(extents).filter(|_| nothing)
        }
        Method::Files(files) => {
            let extents: usize = files.iter().map(|file| file.old.len()).sum();
            let within = operation.stream <= u64::from(STREAM_BYTES_MAX)
                && files.len() <= FILES_MAX
                && extents <= OPERATION_EXTENTS_MAX;
            let sum = files
                .iter()
                .try_fold(0_u64, |sum, file| is_file(file).then(|| sum.checked_add(file.bytes))?);
            sum.filter(|_| within)
        }
    };
    // However much is carried as it is, a machine takes it frame by frame.
    let is_small = bytes <= OPERATION_BYTES_MAX || operation.method == Method::Frames;
    one_part && is_small && made == Some(bytes)
}

/// Bytes of extents; `None` if they are too many, or one is empty or has no end.
fn length(extents: &[Extent]) -> Option<u64> {
    if extents.len() > EXTENTS_MAX {
        return None;
    }
    extents.iter().try_fold(0_u64, |sum, extent| {
        extent.offset.checked_add(extent.bytes).filter(|_| extent.bytes > 0)?;
        sum.checked_add(extent.bytes)
    })
}

fn is_file(file: &File) -> bool {
    let is_right = |packed: Packed| {
        let Encoder::Zstd157 { level } = packed.encoder;
        (1..=22).contains(&level)
            && (1..=UNPACKED_BYTES_MAX).contains(&packed.plain)
            && packed.old_plain <= UNPACKED_BYTES_MAX
    };
    let Some(old) = length(&file.old) else { return false };
    let is_made_right = match file.how {
        How::Differs => true,
        How::Same => old == file.bytes,
        How::Contents(packed) => is_right(packed),
    };
    file.bytes > 0 && old <= OLD_BYTES_MAX && is_made_right
}

#[cfg(test)]
mod tests;
