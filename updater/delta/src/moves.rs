//! Where everything of the old file is in the new one, as the copies tell.

use std::cell::Cell;

/// A piece of the old file that the new file has again, give or take some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Copy {
    /// Where it begins in the new file.
    pub(crate) new: usize,
    /// Where it begins in the old file.
    pub(crate) old: usize,
    /// Its bytes, at least one.
    pub(crate) bytes: usize,
}

/// The same in half the memory: no file reaches beyond 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packed {
    new: u32,
    old: u32,
    bytes: u32,
}

impl From<Copy> for Packed {
    fn from(Copy { new, old, bytes }: Copy) -> Self {
        let [new, old, bytes] = [new, old, bytes].map(|number| u32::try_from(number).unwrap_or(u32::MAX));
        Self { new, old, bytes }
    }
}

impl From<Packed> for Copy {
    fn from(Packed { new, old, bytes }: Packed) -> Self {
        let [new, old, bytes] = [new, old, bytes].map(|number| usize::try_from(number).unwrap_or(usize::MAX));
        Self { new, old, bytes }
    }
}

/// Base-2 logarithm of the bytes of the old file that one entry of the index stands for, at least.
const SHARE: u32 = 8;
/// Base-2 logarithm of the most entries.
const INDEX_BITS: u32 = 16;

/// From old offsets to new ones.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    /// By their old offsets, no two overlapping.
    copies: Vec<Packed>,
    /// How many copies begin before the bytes that an entry stands for: that many of them need not be looked at.
    index: Vec<u32>,
    share: u32,
    /// The copy that was asked for last: mostly it is asked for again.
    last: Cell<Option<Copy>>,
}

impl Moves {
    /// Of what was copied more than once the longer piece counts.
    pub(crate) fn new(copies: &[Packed]) -> Self {
        let mut copies = copies.to_vec();
        copies.sort_unstable_by_key(|copy| (copy.old, u32::MAX - copy.bytes, copy.new));
        let mut kept = 0_usize;
        for number in 0..copies.len() {
            let mut copy = Copy::from(copies[number]);
            if let Some(previous) = kept.checked_sub(1) {
                let last = Copy::from(copies[previous]);
                let end = last.old + last.bytes;
                if copy.old + copy.bytes <= end {
                    continue;
                }
                if copy.old < end {
                    if copy.bytes > last.bytes && copy.old > last.old {
                        copies[previous] = Copy { bytes: copy.old - last.old, ..last }.into();
                    } else {
                        let cut = end - copy.old;
                        copy = Copy { new: copy.new + cut, old: end, bytes: copy.bytes - cut };
                    }
                }
            }
            copies[kept] = copy.into();
            kept += 1;
        }
        copies.truncate(kept);
        Self::indexed(copies)
    }

    fn indexed(copies: Vec<Packed>) -> Self {
        let end = copies.last().map_or(0, |copy| copy.old);
        let share = SHARE.max(u32::BITS.saturating_sub(end.leading_zeros()).saturating_sub(INDEX_BITS));
        let mut index = vec![0_u32];
        for copy in &copies {
            let entry = usize::try_from(copy.old >> share).unwrap_or(0) + 1;
            let before = index.last().copied().unwrap_or(0);
            index.resize(entry.max(index.len() - 1) + 1, before);
            if let Some(last) = index.last_mut() {
                *last += 1;
            }
        }
        Self { copies, index, share, last: Cell::default() }
    }

    /// Where the byte at `old` is now, if the copy holds it that was asked for last.
    #[inline]
    fn again(&self, old: usize) -> Option<usize> {
        let copy = self.last.get()?;
        let inside = old.wrapping_sub(copy.old);
        (inside < copy.bytes).then(|| copy.new + inside)
    }

    /// The last copy that begins at `old` or before, and the one after it.
    fn around(&self, old: usize) -> (Option<Copy>, Option<Copy>) {
        let entry = old >> self.share;
        let count = |entry: usize| self.index.get(entry).map(|count| usize::try_from(*count).unwrap_or(0));
        let from = count(entry).unwrap_or(self.copies.len());
        let to = count(entry + 1).unwrap_or(self.copies.len());
        let few = self.copies.get(from..to).unwrap_or_default();
        let next =
            from + few.partition_point(|copy| usize::try_from(copy.old).is_ok_and(|begin| begin <= old));
        let copy = |number: usize| self.copies.get(number).map(|copy| Copy::from(*copy));
        (next.checked_sub(1).and_then(copy), copy(next))
    }

    /// Where the byte at `old` is now, if a copy holds it.
    pub(crate) fn copied(&self, old: usize) -> Option<usize> {
        if let Some(moved) = self.again(old) {
            return Some(moved);
        }
        let copy = self.around(old).0?;
        self.last.set(Some(copy));
        (old - copy.old < copy.bytes).then(|| copy.new + (old - copy.old))
    }

    /// Where the byte at `old` is now. What was not copied moves with its nearer neighbour.
    pub(crate) fn new_offset(&self, old: usize) -> usize {
        if let Some(moved) = self.again(old) {
            return moved;
        }
        let moved = |copy: Copy| (copy.new + old).saturating_sub(copy.old);
        let (before, after) = self.around(old);
        let Some(before) = before else { return after.map_or(old, moved) };
        self.last.set(Some(before));
        let end = before.old + before.bytes;
        match after {
            Some(after) if old >= end && after.old - old < old - end => moved(after),
            Some(_) | None => moved(before),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(old: usize, new: usize, bytes: usize) -> Packed {
        Copy { new, old, bytes }.into()
    }

    #[test]
    fn what_lies_between_two_copies_moves_with_the_nearer_one() {
        let moves = Moves::new(&[copy(100, 200, 10), copy(150, 300, 10)]);
        for (old, new) in [(100, 200), (109, 209), (115, 215), (140, 290), (155, 305), (1000, 1150), (0, 100)]
        {
            assert_eq!(moves.new_offset(old), new, "{old}");
        }
    }

    #[test]
    fn of_two_copies_of_the_same_the_longer_one_counts() {
        let moves = Moves::new(&[copy(0, 1000, 10), copy(5, 0, 100)]);
        assert_eq!(moves.new_offset(4), 1004);
        assert_eq!(moves.new_offset(7), 2);
        let moves = Moves::new(&[copy(0, 1000, 100), copy(95, 0, 10)]);
        assert_eq!(moves.new_offset(97), 1097);
        assert_eq!(moves.new_offset(102), 7);
    }

    #[test]
    fn without_copies_nothing_moves() {
        assert_eq!(Moves::new(&[]).new_offset(77), 77);
    }
}
