//! Deltas for tests: as little cleverness as gives every kind of operation.

use crate::fixture::Payload;
use coracle_format::bundle::Part;
use coracle_format::delta::{Extent, File, Header, How, Method, Operation, Pieces, Side, Table};
use sha2::{Digest as _, Sha256};

/// How the frames of one operation are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// By differences to the same place of the old release.
    File,
    /// By differences to as many bytes of the new release that stand before it; carried where none do.
    Earlier,
    /// From any place of the old release that has the same bytes; carried where none has.
    Copied,
    /// Carried.
    Carried,
}

pub(crate) type Operations = Vec<(Operation, Vec<u8>)>;

fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap()
}

/// Both versions of a file.
pub(crate) fn pair<'a>(old: &'a [u8], new: &'a [u8]) -> coracle_delta::Pair<'a> {
    coracle_delta::Pair::of(old, new)
}

pub(crate) fn operation(first: u32, frames: u32, method: Method, source: &[u8], stream: &[u8]) -> Operation {
    let (source_sha256, stream_sha256) = match &method {
        Method::Frames => ([0; 32], [0; 32]),
        Method::Copy(_) => (Sha256::digest(source).into(), [0; 32]),
        Method::Files(_) => (Sha256::digest(source).into(), Sha256::digest(stream).into()),
    };
    Operation { first, frames, method, source_sha256, stream: wide(stream.len()), stream_sha256 }
}

fn part(payload: &Payload, part: Part) -> &[u8] {
    match part {
        Part::Root => &payload.root,
        Part::Boot => &payload.boot,
    }
}

/// One operation for each frame.
pub(crate) fn pieces(old: &Payload, new: &Payload, way: impl Fn(Part, usize) -> Piece) -> Operations {
    let (index, stored) = new.index();
    let mut out = Operations::new();
    for (number, (at, frame)) in index.placed().enumerate() {
        let (before, after) = (part(old, frame.part), part(new, frame.part));
        let from = usize::try_from(frame.offset).unwrap();
        let length = usize::try_from(frame.plain).unwrap();
        let wanted = &after[from..from + length];
        let first = u32::try_from(number).unwrap();
        let extent = |offset: usize, bytes: usize| Extent {
            side: Side::Old,
            part: frame.part,
            offset: wide(offset),
            bytes: wide(bytes),
        };
        let way = way(frame.part, number);
        let earlier = if from > 0 {
            (from >= length).then(|| Extent { side: Side::New, ..extent(from - length, length) })
        } else {
            (frame.part == Part::Boot && new.root.len() >= length).then(|| Extent {
                side: Side::New,
                part: Part::Root,
                ..extent(0, length)
            })
        };
        let found =
            before.windows(length).step_by(512).position(|window| window == wanted).map(|at| at * 512);
        out.push(match (way, found) {
            (Piece::Earlier, _) if earlier.is_some() => {
                let extent = earlier.unwrap();
                let at = usize::try_from(extent.offset).unwrap();
                let source = &part(new, extent.part)[at..at + length];
                let stream = coracle_delta::make(&[pair(source, wanted)]).unwrap();
                let files = vec![File { bytes: wide(length), old: vec![extent], how: How::Differs }];
                (operation(first, 1, Method::Files(files), &[], &stream), stream)
            }
            (Piece::File, _) => {
                let source = before.get(from..(from + length).min(before.len())).unwrap_or_default();
                let old = if source.is_empty() { Vec::new() } else { vec![extent(from, source.len())] };
                let stream = coracle_delta::make(&[pair(source, wanted)]).unwrap();
                let files = vec![File { bytes: wide(length), old, how: How::Differs }];
                (operation(first, 1, Method::Files(files), source, &stream), stream)
            }
            (Piece::Copied, Some(found)) => {
                (operation(first, 1, Method::Copy(vec![extent(found, length)]), wanted, &[]), Vec::new())
            }
            (Piece::Carried | Piece::Copied | Piece::Earlier, _) => {
                let at = usize::try_from(at).unwrap();
                let stream = stored[at..at + usize::try_from(frame.stored).unwrap()].to_vec();
                (operation(first, 1, Method::Frames, &[], &stream), stream)
            }
        });
    }
    out
}

/// One operation for each part, which is one file.
pub(crate) fn by_files(old: &Payload, new: &Payload) -> Operations {
    let frames = new.index().0.frames;
    let mut first = 0;
    Part::ALL
        .map(|which| {
            let count = u32::try_from(frames.iter().filter(|frame| frame.part == which).count()).unwrap();
            let (source, wanted) = (part(old, which), part(new, which));
            let stream = coracle_delta::make(&[pair(source, wanted)]).unwrap();
            // In two pieces, one behind the other.
            let half = source.len() / 2 + 1;
            let extent = |offset, bytes| Extent {
                side: Side::Old,
                part: which,
                offset: wide(offset),
                bytes: wide(bytes),
            };
            let old = vec![extent(0, half), extent(half, source.len() - half)];
            let files = vec![File { bytes: wide(wanted.len()), old, how: How::Differs }];
            first += count;
            (operation(first - count, count, Method::Files(files), source, &stream), stream)
        })
        .into()
}

/// One operation for each part, which carries everything.
pub(crate) fn by_frames(_old: &Payload, new: &Payload) -> Operations {
    let (index, stored) = new.index();
    let (mut first, mut at) = (0, 0);
    Part::ALL
        .map(|which| {
            let frames = index.frames.iter().filter(|frame| frame.part == which);
            let (count, bytes) =
                frames.fold((0, 0), |(count, bytes), frame| (count + 1, bytes + frame.stored));
            let bytes = usize::try_from(bytes).unwrap();
            (first, at) = (first + count, at + bytes);
            let stream = stored[at - bytes..at].to_vec();
            (operation(first - count, count, Method::Frames, &[], &stream), stream)
        })
        .into()
}

/// The delta of these operations, signed with the key that the machine trusts.
pub(crate) fn delta(old: &Payload, new: &Payload, operations: Operations) -> Vec<u8> {
    delta_with(old, new, operations, |_| {})
}

/// The same with a table that was changed afterwards.
pub(crate) fn delta_with(
    old: &Payload,
    new: &Payload,
    operations: Operations,
    change: impl FnOnce(&mut [u8]),
) -> Vec<u8> {
    let (operations, streams): (Vec<_>, Vec<_>) = operations.into_iter().unzip();
    let index = new.index().0;
    let mut table = Table::new(operations, &index).unwrap().encode();
    change(&mut table);
    let table = zstd::bulk::compress(&table, 3).unwrap();
    let (index, metadata) = (index.encode().unwrap(), new.metadata(&index.encode().unwrap(), 2));
    let pieces = Pieces { metadata: &metadata, index: &index, table: &table };
    let streams = streams.concat();
    let header = Header::of(old.release(), &pieces, wide(streams.len())).unwrap();
    [&header.encode()[..], &metadata, &index, &table, &streams].concat()
}
