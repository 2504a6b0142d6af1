//! Which files of the new release a file behind them is made of as well: programs have libraries in common, and those have
//! changed in all of them alike.

use super::{
    piece::Piece,
    sketch::{Left, Sketch, Sketches},
};
use crate::digest::Digest;
use std::collections::HashMap;

/// A file is made of so many others of its own release at most.
const FILES_MAX: usize = 2;
/// One of them may have so many times the bytes of what is made.
const TIMES_MAX: usize = 16;

/// A file of the new release that the old one has not.
#[derive(Debug)]
pub(super) struct Changed {
    pub(super) digest: Digest,
    pub(super) own: Sketch,
    /// What of it is in nothing that was chosen of the old release.
    pub(super) left: Left,
}

/// All files of the new release that the old one has not.
#[derive(Debug)]
pub(super) struct Earlier {
    /// For each piece its digest and what is left of it, if it is such a file.
    changed: Vec<Option<(Digest, Left)>>,
    contents: HashMap<Digest, Vec<usize>>,
    sketches: Sketches,
}

impl Earlier {
    /// Of the pieces of the new release.
    pub(super) fn of(pieces: &[Piece], changed: Vec<Option<Changed>>) -> Self {
        let (mut contents, mut kept, mut sketches) = (HashMap::new(), Vec::new(), Vec::new());
        for (number, changed) in changed.into_iter().enumerate() {
            let Some(Changed { digest, own, left }) = changed else {
                kept.push(None);
                sketches.push(Sketch::default());
                continue;
            };
            contents.entry(digest).or_insert_with(Vec::new).push(number);
            kept.push(Some((digest, left)));
            sketches.push(own);
        }
        let each = sketches.into_iter().zip(pieces);
        let sketches = Sketches::new(each.map(|(sketch, piece)| (sketch, piece.part, piece.len())));
        Self { changed: kept, contents, sketches }
    }

    /// A file with the same bytes, of those that are there as a whole.
    pub(super) fn same(&self, piece: usize, is_there: impl Fn(usize) -> bool) -> Option<usize> {
        let (digest, _) = self.changed.get(piece)?.as_ref()?;
        self.contents.get(digest)?.iter().copied().find(|number| *number != piece && is_there(*number))
    }

    /// Whether hardly anything of it is in the old release. Anything else is better made of that alone: where the rest went
    /// tells more of it than the same bytes elsewhere.
    pub(super) fn is_new(&self, piece: usize) -> bool {
        let changed = self.changed.get(piece).and_then(Option::as_ref);
        changed.is_some_and(|(_, left)| left.is_most_of(&self.sketches.all[piece]))
    }

    /// Files that have some of it, the one that has most first, when of each so many bytes are there.
    pub(super) fn alike(&self, piece: usize, there: impl Fn(usize) -> usize) -> Vec<usize> {
        let Some((_, left)) = self.changed.get(piece).and_then(Option::as_ref) else { return Vec::new() };
        let (lengths, own) = (&self.sketches.lengths, &self.sketches.all[piece]);
        let most = lengths[piece].saturating_mul(TIMES_MAX);
        // Of a small part of a file its sketch says little.
        let may = |number: usize| {
            let bytes = there(number);
            number != piece && bytes >= lengths[number] / 2 && bytes <= most
        };
        let (mut left, mut found) = (left.clone(), Vec::new());
        while found.len() < FILES_MAX
            && let Some(best) = self.sketches.most_of(own, &left, may)
        {
            left = left.without(&self.sketches.all[best]);
            found.push(best);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::sketch::tests::noise;
    use coracle_format::bundle::Part;

    /// Of files the old release has nothing of.
    fn earlier(files: &[Vec<u8>]) -> Earlier {
        let piece = |file: &Vec<u8>| {
            let extents = std::iter::once(0..file.len()).collect();
            Piece::file("file", Part::Root, extents)
        };
        let pieces: Vec<Piece> = files.iter().map(piece).collect();
        let changed = |file: &Vec<u8>| {
            let own = Sketch::of(file);
            Some(Changed { digest: Digest::of(file), left: Left::all_of(&own), own })
        };
        Earlier::of(&pieces, files.iter().map(changed).collect())
    }

    #[test]
    fn files_are_chosen_by_what_they_add_and_only_those_that_are_there() {
        let [one, two, three] = [1, 2, 3].map(|seed| noise(seed, 100_000));
        let both = [&one[..], &two[..50_000]].concat();
        let last = [&two[..], &one[..60_000], &three[..20_000]].concat();
        let files = [one, two, three, both, last, noise(9, 100_000)];
        let earlier = earlier(&files);
        let alike = |piece: usize, there: &[usize]| {
            earlier.alike(piece, |number| if there.contains(&number) { files[number].len() } else { 0 })
        };
        // What the third one has of the first and the second is there with less.
        assert_eq!(alike(4, &[0, 1, 2, 3]), [3, 1]);
        assert_eq!(alike(4, &[0, 1, 2]), [1, 0]);
        assert_eq!(alike(4, &[2, 5]), [2]);
        assert!(alike(5, &[0, 1, 2, 3, 4]).is_empty());
        // Half of one is not there.
        let half = files[3].len() / 2;
        assert_eq!(earlier.alike(4, |number| if number == 3 { half } else { 0 }), [3]);
        assert!(earlier.alike(4, |number| if number == 3 { half - 1 } else { 0 }).is_empty());
    }

    #[test]
    fn a_file_is_new_if_hardly_anything_of_it_is_in_the_old_release() {
        let (old, other) = (noise(1, 100_000), noise(2, 100_000));
        for (kept, expected) in [(0, true), (15_000, true), (40_000, false), (100_000, false)] {
            let file = [&old[..kept], &other[kept..]].concat();
            let own = Sketch::of(&file);
            let left = Left::all_of(&own).without(&Sketch::of(&old));
            let piece = Piece::file("file", Part::Root, std::iter::once(0..file.len()).collect());
            let changed = Changed { digest: Digest::of(&file), own, left };
            assert_eq!(Earlier::of(&[piece], vec![Some(changed)]).is_new(0), expected, "{kept}");
        }
        assert!(!earlier(&[noise(1, 100)]).is_new(0), "a short file has no sketch");
    }

    #[test]
    fn one_that_is_much_larger_is_of_use_up_to_a_limit() {
        let files = [noise(1, 3_100_000), noise(2, 3_300_000), noise(3, 100_000)];
        let own = |of: usize| [&files[of][..50_000], &noise(7, 150_000)[..]].concat();
        for (of, expected) in [(0, vec![0]), (1, vec![])] {
            let earlier = earlier(&[&files[..], &[own(of)]].concat());
            assert_eq!(earlier.alike(3, |number| files.get(number).map_or(0, Vec::len)), expected);
        }
    }

    #[test]
    fn a_file_with_the_same_bytes_is_found_however_short_it_is() {
        let earlier = earlier(&[b"a".to_vec(), b"b".to_vec(), b"b".to_vec(), b"b".to_vec()]);
        assert_eq!(earlier.same(3, |number| number < 3), Some(1));
        assert_eq!(earlier.same(3, |number| number == 2), Some(2));
        assert_eq!(earlier.same(3, |number| number == 3), None);
        assert_eq!(earlier.same(0, |_| true), None);
    }
}
