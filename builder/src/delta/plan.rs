//! Which frames are made together.

use super::{
    pairs::Pairs,
    piece::{Kind, Pieces, Tile},
    release::Release,
};
use coracle_format::{
    bundle::{Encoding, Frame, Part},
    delta::{EXTENTS_MAX, OPERATION_BYTES_MAX},
};
use std::ops::Range;

/// Bytes that are made together: a machine that was interrupted makes so much again, and one with two processors makes two
/// such runs at once.
const RUN_BYTES: u64 = 8 << 20;
/// The same where a file is too large for that: a longer stream knows more of what is new in it.
const LONG_RUN_BYTES: u64 = 16 << 20;
/// Bytes of a file from which on it is.
const LARGE_BYTES_MIN: usize = 4 << 20;

/// How frames are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// There is nothing to make: they are zeros.
    Zeros,
    /// They are all in the old release.
    Same,
    /// They hold a kernel that has to be compressed.
    Packed,
    /// Something in them differs.
    Files,
}

/// Frames that are made together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) part: Part,
    pub(super) first: u32,
    pub(super) frames: u32,
    pub(super) way: Way,
    /// Where their bytes are in the part.
    pub(super) range: Range<usize>,
}

/// What the old release has of the new one.
#[derive(Debug)]
pub(super) struct Sides<'a> {
    pub(super) old: (&'a Release, &'a Pieces),
    pub(super) new: (&'a Release, &'a Pieces),
    /// What each new piece is made of.
    pub(super) pairs: &'a Pairs,
}

impl Sides<'_> {
    /// The tiles of some bytes of the new release, cut to them.
    pub(super) fn tiles(&self, part: Part, range: &Range<usize>) -> impl Iterator<Item = Tile> + use<'_> {
        let tiles = self.new.1.tiles(part);
        let first = tiles.partition_point(|tile| tile.range.end <= range.start);
        let end = tiles.partition_point(|tile| tile.range.start < range.end);
        let range = range.clone();
        tiles[first..end.max(first)].iter().map(move |tile| {
            let start = tile.range.start.max(range.start);
            let end = tile.range.end.min(range.end);
            Tile { piece: tile.piece, at: tile.at + (start - tile.range.start), range: start..end }
        })
    }

    /// Where the old release has just these bytes, if it has them at the same place of the same piece.
    pub(super) fn same(&self, tile: &Tile) -> Option<Vec<(Part, Range<usize>)>> {
        let old = &self.old.1.all[self.pairs.base(tile.piece)?.piece];
        let extents = cut(&old.extents, tile.at..tile.at + tile.range.len())?;
        let part = &self.new.0.part(self.new.1.all[tile.piece].part)[tile.range.clone()];
        let mut at = 0;
        for extent in &extents {
            let bytes = &self.old.0.part(old.part)[extent.clone()];
            if part.get(at..at + bytes.len())? != bytes {
                return None;
            }
            at += bytes.len();
        }
        Some(extents.into_iter().map(|extent| (old.part, extent)).collect())
    }

    fn way(&self, frame: &Frame) -> Way {
        if frame.encoding == Encoding::Zeros {
            return Way::Zeros;
        }
        let range = bytes_of(frame);
        if self.tiles(frame.part, &range).all(|tile| self.same(&tile).is_some()) {
            return Way::Same;
        }
        let is_packed = |tile: Tile| self.new.1.all[tile.piece].kind == Kind::Packed;
        if self.tiles(frame.part, &range).any(is_packed) { Way::Packed } else { Way::Files }
    }

    /// How all frames are made.
    pub(super) fn runs(&self) -> Vec<Run> {
        let mut ways: Vec<Way> = self.new.0.index.frames.iter().map(|frame| self.way(frame)).collect();
        self.keep_kernels_whole(&mut ways);
        let mut runs: Vec<Run> = Vec::new();
        for ((number, frame), way) in (0..).zip(&self.new.0.index.frames).zip(ways) {
            let range = bytes_of(frame);
            match runs.last_mut().filter(|run| run.way == way && run.part == frame.part) {
                Some(run) if self.goes_on(run, &range) && self.fits(run, &range) => {
                    run.frames += 1;
                    run.range.end = range.end;
                }
                _ => runs.push(Run { part: frame.part, first: number, frames: 1, way, range }),
            }
        }
        runs
    }

    /// Whether a run is not too long with these bytes behind it.
    fn goes_on(&self, run: &Run, more: &Range<usize>) -> bool {
        let all = run.range.start..more.end;
        let is_large = |tile: Tile| self.new.1.all[tile.piece].len() >= LARGE_BYTES_MIN;
        let limit = match run.way {
            Way::Files if self.tiles(run.part, &all).any(is_large) => LONG_RUN_BYTES,
            Way::Files | Way::Same => RUN_BYTES,
            Way::Zeros | Way::Packed => OPERATION_BYTES_MAX,
        };
        wide(all.len()) <= limit
    }

    /// A compressed kernel is made whole, though some of its frames may be as they were.
    fn keep_kernels_whole(&self, ways: &mut [Way]) {
        let frames = &self.new.0.index.frames;
        for (number, piece) in
            self.new.1.all.iter().enumerate().filter(|(_, piece)| piece.kind == Kind::Packed)
        {
            let is_of_it = |frame: &Frame| {
                frame.part == piece.part
                    && self.tiles(frame.part, &bytes_of(frame)).any(|tile| tile.piece == number)
            };
            let own: Vec<usize> = (0..frames.len()).filter(|frame| is_of_it(&frames[*frame])).collect();
            if own.iter().any(|frame| ways[*frame] == Way::Packed) {
                for frame in own {
                    ways[frame] = Way::Packed;
                }
            }
        }
    }

    /// Whether a copy does not get too many extents.
    fn fits(&self, run: &Run, more: &Range<usize>) -> bool {
        let whole = run.range.start..more.end;
        run.way != Way::Same || self.tiles(run.part, &whole).count() < EXTENTS_MAX / 4
    }
}

/// Some bytes of what stands in extents; `None` if it ends before.
pub(super) fn cut(extents: &[Range<usize>], range: Range<usize>) -> Option<Vec<Range<usize>>> {
    let (mut at, mut out) = (0, Vec::new());
    for extent in extents {
        let from = range.start.clamp(at, at + extent.len());
        let to = range.end.clamp(at, at + extent.len());
        if from < to {
            out.push(extent.start + (from - at)..extent.start + (to - at));
        }
        at += extent.len();
    }
    (range.end <= at).then_some(out)
}

fn bytes_of(frame: &Frame) -> Range<usize> {
    let start = usize::try_from(frame.offset).unwrap_or(usize::MAX);
    start..start.saturating_add(usize::try_from(frame.plain).unwrap_or(usize::MAX))
}

fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "extents are ranges")]
    fn extents_are_cut_where_the_range_is() {
        let extents = [10..20, 50..55];
        assert_eq!(cut(&extents, 0..15), Some(vec![10..20, 50..55]));
        assert_eq!(cut(&extents, 3..12), Some(vec![13..20, 50..52]));
        assert_eq!(cut(&extents, 10..15), Some(vec![50..55]));
        assert_eq!(cut(&extents, 10..16), None);
        assert_eq!(cut(&extents, 4..4), Some(vec![]));
    }
}
