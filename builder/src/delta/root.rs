//! Where the files of a root file system are in its image.

use super::piece::Piece;
use crate::inspection::walk;
use coracle_format::bundle::Part;
use ext4_view::{Ext4, Ext4Error};
use std::{collections::HashMap, ops::Range};

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
        let extents = blocks.claim(contents);
        if !extents.is_empty() {
            out.push(Piece::file(path, Part::Root, extents));
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
}

impl<'a> Blocks<'a> {
    fn of(image: &'a [u8]) -> Self {
        let mut places: HashMap<&[u8], Vec<usize>> = HashMap::new();
        for (number, block) in image.chunks_exact(BLOCK).enumerate().rev() {
            if block != ZEROS {
                places.entry(block).or_default().push(number);
            }
        }
        Self { image, places, claimed: vec![false; image.len() / BLOCK] }
    }

    /// Where a file's blocks are: each behind the one before it if it is there, or where nobody else's is.
    fn claim(&mut self, mut contents: Vec<u8>) -> Vec<Range<usize>> {
        contents.resize(contents.len().next_multiple_of(BLOCK), 0);
        let mut extents: Vec<Range<usize>> = Vec::new();
        for block in contents.chunks_exact(BLOCK) {
            let end = extents.last().map_or(0, |extent| extent.end);
            let Some(number) = self.find(block, end / BLOCK) else { continue };
            self.claimed[number] = true;
            let at = number * BLOCK;
            match extents.last_mut().filter(|extent| extent.end == at) {
                Some(extent) => extent.end = at + BLOCK,
                None => extents.push(at..at + BLOCK),
            }
        }
        extents
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
        let file = [block(3), block(0), block(3), block(2)].concat();
        assert_eq!(blocks.claim(file), [2 * BLOCK..6 * BLOCK]);
        // What is taken is not taken again; the last block of a file is padded with zeros.
        assert_eq!(blocks.claim(block(2)), [BLOCK..2 * BLOCK]);
        assert_eq!(blocks.claim(block(2)), NOWHERE);
        let mut short = block(9);
        short[4095] = 0;
        assert_eq!(blocks.claim(short[..4095].to_vec()), NOWHERE);
        assert_eq!(blocks.claim([block(9), block(1)].concat()), [6 * BLOCK..7 * BLOCK, 0..BLOCK]);
    }

    #[test]
    fn what_is_no_file_system_has_no_files() {
        assert_eq!(files(&[7; 3 * BLOCK]), []);
        assert_eq!(files(&[]), []);
    }
}
