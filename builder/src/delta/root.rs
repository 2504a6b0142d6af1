//! Where the files of a root file system are in its image.

use super::piece::Piece;
use crate::inspection::walk;
use coracle_format::bundle::Part;
use ext4_view::{Ext4, Ext4Error};
use std::{
    collections::{BTreeSet, HashMap},
    ops::Range,
};

/// Files begin at multiples of this.
const BLOCK: usize = 4096;
const ZEROS: [u8; BLOCK] = [0; BLOCK];

/// Every regular file, as far as the file system can be read. What cannot be read is no file.
pub(super) fn files(image: &[u8]) -> Vec<Piece> {
    try_files(image).unwrap_or_default()
}

fn try_files(image: &[u8]) -> Result<Vec<Piece>, Ext4Error> {
    let fs = Ext4::load(Box::new(image.to_vec()))?;
    let mut paths = walk(&fs)?;
    paths.sort();
    let mut blocks = Blocks::of(image);
    let mut out = Vec::new();
    // Of a file system that is what it says, all files together are smaller than the image.
    let mut left = u64::try_from(image.len()).unwrap_or(u64::MAX);
    for (path, bytes) in paths {
        let Some(rest) = left.checked_sub(bytes).filter(|_| bytes > 0) else { continue };
        left = rest;
        // A name that is not UTF-8 is not found again.
        let Ok(contents) = fs.read(path.as_str()) else { continue };
        let (extents, holes) = blocks.claim(contents);
        if holes.len() < extents.len() {
            out.push(Piece { holes, ..Piece::file(path, Part::Root, extents) });
        }
    }
    Ok(out)
}

/// The blocks of an image by what they hold. Where a file is follows from its contents alone: what the file system says
/// about places need not be believed.
struct Blocks<'a> {
    image: &'a [u8],
    /// Whoever holds these bytes, the last one first.
    places: HashMap<&'a [u8], Vec<usize>>,
    claimed: Vec<bool>,
    /// Where there are as many zeros as a block has, on a border of blocks or not.
    zeros: Option<Range<usize>>,
}

impl<'a> Blocks<'a> {
    fn of(image: &'a [u8]) -> Self {
        let mut places: HashMap<&[u8], Vec<usize>> = HashMap::new();
        for (number, block) in image.chunks_exact(BLOCK).enumerate().rev() {
            if block != ZEROS {
                places.entry(block).or_default().push(number);
            }
        }
        let zeros = zeros(image);
        Self { image, places, claimed: vec![false; image.len() / BLOCK], zeros }
    }

    /// Where a file's blocks are: each behind the one before it if it is there, or where nobody else's is; and which of
    /// these are holes.
    fn claim(&mut self, mut contents: Vec<u8>) -> (Vec<Range<usize>>, BTreeSet<usize>) {
        contents.resize(contents.len().next_multiple_of(BLOCK), 0);
        let (mut extents, mut holes): (Vec<Range<usize>>, _) = (Vec::new(), BTreeSet::new());
        let mut next = 0;
        for block in contents.chunks_exact(BLOCK) {
            let Some(number) = self.find(block, next) else {
                if let Some(zeros) = self.zeros.clone().filter(|_| block == ZEROS) {
                    holes.insert(extents.len());
                    extents.push(zeros);
                }
                continue;
            };
            self.claimed[number] = true;
            next = number + 1;
            let at = number * BLOCK;
            let last = extents.len().wrapping_sub(1);
            match extents.last_mut().filter(|extent| extent.end == at && !holes.contains(&last)) {
                Some(extent) => extent.end = at + BLOCK,
                None => extents.push(at..at + BLOCK),
            }
        }
        (extents, holes)
    }

    fn find(&mut self, block: &[u8], next: usize) -> Option<usize> {
        let at = next * BLOCK;
        let follows =
            next > 0 && self.claimed.get(next) == Some(&false) && self.image[at..at + BLOCK] == *block;
        if follows {
            return Some(next);
        }
        let places = self.places.get_mut(block)?;
        while let Some(number) = places.pop() {
            if !self.claimed[number] {
                return Some(number);
            }
        }
        None
    }
}

/// The first place with as many zeros as a block has.
fn zeros(image: &[u8]) -> Option<Range<usize>> {
    let mut begin = 0;
    for (at, byte) in image.iter().enumerate() {
        if *byte != 0 {
            begin = at + 1;
        } else if at + 1 - begin == BLOCK {
            return Some(begin..at + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOWHERE: [Range<usize>; 0] = [];

    fn block(byte: u8) -> Vec<u8> {
        vec![byte; BLOCK]
    }

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "extents are ranges")]
    fn a_file_is_where_its_blocks_are_one_behind_the_other() {
        let image = [block(1), block(2), block(3), block(0), block(3), block(2), block(9)].concat();
        let mut blocks = Blocks::of(&image);
        let mut claim = |contents: Vec<u8>| blocks.claim(contents).0;
        assert_eq!(claim([block(3), block(0), block(3), block(2)].concat()), [2 * BLOCK..6 * BLOCK]);
        // What is taken is not taken again; the last block of a file is padded with zeros.
        assert_eq!(claim(block(2)), [BLOCK..2 * BLOCK]);
        assert_eq!(claim(block(2)), NOWHERE);
        let mut short = block(9);
        short[4095] = 0;
        assert_eq!(claim(short[..4095].to_vec()), NOWHERE);
        assert_eq!(claim([block(9), block(1)].concat()), [6 * BLOCK..7 * BLOCK, 0..BLOCK]);
    }

    #[test]
    fn blocks_of_zeros_that_are_not_stored_are_read_where_there_are_zeros() {
        // The zeros are not on a border of blocks.
        let mut image = [block(1), block(2), block(3), block(4), block(0), block(4)].concat();
        image[4 * BLOCK..4 * BLOCK + 10].fill(1);
        image[5 * BLOCK..5 * BLOCK + 10].fill(0);
        let mut blocks = Blocks::of(&image);
        let (extents, holes) = blocks.claim([block(1), block(0), block(0), block(2), block(3)].concat());
        let zeros = 4 * BLOCK + 10..5 * BLOCK + 10;
        assert_eq!(extents, [0..BLOCK, zeros.clone(), zeros, BLOCK..3 * BLOCK]);
        assert_eq!(holes, BTreeSet::from([1, 2]));
        // Where there are none, nobody can read them.
        let mut blocks = Blocks::of(&image[..4 * BLOCK]);
        assert_eq!(blocks.claim([block(1), block(0), block(2)].concat()).1, BTreeSet::new());
    }

    #[test]
    fn what_is_no_file_system_has_no_files() {
        assert_eq!(files(&[7; 3 * BLOCK]), []);
        assert_eq!(files(&[]), []);
    }
}
