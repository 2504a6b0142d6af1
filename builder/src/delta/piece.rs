//! A release taken apart: every byte of it belongs to one piece, and a piece is what has a counterpart in another
//! release: a file of the root, a file of the initramfs, the kernel, or what is between them.

use super::{boot, release::Release, root};
use coracle_format::bundle::Part;
use std::{borrow::Cow, collections::BTreeSet, ops::Range};

/// Bytes of a release that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// What a person would call it; no two pieces of a part have the same name.
    pub(crate) name: String,
    /// The part that it is in.
    pub(crate) part: Part,
    /// Where its bytes are in the part, one behind the other.
    pub(crate) extents: Vec<Range<usize>>,
    /// Which of these are no places of its own: a file system does not store blocks of zeros, and they are read elsewhere.
    pub(crate) holes: BTreeSet<usize>,
    /// What it is.
    pub(crate) kind: Kind,
}

/// What a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A file.
    File,
    /// One zstd frame that holds the kernel.
    Packed,
    /// What is between files.
    Gap,
}

impl Piece {
    pub(super) fn file(name: impl Into<String>, part: Part, extents: Vec<Range<usize>>) -> Self {
        Self { name: name.into(), part, extents, holes: BTreeSet::new(), kind: Kind::File }
    }

    /// How many bytes it has.
    pub(crate) fn len(&self) -> usize {
        self.extents.iter().map(Range::len).sum()
    }

    /// Its bytes.
    pub(crate) fn bytes<'a>(&self, release: &'a Release) -> Cow<'a, [u8]> {
        let part = release.part(self.part);
        match &self.extents[..] {
            [one] => Cow::Borrowed(&part[one.clone()]),
            many => many.iter().flat_map(|extent| &part[extent.clone()]).copied().collect(),
        }
    }
}

/// Bytes of a part that are bytes of a piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tile {
    /// Which piece.
    pub(crate) piece: usize,
    /// Where in the piece they begin.
    pub(crate) at: usize,
    /// Where in the part they are.
    pub(crate) range: Range<usize>,
}

/// All pieces of a release, and for each part the tiles that cover it, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pieces {
    pub(crate) all: Vec<Piece>,
    root: Vec<Tile>,
    boot: Vec<Tile>,
}

impl Pieces {
    /// Takes a release apart. What cannot be read as it should be is one piece: that costs bytes, nothing else.
    pub(crate) fn of(release: &Release) -> Self {
        let [root, boot] = Part::ALL.map(|part| release.part(part));
        Self::of_parts(root, boot)
    }

    /// The same for a root and a boot artefact.
    pub(super) fn of_parts(root: &[u8], boot: &[u8]) -> Self {
        let mut this = Self::default();
        this.root = this.add(Part::Root, root.len(), root::files(root));
        this.boot = this.add(Part::Boot, boot.len(), boot::files(boot));
        this
    }

    /// The tiles of a part.
    pub(crate) fn tiles(&self, part: Part) -> &[Tile] {
        match part {
            Part::Root => &self.root,
            Part::Boot => &self.boot,
        }
    }

    /// Adds the files of a part, which do not overlap, and what is between them.
    fn add(&mut self, part: Part, length: usize, files: Vec<Piece>) -> Vec<Tile> {
        let (first, mut tiles, mut gaps) = (self.all.len(), Vec::new(), Vec::new());
        for (number, file) in files.iter().enumerate() {
            let mut at = 0;
            for (extent, range) in file.extents.iter().enumerate() {
                if !file.holes.contains(&extent) {
                    tiles.push(Tile { piece: first + number, at, range: range.clone() });
                }
                at += range.len();
            }
        }
        tiles.sort_by_key(|tile| tile.range.start);
        let mut end = 0;
        let behind = tiles.iter().map(|tile| (tile.range.clone(), files[tile.piece - first].name.as_str()));
        for (range, name) in behind.chain([(length..length, "the end")]) {
            if end < range.start {
                let place = end..range.start;
                let gap = Piece::file(format!("before {name}"), part, vec![place]);
                gaps.push(Piece { kind: Kind::Gap, ..gap });
            }
            end = range.end;
        }
        name_apart(&mut gaps);
        self.all.extend(files);
        for gap in gaps {
            tiles.extend(gap.extents.iter().map(|range| Tile {
                piece: self.all.len(),
                at: 0,
                range: range.clone(),
            }));
            self.all.push(gap);
        }
        tiles.sort_by_key(|tile| tile.range.start);
        tiles
    }
}

/// A file in several extents can have several gaps before it.
fn name_apart(gaps: &mut [Piece]) {
    let mut seen = std::collections::BTreeMap::new();
    for gap in gaps {
        let count: &mut usize = seen.entry(gap.name.clone()).or_default();
        if *count > 0 {
            gap.name = format!("{} ({count})", gap.name);
        }
        *count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every byte is in one tile, and the tiles of a piece are its bytes in order.
    fn check(pieces: &Pieces, tiles: &[Tile], length: usize) {
        let mut end = 0;
        for tile in tiles {
            assert_eq!(tile.range.start, end);
            end = tile.range.end;
        }
        assert_eq!(end, length);
        for (number, piece) in pieces.all.iter().enumerate() {
            let mut own: Vec<&Tile> = tiles.iter().filter(|tile| tile.piece == number).collect();
            own.sort_by_key(|tile| tile.at);
            let (mut at, mut places) = (0, Vec::new());
            for (extent, range) in piece.extents.iter().enumerate() {
                if !piece.holes.contains(&extent) {
                    places.push((at, range.clone()));
                }
                at += range.len();
            }
            let own: Vec<_> = own.iter().map(|tile| (tile.at, tile.range.clone())).collect();
            assert_eq!(own, places, "{}", piece.name);
        }
    }

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "extents are ranges")]
    fn what_is_between_files_is_named_by_what_follows() {
        let mut pieces = Pieces::default();
        // The second extent of `a` is a hole: what is there belongs to somebody else.
        let holes = BTreeSet::from([1]);
        let files = vec![
            Piece { holes, ..Piece::file("a", Part::Root, vec![100..5000, 5500..5600, 20_000..21_000]) },
            Piece::file("b", Part::Root, vec![5000..6000]),
        ];
        let tiles = pieces.add(Part::Root, 30_000, files);
        check(&pieces, &tiles, 30_000);
        let names: Vec<_> = pieces.all.iter().map(|piece| piece.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "before a", "before a (1)", "before the end"]);
    }

    proptest! {
        #[test]
        fn whatever_the_files_are_every_byte_is_covered_once(
            cuts in prop::collection::btree_set(0_usize..100_000, 2..40),
            owners in prop::collection::vec(0_usize..8, 40),
        ) {
            let cuts: Vec<usize> = cuts.into_iter().collect();
            let mut files: Vec<Piece> = (0..8).map(|number| Piece::file(number.to_string(), Part::Boot, vec![])).collect();
            for (pair, owner) in cuts.chunks_exact(2).zip(owners) {
                files[owner].extents.push(pair[0]..pair[1]);
            }
            files.retain(|file| !file.extents.is_empty());
            let mut pieces = Pieces::default();
            let tiles = pieces.add(Part::Boot, 100_000, files);
            check(&pieces, &tiles, 100_000);
        }
    }
}
