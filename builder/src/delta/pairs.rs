//! Which pieces of the old release a piece of the new one is made of.

use super::{
    earlier::{Changed, Earlier},
    piece::{Kind, Piece, Pieces},
    release::Release,
    sketch::{Left, Sketch, Sketches},
};
use crate::{digest::Digest, image::uki::Uki};
use coracle_format::bundle::Part;
use std::{
    cell::LazyCell,
    collections::{BTreeMap, HashMap},
};

/// A second piece may have so many times the bytes of what is made: a machine reads all of it.
const BESIDE_TIMES: usize = 8;

/// What a piece is made of: numbers of pieces of the old release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Base {
    /// The one that it comes from.
    pub(super) piece: usize,
    /// Another one that has much of what is new in it: a program and the library that it was linked from, or programs with a
    /// library in common.
    pub(super) beside: Option<usize>,
}

/// What the pieces of the new release are made of.
#[derive(Debug)]
pub(super) struct Pairs {
    /// For each piece what it has of the old release, if there is anything.
    bases: Vec<Option<Base>>,
    /// What it has of the new one.
    pub(super) earlier: Earlier,
}

impl Pairs {
    /// What a piece has of the old release.
    pub(super) fn base(&self, piece: usize) -> Option<Base> {
        self.bases.get(piece).copied().flatten()
    }
}

/// Finds for every piece of the new release what it is made of.
pub(super) fn pair(
    (old_release, old): (&Release, &Pieces),
    (new_release, new): (&Release, &Pieces),
) -> Pairs {
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
            return (Some(alone(same)), None);
        }
        match piece.kind {
            Kind::File => {
                let own = Sketch::of(&bytes);
                let first = by_name.or_else(|| sketches.most_alike(&own, piece.part));
                let (base, left) = with_beside(&sketches, &own, (first, bytes.len()));
                (base, Some(Changed { digest, own, left }))
            }
            Kind::Gap => (by_name.or_else(|| largest_gap(&old.all, piece.part)).map(alone), None),
            Kind::Packed => (by_name.map(alone), None),
        }
    };
    let (bases, changed): (_, Vec<_>) = new.all.iter().map(find).unzip();
    Pairs { bases, earlier: Earlier::of(&new.all, changed) }
}

/// Another piece for a file of so many bytes that comes from the first one, and what is in neither.
fn with_beside(
    sketches: &Sketches,
    own: &Sketch,
    (first, bytes): (Option<usize>, usize),
) -> (Option<Base>, Left) {
    let left = Left::all_of(own);
    let Some(piece) = first else { return (None, left) };
    let without = |left: Left, number: usize| left.without(&sketches.all[number]);
    let left = without(left, piece);
    let is_small = |number: usize| sketches.lengths[number] <= bytes.saturating_mul(BESIDE_TIMES);
    let beside = sketches.most_of(own, &left, is_small);
    let left = beside.into_iter().fold(left, without);
    (Some(Base { piece, beside }), left)
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
