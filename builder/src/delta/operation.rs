//! One run of frames made of what is there before it, in the fewest bytes; whatever is made is tried at once.

use super::{
    encoder,
    piece::{Kind, Piece, Tile},
    plan::{Run, Sides, Way},
    sources::{self, Sources, as_they_were},
};
use crate::{
    digest::Hasher,
    error::{Error, Kind as ErrorKind, Result},
    parallel::Supply,
};
use coracle_delta::{Pair, limits::HOLES_MAX};
use coracle_format::delta::{
    EXTENTS_MAX, Extent, FILES_MAX, File, How, Method, OPERATION_EXTENTS_MAX, Operation, Packed,
    STREAM_BYTES_MAX, Side, UNPACKED_BYTES_MAX,
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

/// Making a pair's differences takes so many times its bytes.
const MEMORY_TIMES: u64 = 12;

/// Of a file of no more bytes all copies are told, also where only a part of it is made: they take little.
const TOLD_BYTES_MAX: usize = 8 << 20;

/// Makes a run of frames, with so much memory as is to be had.
pub(super) fn make(sides: &Sides<'_>, run: &Run, memory: &Supply) -> Result<Made> {
    let made = match run.way {
        Way::Zeros => None,
        Way::Same => Some(copy(sides, run)?),
        Way::Files => files((sides, memory), run, None)?,
        Way::Packed => return packed(sides, run, memory),
    };
    cheaper(sides, run, made)
}

/// A run as the bundle stores its frames.
pub(super) fn whole(sides: &Sides<'_>, run: &Run) -> Result<Made> {
    cheaper(sides, run, None)
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
    let (mut all, mut costs) = (Vec::new(), Vec::new());
    for tile in sides.tiles(run.part, &run.range) {
        all.extend(sides.same(&tile).ok_or_else(|| internal("a copy is not one"))?);
        let name = sides.new.1.all[tile.piece].name.clone();
        costs.push(Cost { name, bytes: wide(tile.range.len()), takes: 0, how: "as it was" });
    }
    let extents = as_they_were(all);
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

fn packed(sides: &Sides<'_>, run: &Run, memory: &Supply) -> Result<Made> {
    let payload = match payload(sides, run) {
        Ok(payload) => payload,
        Err(why) => {
            let made = cheaper(sides, run, None)?;
            return Ok(Made { note: Some(format!("the kernel travels whole: {why}")), ..made });
        }
    };
    let made = cheaper(sides, run, files((sides, memory), run, Some(&payload))?)?;
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
    let old = sides
        .pairs
        .base(number)
        .map(|old| &sides.old.1.all[old.piece])
        .filter(|old| old.kind == Kind::Packed);
    let old = old.and_then(|old| encoder::unpack(&old.bytes(sides.old.0), UNPACKED_BYTES_MAX).ok());
    let packed = Packed {
        encoder: proof.encoder,
        plain: wide(new.len()),
        old_plain: old.as_ref().map_or(0, |old| wide(old.len())),
        memory_mib: proof.memory_mib,
    };
    Ok(Payload { old, new, packed })
}

/// Tiles of one piece that follow one another, and what they are made of.
struct Job<'a> {
    /// At least one; if they are as they are elsewhere, just one.
    tiles: Vec<Tile>,
    piece: &'a Piece,
    /// Whether the old release has something of it.
    is_known: bool,
    sources: Sources,
    /// Where all of it is as it is.
    same: Option<Vec<Extent>>,
    /// How its contents are packed again, if that is what it is made by.
    payload: Option<&'a Payload>,
}

impl<'a> Job<'a> {
    fn of(sides: &Sides<'a>, (run, tile): (&Run, Tile), payload: Option<&'a Payload>) -> Self {
        let piece = &sides.new.1.all[tile.piece];
        let payload = payload.filter(|_| piece.kind == Kind::Packed);
        // A kernel is packed with what is around it as it was, but never copied.
        let same = sources::same(sides, run, &tile).filter(|_| payload.is_none());
        let sources = if same.is_none() { Sources::of(sides, run, &tile) } else { Sources::default() };
        let is_known = sides.pairs.base(tile.piece).is_some();
        Self { tiles: vec![tile], piece, is_known, sources, same, payload }
    }

    /// All of a run. What is between two tiles of a file are holes in it: they are made as one, for what is on either side
    /// refers to the other.
    fn all(sides: &Sides<'a>, run: &Run, payload: Option<&'a Payload>) -> Vec<Self> {
        let mut jobs: Vec<Self> = Vec::new();
        for tile in sides.tiles(run.part, &run.range) {
            let job = Self::of(sides, (run, tile), payload);
            let goes_on = |last: &&mut Self| last.goes_on(&job);
            match jobs.last_mut().filter(goes_on) {
                Some(last) => last.tiles.extend(job.tiles),
                None => jobs.push(job),
            }
        }
        jobs
    }

    fn goes_on(&self, next: &Self) -> bool {
        let is_streamed = |job: &Self| job.same.is_none() && job.payload.is_none();
        let (last, first) = (self.tiles.last(), next.tiles.first());
        let are_of_one = last
            .zip(first)
            .is_some_and(|(last, first)| last.piece == first.piece && last.at + last.range.len() <= first.at);
        // One hole more may be in front, and one behind.
        are_of_one && is_streamed(self) && is_streamed(next) && self.tiles.len() < HOLES_MAX - 1
    }

    /// How many bytes it makes.
    fn len(&self) -> usize {
        self.tiles.iter().map(|tile| tile.range.len()).sum()
    }

    /// What is told of the piece: all of it if that is little, for references may go anywhere.
    fn told(&self) -> Range<usize> {
        let begin = self.tiles.first().map_or(0, |tile| tile.at);
        let end = self.tiles.last().map_or(0, |tile| tile.at + tile.range.len());
        if self.piece.len() <= TOLD_BYTES_MAX { 0..self.piece.len() } else { begin..end }
    }

    /// What of that it does not make.
    fn holes(&self) -> impl Iterator<Item = Range<usize>> {
        let told = self.told();
        let begins = [told.start].into_iter().chain(self.tiles.iter().map(|tile| tile.at + tile.range.len()));
        let ends = self.tiles.iter().map(|tile| tile.at).chain([told.end]);
        begins.zip(ends).filter(|(begin, end)| begin < end).map(|(begin, end)| begin..end)
    }

    /// Bytes of memory that making its differences takes, beside its sources.
    fn memory(&self) -> u64 {
        let (old, new) = match self.payload {
            Some(payload) => (payload.old.as_ref().map_or(0, Vec::len), payload.new.len()),
            None => (self.sources.len(), self.told().len()),
        };
        MEMORY_TIMES.saturating_mul(wide(old.saturating_add(new)))
    }

    /// Bytes of both sides; `None` if they are the same.
    fn load(&self, sides: &Sides<'a>) -> Option<Loaded<'a>> {
        self.same
            .is_none()
            .then(|| Loaded { old: self.sources.bytes(sides), new: self.piece.bytes(sides.new.0) })
    }

    fn pair<'b>(&'b self, loaded: &'b Loaded<'a>) -> Pair<'b> {
        if let Some(payload) = self.payload {
            return Pair::of(payload.old.as_deref().unwrap_or(&loaded.old), &payload.new);
        }
        let whole = Pair::of_several(&loaded.old, &self.sources.ends(), &loaded.new);
        whole.part(self.told()).without(self.holes())
    }

    fn file(&self) -> File {
        let bytes = wide(self.len());
        if let Some(same) = &self.same {
            return File { bytes, old: same.clone(), how: How::Same };
        }
        let how = self.payload.map_or(How::Differs, |payload| How::Contents(payload.packed));
        File { bytes, old: self.sources.extents(), how }
    }

    fn cost(&self, takes: Option<usize>) -> Cost {
        Cost {
            name: self.piece.name.clone(),
            bytes: wide(self.len()),
            takes: wide(takes.unwrap_or(0)),
            how: match &self.same {
                Some(same) if same.iter().all(|extent| extent.side == Side::Old) => "as it was",
                _ if self.is_known => "changed",
                _ => "new",
            },
        }
    }
}

/// What a tile is made of, and the piece that it is of.
struct Loaded<'a> {
    old: Cow<'a, [u8]>,
    new: Cow<'a, [u8]>,
}

/// Everything in a run by its differences; `None` if that cannot be said in the format.
fn files(
    (sides, memory): (&Sides<'_>, &Supply),
    run: &Run,
    payload: Option<&Payload>,
) -> Result<Option<Made>> {
    let jobs = Job::all(sides, run, payload);
    let _share = memory.take(needed(&jobs));
    let loaded: Vec<Option<Loaded<'_>>> = jobs.iter().map(|job| job.load(sides)).collect();
    let streamed = jobs.iter().zip(&loaded).filter_map(|(job, loaded)| Some(job.pair(loaded.as_ref()?)));
    let pairs: Vec<Pair<'_>> = streamed.collect();
    let files: Vec<File> = jobs.iter().map(Job::file).collect();
    let extents: usize = files.iter().map(|file| file.old.len()).sum();
    let is_long = |file: &File| file.old.len() > EXTENTS_MAX;
    if files.len() > FILES_MAX || extents > OPERATION_EXTENTS_MAX || files.iter().any(is_long) {
        return Ok(None);
    }
    let Some((stream, ends)) = coracle_delta::make_measured(&pairs) else {
        return Ok(None);
    };
    if stream.len() > usize::try_from(STREAM_BYTES_MAX).unwrap_or(usize::MAX) {
        return Ok(None);
    }
    check(&pairs, &stream)?;
    let begins = iter::once(0).chain(ends.iter().copied());
    let mut lengths = begins.zip(&ends).map(|(begin, end)| end.saturating_sub(begin));
    let cost = |job: &Job<'_>| job.cost(if job.same.is_none() { lengths.next() } else { None });
    let costs = jobs.iter().map(cost).collect();
    let sources: Vec<Extent> = files.iter().flat_map(|file| file.old.iter().copied()).collect();
    let (source_sha256, stream_sha256) = (source(sides, &sources), Sha256::digest(&stream).into());
    let mut made = Made::of(run, Method::Files(files), stream, costs);
    made.operation = Operation { source_sha256, stream_sha256, ..made.operation };
    Ok(Some(made))
}

/// Bytes of memory that the differences of a run take: all sources, and one pair after the other.
fn needed(jobs: &[Job<'_>]) -> u64 {
    let streamed = || jobs.iter().filter(|job| job.same.is_none());
    let sources: u64 = streamed().map(|job| wide(job.sources.len())).sum();
    streamed().map(Job::memory).max().unwrap_or(0).saturating_add(sources)
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
    let mut files: Vec<_> =
        each.map(|((old, sink), pair)| coracle_delta::File { old, bytes: pair.made_bytes(), sink }).collect();
    let applied = coracle_delta::apply(stream, &mut files);
    drop(files);
    drop(sinks);
    applied.map_err(|why| internal("a delta that was just made cannot be applied").because(why))?;
    let wanted = |pair: &Pair<'_>| pair.made().fold(Sha256::new(), Sha256::chain_update).finalize();
    let is_right = |(digest, pair): (Sha256, &Pair<'_>)| digest.finalize() == wanted(pair);
    if made.into_iter().zip(pairs).all(is_right) {
        return Ok(());
    }
    Err(internal("a delta that was just made makes other bytes"))
}

/// The digest of everything that is used of the old release.
fn source(sides: &Sides<'_>, extents: &[Extent]) -> [u8; 32] {
    let mut hasher = Hasher::default();
    for extent in extents.iter().filter(|extent| extent.side == Side::Old) {
        let [at, bytes] = [extent.offset, extent.bytes].map(|number| usize::try_from(number).unwrap_or(0));
        hasher.update(&sides.old.0.part(extent.part)[at..at + bytes]);
    }
    hasher.digest().0
}

fn internal(what: &str) -> Error {
    Error::new(ErrorKind::Internal, what)
}

fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
