//! One run of frames made of the old release, in the fewest bytes; whatever is made is tried at once.

use super::{
    encoder,
    pairs::Base,
    piece::{Kind, Piece, Pieces, Tile},
    plan::{Run, Sides, Way},
    release::Release,
};
use crate::{
    digest::Hasher,
    error::{Error, Kind as ErrorKind, Result},
};
use coracle_delta::Pair;
use coracle_format::{
    bundle::Part,
    delta::{Extent, File, How, Method, Operation, Packed, STREAM_BYTES_MAX, Side, UNPACKED_BYTES_MAX},
};
use sha2::{Digest as _, Sha256};
use std::{borrow::Cow, iter, ops::Range};

/// What one piece costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cost {
    /// Its name.
    pub(super) name: String,
    /// Its bytes in the new release that are made here.
    pub(super) bytes: u64,
    /// Bytes of the delta that they take.
    pub(super) takes: u64,
    /// How they are made.
    pub(super) how: &'static str,
}

/// An operation and what it carries.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) operation: Operation,
    pub(super) stream: Vec<u8>,
    pub(super) costs: Vec<Cost>,
    /// Why a kernel travels whole.
    pub(super) note: Option<String>,
    /// What a machine needs to pack the kernel.
    pub(super) kernel: Option<Kernel>,
}

impl Made {
    /// Nothing of the old release, and no digests: as it is for carried frames.
    fn of(run: &Run, method: Method, stream: Vec<u8>, costs: Vec<Cost>) -> Self {
        let operation = Operation {
            first: run.first,
            frames: run.frames,
            method,
            source_sha256: [0; 32],
            stream: wide(stream.len()),
            stream_sha256: [0; 32],
        };
        Self { operation, stream, costs, note: None, kernel: None }
    }
}

/// What a kernel that machines pack themselves asks of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Mebibytes of memory that packing takes.
    pub memory_mib: u32,
    /// Bytes that a machine fetches instead which has not so much to spare.
    pub whole_bytes: u64,
}

/// Makes a run of frames.
pub(super) fn make(sides: &Sides<'_>, run: &Run) -> Result<Made> {
    let made = match run.way {
        Way::Zeros => None,
        Way::Same => Some(copy(sides, run)?),
        Way::Files => files(sides, run, None)?,
        Way::Packed => return packed(sides, run),
    };
    cheaper(sides, run, made)
}

/// What was made, or the frames as the bundle stores them if those are shorter.
fn cheaper(sides: &Sides<'_>, run: &Run, made: Option<Made>) -> Result<Made> {
    let stored = sides.new.0.stored(run.first, run.frames)?;
    match made {
        Some(made) if made.stream.len() < stored.len() => Ok(made),
        _ => Ok(frames(sides, run, stored)),
    }
}

fn frames(sides: &Sides<'_>, run: &Run, stored: Vec<u8>) -> Made {
    let bytes = run.range.len().max(1);
    let how = if stored.is_empty() { "zeros" } else { "whole" };
    // Nobody knows how much of a frame is whose: each piece has its share.
    let cost = |piece: &Piece, tile: &Tile| Cost {
        name: piece.name.clone(),
        bytes: wide(tile.range.len()),
        takes: wide(stored.len()).saturating_mul(wide(tile.range.len())) / wide(bytes),
        how,
    };
    let costs =
        sides.tiles(run.part, &run.range).map(|tile| cost(&sides.new.1.all[tile.piece], &tile)).collect();
    Made::of(run, Method::Frames, stored, costs)
}

fn copy(sides: &Sides<'_>, run: &Run) -> Result<Made> {
    let (mut extents, mut costs) = (Vec::new(), Vec::new());
    for tile in sides.tiles(run.part, &run.range) {
        let same = sides.same(&tile).ok_or_else(|| internal("a copy is not one"))?;
        for (part, range) in same {
            push(&mut extents, part, range);
        }
        let name = sides.new.1.all[tile.piece].name.clone();
        costs.push(Cost { name, bytes: wide(tile.range.len()), takes: 0, how: "as it was" });
    }
    let source_sha256 = source(sides, &extents);
    let mut made = Made::of(run, Method::Copy(extents), Vec::new(), costs);
    made.operation.source_sha256 = source_sha256;
    Ok(made)
}

/// A kernel's payload, both releases' unpacked, and how it is packed again.
struct Payload {
    old: Option<Vec<u8>>,
    new: Vec<u8>,
    packed: Packed,
}

fn packed(sides: &Sides<'_>, run: &Run) -> Result<Made> {
    let payload = match payload(sides, run) {
        Ok(payload) => payload,
        Err(why) => {
            let made = cheaper(sides, run, None)?;
            return Ok(Made { note: Some(format!("the kernel travels whole: {why}")), ..made });
        }
    };
    let made = cheaper(sides, run, files(sides, run, Some(&payload))?)?;
    let kernel = Kernel {
        memory_mib: payload.packed.memory_mib,
        whole_bytes: sides.new.0.stored_bytes(run.first, run.frames),
    };
    let is_packed = matches!(made.operation.method, Method::Files(_));
    Ok(Made { kernel: is_packed.then_some(kernel), ..made })
}

/// Unpacks both kernels and proves that the new one can be packed again; else why not.
fn payload(sides: &Sides<'_>, run: &Run) -> Result<Payload, String> {
    let (release, pieces) = sides.new;
    let mut tiles = sides.tiles(run.part, &run.range);
    let tile = tiles.find(|tile| pieces.all[tile.piece].kind == Kind::Packed);
    let number = tile.ok_or("it is not there")?.piece;
    let piece = &pieces.all[number];
    let bytes = piece.bytes(release);
    let new = encoder::unpack(&bytes, UNPACKED_BYTES_MAX)
        .map_err(|why| format!("it cannot be unpacked ({why})"))?;
    let proof = encoder::prove(&new, &bytes).ok_or("no known encoder makes it again, bit for bit")?;
    let old =
        sides.pairs[number].map(|old| &sides.old.1.all[old.piece]).filter(|old| old.kind == Kind::Packed);
    let old = old.and_then(|old| encoder::unpack(&old.bytes(sides.old.0), UNPACKED_BYTES_MAX).ok());
    let packed = Packed {
        encoder: proof.encoder,
        plain: wide(new.len()),
        old_plain: old.as_ref().map_or(0, |old| wide(old.len())),
        memory_mib: proof.memory_mib,
    };
    Ok(Payload { old, new, packed })
}

/// A piece of either release.
struct Either<'a> {
    piece: &'a Piece,
    bytes: Cow<'a, [u8]>,
}

/// What a piece is made of: one of the old release, another one behind it.
struct Old<'a> {
    piece: &'a Piece,
    beside: Option<&'a Piece>,
    bytes: Cow<'a, [u8]>,
}

/// A tile, the piece that it is of, and the old ones that it is made of.
struct Job<'a> {
    tile: Tile,
    new: Either<'a>,
    old: Option<Old<'a>>,
    /// Where the old release has these bytes as they are.
    same: Option<Vec<(Part, Range<usize>)>>,
}

impl<'a> Job<'a> {
    fn of(sides: &Sides<'a>, tile: Tile) -> Self {
        let side = |(release, pieces): (&'a Release, &'a Pieces), number: usize| {
            let piece = &pieces.all[number];
            Either { piece, bytes: piece.bytes(release) }
        };
        let old = sides.pairs[tile.piece].map(|Base { piece, beside }| {
            let Either { piece, mut bytes } = side(sides.old, piece);
            let beside = beside.map(|number| side(sides.old, number));
            if let Some(beside) = &beside {
                bytes.to_mut().extend_from_slice(&beside.bytes);
            }
            Old { piece, beside: beside.map(|beside| beside.piece), bytes }
        });
        Self { new: side(sides.new, tile.piece), old, same: sides.same(&tile), tile }
    }

    fn pair<'b>(&'b self, packed: Option<&'b Payload>) -> Pair<'b> {
        let old = self.old.as_ref().map_or(&[][..], |old| &old.bytes);
        if let Some(payload) = packed {
            return Pair::of(payload.old.as_deref().unwrap_or(old), &payload.new);
        }
        Pair::of(old, &self.new.bytes).part(self.tile.at..self.tile.at + self.tile.range.len())
    }

    fn file(&self, packed: Option<&Payload>) -> File {
        let (bytes, mut old) = (wide(self.tile.range.len()), Vec::new());
        if let Some(same) = self.is_same(packed) {
            for (part, range) in same {
                push(&mut old, *part, range.clone());
            }
            return File { bytes, old, how: How::Same };
        }
        for piece in self.old.iter().flat_map(|old| iter::once(old.piece).chain(old.beside)) {
            piece.extents.iter().for_each(|range| push(&mut old, piece.part, range.clone()));
        }
        let how = packed.map_or(How::Differs, |payload| How::Contents(payload.packed));
        File { bytes, old, how }
    }

    /// A kernel is packed with what is around it as it was, but never copied.
    fn is_same(&self, packed: Option<&Payload>) -> Option<&[(Part, Range<usize>)]> {
        self.same.as_deref().filter(|_| packed.is_none())
    }

    fn cost(&self, takes: Option<usize>) -> Cost {
        Cost {
            name: self.new.piece.name.clone(),
            bytes: wide(self.tile.range.len()),
            takes: wide(takes.unwrap_or(0)),
            how: match (takes, &self.old) {
                (None, _) => "as it was",
                (Some(_), Some(_)) => "changed",
                (Some(_), None) => "new",
            },
        }
    }
}

/// Everything in a run by its differences; `None` if that cannot be said in the format.
fn files(sides: &Sides<'_>, run: &Run, payload: Option<&Payload>) -> Result<Option<Made>> {
    let jobs: Vec<Job<'_>> = sides.tiles(run.part, &run.range).map(|tile| Job::of(sides, tile)).collect();
    let packed = |job: &Job<'_>| payload.filter(|_| job.new.piece.kind == Kind::Packed);
    let streamed: Vec<&Job<'_>> = jobs.iter().filter(|job| job.is_same(packed(job)).is_none()).collect();
    let pairs: Vec<Pair<'_>> = streamed.iter().map(|job| job.pair(packed(job))).collect();
    let files: Vec<File> = jobs.iter().map(|job| job.file(packed(job))).collect();
    let sources: Vec<Extent> = files.iter().flat_map(|file| file.old.iter().copied()).collect();
    let Some((stream, ends)) = coracle_delta::make_measured(&pairs) else {
        return Ok(None);
    };
    if stream.len() > usize::try_from(STREAM_BYTES_MAX).unwrap_or(usize::MAX) {
        return Ok(None);
    }
    check(&pairs, &stream)?;
    let begins = iter::once(0).chain(ends.iter().copied());
    let mut lengths = begins.zip(&ends).map(|(begin, end)| end.saturating_sub(begin));
    let takes = |job: &Job<'_>| job.is_same(packed(job)).map_or_else(|| lengths.next(), |_| None);
    let takes: Vec<Option<usize>> = jobs.iter().map(takes).collect();
    let costs = jobs.iter().zip(takes).map(|(job, takes)| job.cost(takes)).collect();
    let (source_sha256, stream_sha256) = (source(sides, &sources), Sha256::digest(&stream).into());
    let mut made = Made::of(run, Method::Files(files), stream, costs);
    made.operation = Operation { source_sha256, stream_sha256, ..made.operation };
    Ok(Some(made))
}

/// The stream makes what it should: a machine would find out as well, but only when it is too late to mend.
fn check(pairs: &[Pair<'_>], stream: &[u8]) -> Result<()> {
    let mut made = vec![Sha256::new(); pairs.len()];
    let mut olds: Vec<&[u8]> = pairs.iter().map(|pair| pair.old).collect();
    let mut sinks: Vec<_> = made
        .iter_mut()
        .map(|digest| {
            move |bytes: &[u8]| {
                digest.update(bytes);
                Ok(())
            }
        })
        .collect();
    let each = olds.iter_mut().zip(&mut sinks).zip(pairs);
    let mut files: Vec<_> = each
        .map(|((old, sink), pair)| coracle_delta::File { old, bytes: wide(pair.new.len()), sink })
        .collect();
    let applied = coracle_delta::apply(stream, &mut files);
    drop(files);
    drop(sinks);
    applied.map_err(|why| internal("a delta that was just made cannot be applied").because(why))?;
    let is_right = |(digest, pair): (Sha256, &Pair<'_>)| digest.finalize() == Sha256::digest(pair.new);
    if made.into_iter().zip(pairs).all(is_right) {
        return Ok(());
    }
    Err(internal("a delta that was just made makes other bytes"))
}

/// The digest of everything that is used of the old release.
fn source(sides: &Sides<'_>, extents: &[Extent]) -> [u8; 32] {
    let mut hasher = Hasher::default();
    for extent in extents {
        let [at, bytes] = [extent.offset, extent.bytes].map(|number| usize::try_from(number).unwrap_or(0));
        hasher.update(&sides.old.0.part(extent.part)[at..at + bytes]);
    }
    hasher.digest().0
}

/// Adds an extent, or makes the last one longer.
fn push(extents: &mut Vec<Extent>, part: Part, range: Range<usize>) {
    let (offset, bytes) = (wide(range.start), wide(range.len()));
    match extents
        .last_mut()
        .filter(|last| last.part == part && last.offset.saturating_add(last.bytes) == offset)
    {
        Some(last) => last.bytes = last.bytes.saturating_add(bytes),
        None => extents.push(Extent { side: Side::Old, part, offset, bytes }),
    }
}

fn internal(what: &str) -> Error {
    Error::new(ErrorKind::Internal, what)
}

fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
