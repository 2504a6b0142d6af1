//! Where everything of the old file is in the new one, as the copies tell.

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

/// From old offsets to new ones.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    /// By their old offsets, no two overlapping.
    copies: Vec<Copy>,
}

impl Moves {
    /// Of what was copied more than once the longer piece counts.
    pub(crate) fn new(copies: &[Copy]) -> Self {
        let mut sorted = copies.to_vec();
        sorted.sort_by_key(|copy| (copy.old, usize::MAX - copy.bytes, copy.new));
        let mut kept: Vec<Copy> = Vec::with_capacity(sorted.len());
        for mut copy in sorted {
            if let Some(last) = kept.last_mut() {
                let end = last.old + last.bytes;
                if copy.old + copy.bytes <= end {
                    continue;
                }
                if copy.old < end {
                    if copy.bytes > last.bytes && copy.old > last.old {
                        last.bytes = copy.old - last.old;
                    } else {
                        let cut = end - copy.old;
                        copy = Copy { new: copy.new + cut, old: end, bytes: copy.bytes - cut };
                    }
                }
            }
            kept.push(copy);
        }
        Self { copies: kept }
    }

    /// Where the byte at `old` is now, if a copy holds it.
    pub(crate) fn copied(&self, old: usize) -> Option<usize> {
        let next = self.copies.partition_point(|copy| copy.old <= old);
        let copy = self.copies.get(next.checked_sub(1)?)?;
        (old - copy.old < copy.bytes).then(|| copy.new + (old - copy.old))
    }

    /// Where the byte at `old` is now. What was not copied moves with its nearer neighbour.
    pub(crate) fn new_offset(&self, old: usize) -> usize {
        let moved = |copy: &Copy| (copy.new + old).saturating_sub(copy.old);
        let next = self.copies.partition_point(|copy| copy.old <= old);
        let after = self.copies.get(next);
        let Some(before) = next.checked_sub(1).and_then(|last| self.copies.get(last)) else {
            return after.map_or(old, moved);
        };
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

    const fn copy(old: usize, new: usize, bytes: usize) -> Copy {
        Copy { new, old, bytes }
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
