//! Which piece of the old release a piece of the new one is made of.

use super::{
    piece::{Kind, Piece, Pieces},
    release::Release,
};
use crate::{digest::Digest, image::uki::Uki};
use coracle_format::bundle::Part;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Bytes that a sketch takes together.
const WINDOW: usize = 16;
/// Of so many places, one is in a sketch.
const SAMPLE: u64 = 64;
/// Places in a sketch at most.
const SKETCH_MAX: usize = 1024;
/// A piece whose sketch shares less than one place in so many with another is not like it.
const ALIKE: usize = 16;
/// Pieces that are shorter have no sketch.
const SKETCH_BYTES_MIN: usize = 4096;

/// For each piece of the new release the number of the old one that it is made of, if there is one.
pub(super) fn pair(
    (old_release, old): (&Release, &Pieces),
    (new_release, new): (&Release, &Pieces),
) -> Vec<Option<usize>> {
    let names = Names::of(&old.all);
    let rename = Rename::between(old_release, new_release);
    let contents = Contents::of(old_release, old);
    let mut out: Vec<Option<usize>> = Vec::with_capacity(new.all.len());
    for piece in &new.all {
        let by_name = names.find(piece, rename.as_ref());
        let digest = Digest::of(&piece.bytes(new_release));
        let is_same = |number: &usize| contents.digests[*number] == digest;
        let same = || contents.numbers.get(&digest).copied();
        out.push(by_name.filter(is_same).or_else(same).or(by_name));
    }
    let left: Vec<usize> = (0..new.all.len()).filter(|number| out[*number].is_none()).collect();
    if left.is_empty() {
        return out;
    }
    let sketches = Sketches::of(old_release, old);
    for number in left {
        let piece = &new.all[number];
        out[number] = match piece.kind {
            Kind::Gap => largest_gap(&old.all, piece.part),
            Kind::File => sketches.most_alike(&piece.bytes(new_release), piece.part),
            Kind::Packed => None,
        };
    }
    out
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

/// Old pieces by the smallest hashes of what is in them (A. Z. Broder, "On the resemblance and containment of documents",
/// 1997).
struct Sketches {
    /// Which pieces have a place.
    places: HashMap<u64, Vec<usize>>,
    parts: Vec<Part>,
}

impl Sketches {
    fn of(release: &Release, pieces: &Pieces) -> Self {
        let mut places: HashMap<u64, Vec<usize>> = HashMap::new();
        for (number, piece) in pieces.all.iter().enumerate().filter(|(_, piece)| piece.kind == Kind::File) {
            for place in sketch(&piece.bytes(release)) {
                places.entry(place).or_default().push(number);
            }
        }
        Self { places, parts: pieces.all.iter().map(|piece| piece.part).collect() }
    }

    fn most_alike(&self, bytes: &[u8], part: Part) -> Option<usize> {
        let own = sketch(bytes);
        let mut shared: BTreeMap<usize, usize> = BTreeMap::new();
        for number in own.iter().filter_map(|place| self.places.get(place)).flatten() {
            *shared.entry(*number).or_default() += 1;
        }
        let rank = |(number, shared): &(usize, usize)| {
            (*shared, self.parts.get(*number) == Some(&part), usize::MAX - number)
        };
        let best = shared.into_iter().max_by_key(rank);
        best.filter(|(_, shared)| shared * ALIKE >= own.len()).map(|(number, _)| number)
    }
}

fn sketch(bytes: &[u8]) -> BTreeSet<u64> {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut out = BTreeSet::new();
    if bytes.len() < SKETCH_BYTES_MIN {
        return out;
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
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u32, bytes: usize) -> Vec<u8> {
        let block = |number: u32| Digest::of(&[seed.to_le_bytes(), number.to_le_bytes()].concat()).0;
        (0_u32..).flat_map(block).take(bytes).collect()
    }

    fn sketches(files: &[Vec<u8>]) -> Sketches {
        let mut places: HashMap<u64, Vec<usize>> = HashMap::new();
        for (number, file) in files.iter().enumerate() {
            for place in sketch(file) {
                places.entry(place).or_default().push(number);
            }
        }
        Sketches { places, parts: vec![Part::Root; files.len()] }
    }

    #[test]
    fn a_file_is_recognised_by_most_of_what_is_in_it() {
        let files = [noise(1, 100_000), noise(2, 100_000), noise(3, 5000)];
        let sketches = sketches(&files);
        let changed = [&noise(9, 30_000)[..], &files[1][3..60_000]].concat();
        assert_eq!(sketches.most_alike(&changed, Part::Root), Some(1));
        assert_eq!(sketches.most_alike(&noise(4, 100_000), Part::Root), None);
        assert_eq!(sketches.most_alike(&files[2], Part::Boot), Some(2));
        assert_eq!(sketches.most_alike(&vec![0; 100_000], Part::Root), None);
    }
}
