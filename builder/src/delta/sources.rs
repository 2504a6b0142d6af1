//! What a tile is made of: bytes of the old release, and of what of the new one is there before it is made.

use super::{
    piece::{Piece, Tile},
    plan::{Run, Sides, cut},
};
use coracle_format::{
    bundle::Part,
    delta::{EXTENTS_MAX, Extent, Side},
};
use std::{borrow::Cow, ops::Range};

/// Bytes that a tile is made of at most, unless one old file has more.
const BYTES_MAX: usize = 256 << 20;
/// The beginning of a file is of use to the rest of it if it has so many bytes.
const ITSELF_BYTES_MIN: usize = 1 << 20;

/// Bytes of a release that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) side: Side,
    pub(super) part: Part,
    /// Where they are in the part, one behind the other.
    pub(super) ranges: Vec<Range<usize>>,
}

impl Source {
    fn of_old(piece: &Piece) -> Self {
        Self { side: Side::Old, part: piece.part, ranges: piece.extents.clone() }
    }

    /// What is there of a piece of the new release before a run.
    fn of_new(piece: &Piece, run: &Run) -> Self {
        let end = match piece.part.cmp(&run.part) {
            std::cmp::Ordering::Less => usize::MAX,
            std::cmp::Ordering::Equal => run.range.start,
            std::cmp::Ordering::Greater => 0,
        };
        let cut = piece.extents.iter().map(|range| range.start.min(end)..range.end.min(end));
        let ranges = cut.filter(|range| !range.is_empty()).collect();
        Self { side: Side::New, part: piece.part, ranges }
    }

    /// How many bytes it has.
    pub(super) fn len(&self) -> usize {
        self.ranges.iter().map(Range::len).sum()
    }
}

/// What one tile is made of, one behind the other: the old file that a machine reads. Both its bytes here and the extents
/// that lead a machine to them come from this.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sources(Vec<Source>);

impl Sources {
    /// What a tile of a run is made of. Of a file that is new but for its name new bytes come first, and of them those of the
    /// file itself.
    pub(super) fn of(sides: &Sides<'_>, run: &Run, tile: &Tile) -> Self {
        let base = sides.pairs.base(tile.piece);
        let old = |number: usize| Source::of_old(&sides.old.1.all[number]);
        let new = |number: usize| Source::of_new(&sides.new.1.all[number], run);
        let mut room = Room { bytes: BYTES_MAX, extents: EXTENTS_MAX };
        let first = base.map(|base| old(base.piece)).filter(|first| room.take_anyway(first));
        let mut all = Vec::new();
        if sides.pairs.earlier.is_new(tile.piece) {
            all.extend(Some(new(tile.piece)).filter(|itself| itself.len() >= ITSELF_BYTES_MIN));
            let alike = sides.pairs.earlier.alike(tile.piece, |number| new(number).len());
            all.extend(alike.into_iter().map(new));
        }
        all.retain(|source| room.take(source));
        let beside = base.and_then(|base| base.beside).map(old).filter(|beside| room.take(beside));
        all.extend(first.into_iter().chain(beside));
        Self(all)
    }

    /// Where each of them ends in the bytes of all.
    pub(super) fn ends(&self) -> Vec<usize> {
        let end = |end: &mut usize, source: &Source| {
            *end += source.len();
            Some(*end)
        };
        self.0.iter().scan(0, end).collect()
    }

    /// How many bytes they have.
    pub(super) fn len(&self) -> usize {
        self.ends().last().copied().unwrap_or(0)
    }

    /// Their bytes; those of one range are not copied.
    pub(super) fn bytes<'a>(&self, sides: &Sides<'a>) -> Cow<'a, [u8]> {
        let part = |source: &Source| match source.side {
            Side::Old => sides.old.0.part(source.part),
            Side::New => sides.new.0.part(source.part),
        };
        let each = self
            .0
            .iter()
            .flat_map(|source| source.ranges.iter().map(move |range| &part(source)[range.clone()]));
        match &each.collect::<Vec<_>>()[..] {
            [one] => Cow::Borrowed(one),
            many => Cow::Owned(many.concat()),
        }
    }

    /// What leads a machine to them.
    pub(super) fn extents(&self) -> Vec<Extent> {
        extents(
            self.0.iter().flat_map(|source| {
                source.ranges.iter().map(|range| (source.side, source.part, range.clone()))
            }),
        )
    }
}

/// Where just the bytes of a tile are: in the old release, or in a file of the new one that is there as a whole before the
/// run.
pub(super) fn same(sides: &Sides<'_>, run: &Run, tile: &Tile) -> Option<Vec<Extent>> {
    if let Some(same) = sides.same(tile) {
        return Some(as_they_were(same));
    }
    let pieces = &sides.new.1.all;
    let is_there = |number: usize| Source::of_new(&pieces[number], run).len() == pieces[number].len();
    let twin = &pieces[sides.pairs.earlier.same(tile.piece, is_there)?];
    let ranges = cut(&twin.extents, tile.at..tile.at + tile.range.len())?;
    Some(extents(ranges.into_iter().map(|range| (Side::New, twin.part, range))))
}

/// What leads a machine to bytes of the old release.
pub(super) fn as_they_were(same: Vec<(Part, Range<usize>)>) -> Vec<Extent> {
    extents(same.into_iter().map(|(part, range)| (Side::Old, part, range)))
}

/// Extents for these bytes, as few as can be.
fn extents(each: impl Iterator<Item = (Side, Part, Range<usize>)>) -> Vec<Extent> {
    let mut extents: Vec<Extent> = Vec::new();
    for (side, part, range) in each {
        let (offset, bytes) = (wide(range.start), wide(range.len()));
        let is_continued = |last: &&mut Extent| {
            (last.side, last.part) == (side, part) && last.offset.saturating_add(last.bytes) == offset
        };
        match extents.last_mut().filter(is_continued) {
            Some(last) => last.bytes = last.bytes.saturating_add(bytes),
            None => extents.push(Extent { side, part, offset, bytes }),
        }
    }
    extents
}

/// How much may still be taken.
struct Room {
    bytes: usize,
    extents: usize,
}

impl Room {
    /// Whether all of a source finds room, which it has then.
    fn take(&mut self, source: &Source) -> bool {
        source.len() <= self.bytes && self.take_anyway(source)
    }

    /// The same of what counts most, however many bytes it has.
    fn take_anyway(&mut self, source: &Source) -> bool {
        let Some(extents) = self.extents.checked_sub(source.ranges.len()) else { return false };
        *self = Self { bytes: self.bytes.saturating_sub(source.len()), extents };
        true
    }
}

fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::plan::Way;

    fn source(side: Side, part: Part, ranges: &[Range<usize>]) -> Source {
        Source { side, part, ranges: ranges.to_vec() }
    }

    #[test]
    fn of_the_new_release_only_what_is_before_the_run_is_there() {
        let piece = |part| Piece::file("file", part, vec![100..200, 900..1000, 300..400]);
        let run = |part| Run { part, first: 1, frames: 1, way: Way::Files, range: 350..800 };
        let there = |piece_in, run_in| Source::of_new(&piece(piece_in), &run(run_in)).ranges;
        assert_eq!(there(Part::Root, Part::Root), [100..200, 300..350]);
        assert_eq!(there(Part::Boot, Part::Boot), [100..200, 300..350]);
        assert_eq!(there(Part::Root, Part::Boot), [100..200, 900..1000, 300..400]);
        assert_eq!(there(Part::Boot, Part::Root), [0..0; 0]);
    }

    #[test]
    fn extents_are_the_bytes_of_all_sources_in_order() {
        let sources = Sources(vec![
            source(Side::New, Part::Root, &[0..10, 10..30]),
            source(Side::Old, Part::Root, &[30..35, 35..40]),
            source(Side::Old, Part::Root, &[40..45, 60..70]),
        ]);
        assert_eq!((sources.ends(), sources.len()), (vec![30, 40, 55], 55));
        let extents: Vec<_> =
            sources.extents().iter().map(|extent| (extent.side, extent.offset, extent.bytes)).collect();
        assert_eq!(extents, [(Side::New, 0, 30), (Side::Old, 30, 15), (Side::Old, 60, 10)]);
        assert_eq!(Sources::default().len(), 0);
    }

    #[test]
    fn what_finds_no_room_is_left_out_but_for_the_file_that_all_comes_from() {
        let of = |bytes: usize| source(Side::Old, Part::Root, std::slice::from_ref(&(0..bytes)));
        let mut room = Room { bytes: 100, extents: 3 };
        assert!(room.take(&of(60)));
        assert!(!room.take(&of(41)));
        assert!(room.take(&of(40)));
        assert!(room.take_anyway(&of(1000)));
        assert!(!room.take_anyway(&of(1)), "there are no more extents");
    }
}
