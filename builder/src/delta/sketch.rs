//! What files have in common, found without comparing each with each.

use super::{
    piece::{Kind, Piece, Pieces},
    release::Release,
};
use coracle_format::bundle::Part;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
};

/// Bytes that a sketch takes together.
const WINDOW: usize = 16;
/// Of so many places, one is in a sketch.
const SAMPLE: u64 = 64;
/// Places in a sketch at most.
const SKETCH_MAX: usize = 1024;
/// A piece whose sketch shares less than one place in so many with another is not like it.
const ALIKE: usize = 16;
/// So many places must be shared for a further piece to be of use.
const FURTHER_MIN: usize = 4;
/// Pieces that are shorter have no sketch.
const SKETCH_BYTES_MIN: usize = 4096;

/// The smallest hashes of what is in a file (A. Z. Broder, "On the resemblance and containment of documents", 1997).
#[derive(Clone, Debug, Default)]
pub(super) struct Sketch(BTreeSet<u64>);

impl Sketch {
    pub(super) fn of(bytes: &[u8]) -> Self {
        const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut out = BTreeSet::new();
        if bytes.len() < SKETCH_BYTES_MIN {
            return Self(out);
        }
        for window in bytes.windows(WINDOW) {
            let half = |half: &[u8]| half.first_chunk().copied().map_or(0, u64::from_le_bytes);
            let (low, high) = (half(window), half(&window[8..]));
            // What is the same everywhere tells nothing.
            if low == high {
                continue;
            }
            let mixed = (low.wrapping_mul(FACTOR) ^ high.rotate_left(29)).wrapping_mul(FACTOR);
            let hash = mixed ^ mixed >> 32;
            if hash.is_multiple_of(SAMPLE) {
                out.insert(hash);
                if out.len() > SKETCH_MAX {
                    out.pop_last();
                }
            }
        }
        Self(out)
    }

    /// Up to where it says what is not there: a large file has smaller hashes than fit.
    fn reach(&self) -> u64 {
        if self.0.len() < SKETCH_MAX { u64::MAX } else { self.0.last().copied().unwrap_or(u64::MAX) }
    }
}

/// Sketches of the files of a release.
#[derive(Debug)]
pub(super) struct Sketches {
    /// Which pieces have a place.
    places: HashMap<u64, Vec<usize>>,
    /// Of every piece; nothing of one of which nobody wants to know.
    pub(super) all: Vec<Sketch>,
    parts: Vec<Part>,
    pub(super) lengths: Vec<usize>,
}

impl Sketches {
    pub(super) fn of(release: &Release, pieces: &Pieces) -> Self {
        let sketch = |piece: &Piece| match piece.kind {
            Kind::File => Sketch::of(&piece.bytes(release)),
            Kind::Packed | Kind::Gap => Sketch::default(),
        };
        let each = pieces.all.iter().map(|piece| (sketch(piece), piece.part, piece.len()));
        Self::new(each)
    }

    /// Of a release whose pieces are these, with their parts and lengths.
    pub(super) fn new(each: impl Iterator<Item = (Sketch, Part, usize)>) -> Self {
        let mut this =
            Self { places: HashMap::new(), all: Vec::new(), parts: Vec::new(), lengths: Vec::new() };
        for (number, (sketch, part, length)) in each.enumerate() {
            for place in &sketch.0 {
                this.places.entry(*place).or_default().push(number);
            }
            this.all.push(sketch);
            this.parts.push(part);
            this.lengths.push(length);
        }
        this
    }

    /// How many of these places each piece has.
    fn shared<'a>(&self, places: impl Iterator<Item = &'a u64>) -> BTreeMap<usize, usize> {
        let mut shared = BTreeMap::new();
        for number in places.filter_map(|place| self.places.get(place)).flatten() {
            *shared.entry(*number).or_default() += 1;
        }
        shared
    }

    /// The piece that has most of a file, if it is like it.
    pub(super) fn most_alike(&self, own: &Sketch, part: Part) -> Option<usize> {
        let rank = |(number, shared): &(usize, usize)| {
            (*shared, self.parts.get(*number) == Some(&part), usize::MAX - number)
        };
        let best = self.shared(own.0.iter()).into_iter().max_by_key(rank);
        best.filter(|(_, shared)| shared * ALIKE >= own.0.len()).map(|(number, _)| number)
    }

    /// The piece that has most of what is left of a file, of those that may be taken, if it is worth being read for that. A
    /// large file tells of fewer places than a small one: what counts is the share of those of which both tell.
    pub(super) fn most_of(&self, own: &Sketch, left: &Left, may: impl Fn(usize) -> bool) -> Option<usize> {
        let share = |(number, shared): (usize, usize)| {
            let reach = left.reach.min(self.all.get(number)?.reach());
            let count = own.0.range(..=reach).count().max(shared);
            let is_enough = shared >= FURTHER_MIN && shared * ALIKE >= count;
            (is_enough && may(number)).then(|| ((shared << 20) / count, Reverse(number)))
        };
        let best = self.shared(left.places.iter()).into_iter().filter_map(share).max();
        best.map(|(_, Reverse(number))| number)
    }
}

/// What of a file is in nothing that has been chosen for it.
#[derive(Clone, Debug)]
pub(super) struct Left {
    places: BTreeSet<u64>,
    /// Of higher places nobody knows.
    reach: u64,
}

impl Left {
    /// All of it: nothing has been chosen.
    pub(super) fn all_of(own: &Sketch) -> Self {
        Self { places: own.0.clone(), reach: own.reach() }
    }

    /// Whether it is more than three quarters of the file, as far as is known.
    pub(super) fn is_most_of(&self, own: &Sketch) -> bool {
        self.places.len() * 4 > own.0.range(..=self.reach).count() * 3
    }

    /// What is left when this is chosen too.
    pub(super) fn without(mut self, chosen: &Sketch) -> Self {
        self.reach = self.reach.min(chosen.reach());
        self.places.retain(|place| *place <= self.reach && !chosen.0.contains(place));
        self
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::digest::Digest;

    /// Bytes that are nowhere else.
    pub(in crate::delta) fn noise(seed: u32, bytes: usize) -> Vec<u8> {
        let block = |number: u32| Digest::of(&[seed.to_le_bytes(), number.to_le_bytes()].concat()).0;
        (0_u32..).flat_map(block).take(bytes).collect()
    }

    fn sketches(files: &[Vec<u8>]) -> Sketches {
        Sketches::new(files.iter().map(|file| (Sketch::of(file), Part::Root, file.len())))
    }

    /// What has most of what the first file has not.
    fn beside(sketches: &Sketches, bytes: &[u8]) -> Option<usize> {
        let own = Sketch::of(bytes);
        sketches.most_of(&own, &Left::all_of(&own).without(&sketches.all[0]), |_| true)
    }

    #[test]
    fn a_file_is_recognised_by_most_of_what_is_in_it() {
        let files = [noise(1, 100_000), noise(2, 100_000), noise(3, 5000)];
        let sketches = sketches(&files);
        let most_alike = |bytes: &[u8], part| sketches.most_alike(&Sketch::of(bytes), part);
        let changed = [&noise(9, 30_000)[..], &files[1][3..60_000]].concat();
        assert_eq!(most_alike(&changed, Part::Root), Some(1));
        assert_eq!(most_alike(&noise(4, 100_000), Part::Root), None);
        assert_eq!(most_alike(&files[2], Part::Boot), Some(2));
        assert_eq!(most_alike(&vec![0; 100_000], Part::Root), None);
    }

    #[test]
    fn what_is_new_in_a_file_may_be_in_another_one() {
        let files = [noise(1, 100_000), noise(2, 100_000), noise(3, 3_000_000)];
        let sketches = sketches(&files);
        let beside = |bytes: &[u8]| beside(&sketches, bytes);
        // A third of it is of another file.
        let both = [&files[0][..60_000], &files[1][20_000..50_000]].concat();
        assert_eq!(beside(&both), Some(1));
        // Nothing of it is, or too little; what the first one has already does not count.
        assert_eq!(beside(&[&files[0][..60_000], &noise(4, 30_000)].concat()), None);
        assert_eq!(beside(&[&files[0][..], &files[1][..2000]].concat()), None);
        assert_eq!(beside(&files[0]), None);
        // The other file is far larger: of few places both tell.
        let both = [&files[0][..30_000], &files[2][..60_000]].concat();
        assert_eq!(beside(&both), Some(2));
        let (own, left) = (Sketch::of(&both), Left::all_of(&Sketch::of(&both)));
        assert_eq!(sketches.most_of(&own, &left, |number| number == 1), None);
    }

    #[test]
    fn a_large_file_is_no_less_of_use_than_a_small_one() {
        let large = noise(1, 2_000_000);
        let files = [large.clone(), noise(2, 500_000)];
        let sketches = sketches(&files);
        assert_eq!(Sketch::of(&large).0.len(), SKETCH_MAX);
        assert_eq!(beside(&sketches, &large), None);
        let both = [&large[..1_500_000], &files[1][..]].concat();
        assert_eq!(beside(&sketches, &both), Some(1));
    }
}
