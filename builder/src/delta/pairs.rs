//! Which pieces of the old release a piece of the new one is made of.

use super::{
    piece::{Kind, Piece, Pieces},
    release::Release,
};
use crate::{digest::Digest, image::uki::Uki};
use coracle_format::bundle::Part;
use std::{
    cell::LazyCell,
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
/// So many places must be shared for a second piece to be of use, and it may have so many times the bytes of what is made:
/// a machine reads all of it.
const BESIDE_MIN: usize = 4;
const BESIDE_TIMES: usize = 8;
/// Pieces that are shorter have no sketch.
const SKETCH_BYTES_MIN: usize = 4096;

/// What a piece is made of: numbers of pieces of the old release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Base {
    /// The one that it comes from.
    pub(super) piece: usize,
    /// Another one that has much of what is new in it: a program and the library that it was linked from, or programs with a
    /// library in common.
    pub(super) beside: Option<usize>,
}

/// For each piece of the new release what it is made of, if there is anything.
pub(super) fn pair(
    (old_release, old): (&Release, &Pieces),
    (new_release, new): (&Release, &Pieces),
) -> Vec<Option<Base>> {
    let names = Names::of(&old.all);
    let rename = Rename::between(old_release, new_release);
    let contents = Contents::of(old_release, old);
    // Only if a file has changed.
    let sketches = LazyCell::new(|| Sketches::of(old_release, old));
    let find = |piece: &Piece| {
        let alone = |piece| Base { piece, beside: None };
        let bytes = piece.bytes(new_release);
        let digest = Digest::of(&bytes);
        let by_name = names.find(piece, rename.as_ref());
        let is_same = |number: &usize| contents.digests[*number] == digest;
        let same = by_name.filter(is_same).or_else(|| contents.numbers.get(&digest).copied());
        if let Some(same) = same {
            return Some(alone(same));
        }
        match piece.kind {
            Kind::File => {
                let own = Sketch::of(&bytes);
                let piece = by_name.or_else(|| sketches.most_alike(&own, piece.part))?;
                Some(Base { piece, beside: sketches.beside(&own, piece, bytes.len()) })
            }
            Kind::Gap => by_name.or_else(|| largest_gap(&old.all, piece.part)).map(alone),
            Kind::Packed => by_name.map(alone),
        }
    };
    new.all.iter().map(find).collect()
}

/// What is between files is most like the rest of that.
fn largest_gap(old: &[Piece], part: Part) -> Option<usize> {
    let gaps = old.iter().enumerate().filter(|(_, piece)| piece.kind == Kind::Gap && piece.part == part);
    gaps.max_by_key(|(number, piece)| (piece.len(), usize::MAX - number)).map(|(number, _)| number)
}

/// The kernel's version is in the names of its modules.
struct Rename {
    new: String,
    old: String,
}

impl Rename {
    fn between(old: &Release, new: &Release) -> Option<Self> {
        let uname = |release: &Release| {
            let uki = Uki::parse(release.part(Part::Boot)).ok()?;
            Some(uki.uname().ok()?.trim().to_owned())
        };
        let (new, old) = (uname(new)?, uname(old)?);
        (!new.is_empty() && new != old).then_some(Self { new, old })
    }
}

struct Names<'a>(BTreeMap<(Part, &'a str), usize>);

impl<'a> Names<'a> {
    fn of(pieces: &'a [Piece]) -> Self {
        Self(
            pieces
                .iter()
                .enumerate()
                .map(|(number, piece)| ((piece.part, piece.name.as_str()), number))
                .collect(),
        )
    }

    fn find(&self, piece: &Piece, rename: Option<&Rename>) -> Option<usize> {
        let get = |name: &str| self.0.get(&(piece.part, name)).copied();
        let renamed = || rename.and_then(|Rename { new, old }| get(&piece.name.replace(new, old)));
        get(&piece.name).or_else(renamed)
    }
}

/// Old pieces by what they hold.
struct Contents {
    numbers: HashMap<Digest, usize>,
    digests: Vec<Digest>,
}

impl Contents {
    fn of(release: &Release, pieces: &Pieces) -> Self {
        let digests: Vec<Digest> = pieces.all.iter().map(|piece| Digest::of(&piece.bytes(release))).collect();
        let mut numbers = HashMap::new();
        for (number, digest) in digests.iter().enumerate() {
            numbers.entry(*digest).or_insert(number);
        }
        Self { numbers, digests }
    }
}

/// The smallest hashes of what is in a file (A. Z. Broder, "On the resemblance and containment of documents", 1997).
#[derive(Clone, Debug, Default)]
struct Sketch(BTreeSet<u64>);

impl Sketch {
    fn of(bytes: &[u8]) -> Self {
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

/// Sketches of the old files.
struct Sketches {
    /// Which pieces have a place.
    places: HashMap<u64, Vec<usize>>,
    /// Of every piece; nothing of one that is no file.
    all: Vec<Sketch>,
    parts: Vec<Part>,
    lengths: Vec<usize>,
}

impl Sketches {
    fn of(release: &Release, pieces: &Pieces) -> Self {
        let sketch = |piece: &Piece| match piece.kind {
            Kind::File => Sketch::of(&piece.bytes(release)),
            Kind::Packed | Kind::Gap => Sketch::default(),
        };
        let each = pieces.all.iter().map(|piece| (sketch(piece), piece.part, piece.len()));
        Self::new(each)
    }

    fn new(each: impl Iterator<Item = (Sketch, Part, usize)>) -> Self {
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

    fn most_alike(&self, own: &Sketch, part: Part) -> Option<usize> {
        let rank = |(number, shared): &(usize, usize)| {
            (*shared, self.parts.get(*number) == Some(&part), usize::MAX - number)
        };
        let best = self.shared(own.0.iter()).into_iter().max_by_key(rank);
        best.filter(|(_, shared)| shared * ALIKE >= own.0.len()).map(|(number, _)| number)
    }

    /// What has most of what a file of so many bytes has not from `piece`.
    fn beside(&self, own: &Sketch, piece: usize, bytes: usize) -> Option<usize> {
        let from = self.all.get(piece)?;
        let reach = own.reach().min(from.reach());
        let is_new = |place: &&u64| !from.0.contains(place);
        let own = own.0.range(..=reach);
        let is_small = |number: usize| self.lengths[number] <= bytes.saturating_mul(BESIDE_TIMES);
        let found =
            self.shared(own.clone().filter(is_new)).into_iter().filter(|(number, _)| is_small(*number));
        let (number, shared) = found.max_by_key(|(number, shared)| (*shared, usize::MAX - number))?;
        (shared >= BESIDE_MIN && shared * ALIKE >= own.count()).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u32, bytes: usize) -> Vec<u8> {
        let block = |number: u32| Digest::of(&[seed.to_le_bytes(), number.to_le_bytes()].concat()).0;
        (0_u32..).flat_map(block).take(bytes).collect()
    }

    fn sketches(files: &[Vec<u8>]) -> Sketches {
        Sketches::new(files.iter().map(|file| (Sketch::of(file), Part::Root, file.len())))
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
        let beside = |bytes: &[u8]| sketches.beside(&Sketch::of(bytes), 0, bytes.len());
        // A third of it is of another file.
        let both = [&files[0][..60_000], &files[1][20_000..50_000]].concat();
        assert_eq!(beside(&both), Some(1));
        // Nothing of it is, or too little; what the first one has already does not count.
        assert_eq!(beside(&[&files[0][..60_000], &noise(4, 30_000)].concat()), None);
        assert_eq!(beside(&[&files[0][..], &files[1][..2000]].concat()), None);
        assert_eq!(sketches.beside(&Sketch::of(&files[0]), 0, files[0].len()), None);
        // The other file is far too large to be read for this.
        assert_eq!(beside(&[&files[0][..30_000], &files[2][..30_000]].concat()), None);
    }

    #[test]
    fn a_large_file_is_no_less_of_use_than_a_small_one() {
        let large = noise(1, 2_000_000);
        let files = [large.clone(), noise(2, 500_000)];
        let sketches = sketches(&files);
        assert_eq!(Sketch::of(&large).0.len(), SKETCH_MAX);
        assert_eq!(sketches.beside(&Sketch::of(&large), 0, large.len()), None);
        let both = [&large[..1_500_000], &files[1][..]].concat();
        assert_eq!(sketches.beside(&Sketch::of(&both), 0, both.len()), Some(1));
    }
}
