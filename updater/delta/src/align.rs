//! What of an old file a new one has again.
//!
//! Exact anchors are found with a hash table over the old file and followed for as long as bytes go on to agree, across
//! what differs: a reader predicts references and codes the rest, so a long copy with differences is better than many
//! short ones without. Where two copies meet, the border goes to where most bytes agree.

use crate::{limits::COPIES_MAX, moves::Copy};

/// Bytes of an anchor.
const ANCHOR: usize = 12;
/// Base-2 logarithm of the largest hash table; a small file has a small one.
const TABLE_BITS_MAX: u32 = 22;
const TABLE_BITS_MIN: u32 = 8;
/// Places that are tried for one anchor.
const TRIES: usize = 64;
/// Bytes of it that are looked at: with so many a place is good, and no other one is tried. Files have long stretches that
/// repeat themselves, and agree with all of themselves.
const LONG: usize = 4096;
/// Another place must agree in this many bytes more than where the copy goes on.
const WORTH: usize = 8;
/// And in this many more when the bytes behind the anchor are looked at as well.
const WORTH_AHEAD: usize = 6;
const AHEAD: usize = 48;
/// Bytes that a border moves at most.
const BORDER: usize = 1 << 16;
/// A border stops moving when it has got worse by this.
const PATIENCE: i64 = 32;
/// Agreeing bytes after which no other place is looked for.
const FOLLOW: usize = 16;
/// A copy that does not go on where the last one did must have more than so many bytes for every bit of the distance: fewer
/// are cheaper as new ones.
const BYTES_PER_BIT: u32 = 4;
/// And one that does must have more than so many.
const BYTES_MIN: u32 = 4;
const NONE: u32 = u32::MAX;

/// Every anchor of the old file.
struct Anchors {
    bits: u32,
    newest: Vec<u32>,
    older: Vec<u32>,
}

fn slot(anchor: &[u8; ANCHOR], bits: u32) -> usize {
    let (mut head, mut tail) = ([0; 8], [0; 4]);
    head.copy_from_slice(&anchor[..8]);
    tail.copy_from_slice(&anchor[8..]);
    let (head, tail) = (u64::from_le_bytes(head), u64::from(u32::from_le_bytes(tail)));
    let mixed = head ^ tail.rotate_left(29).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    usize::try_from(mixed.wrapping_mul(0xd6e8_feb8_6659_fd93) >> (64 - bits)).unwrap_or(0)
}

fn anchor(bytes: &[u8]) -> Option<&[u8; ANCHOR]> {
    // Bytes that are all the same are everywhere.
    bytes.first_chunk::<ANCHOR>().filter(|anchor| anchor.iter().any(|byte| *byte != anchor[0]))
}

impl Anchors {
    fn new(old: &[u8]) -> Self {
        let bits = (old.len().max(1).ilog2() + 1).clamp(TABLE_BITS_MIN, TABLE_BITS_MAX);
        let mut this = Self { bits, newest: vec![NONE; 1 << bits], older: vec![NONE; old.len()] };
        for at in 0..old.len() {
            if let (Some(anchor), Ok(place)) = (anchor(&old[at..]), u32::try_from(at)) {
                let newest = &mut this.newest[slot(anchor, bits)];
                this.older[at] = std::mem::replace(newest, place);
            }
        }
        this
    }

    /// Where the old file agrees longest with the beginning of `new`, and for how many bytes; of equal ones the one
    /// nearest to `near`.
    fn longest(&self, old: &[u8], new: &[u8], near: usize) -> Option<(usize, usize)> {
        let mut best: Option<(usize, usize)> = None;
        let mut place = self.newest[slot(anchor(new)?, self.bits)];
        for _ in 0..TRIES {
            if place == NONE {
                break;
            }
            let at = usize::try_from(place).ok()?;
            let bytes = agreeing(&old[at..], &new[..new.len().min(LONG)]);
            let is_better = best.is_none_or(|(other, most)| {
                bytes > most || (bytes == most && at.abs_diff(near) < other.abs_diff(near))
            });
            if bytes >= ANCHOR && is_better {
                best = Some((at, bytes));
            }
            if bytes >= LONG {
                break;
            }
            place = self.older[at];
        }
        best
    }
}

/// How many bytes agree from the beginning on.
fn agreeing(a: &[u8], b: &[u8]) -> usize {
    const WIDE: usize = 16;
    let wide = a.chunks_exact(WIDE).zip(b.chunks_exact(WIDE)).take_while(|(a, b)| a == b).count() * WIDE;
    wide + a[wide..].iter().zip(&b[wide..]).take_while(|(a, b)| a == b).count()
}

/// How many of the first bytes agree.
fn score(old: &[u8], from: usize, new: &[u8], bytes: usize) -> usize {
    let old = old.get(from..).unwrap_or_default();
    old.iter().zip(new).take(bytes).filter(|(a, b)| a == b).count()
}

/// The copies, by their place in the new file; they do not overlap there. `old` is at most 4 GiB.
pub(crate) fn align(old: &[u8], new: &[u8]) -> Vec<Copy> {
    let anchors = Anchors::new(old);
    let mut starts: Vec<(usize, usize)> = vec![(0, 0)];
    let mut at = 0;
    while at < new.len() {
        let (begin, origin) = starts.last().copied().unwrap_or_default();
        let follow = |at: usize| at - begin + origin;
        let same = agreeing(old.get(follow(at)..).unwrap_or_default(), &new[at..]);
        at += same;
        if same >= FOLLOW || at >= new.len() {
            continue;
        }
        let here = follow(at);
        let rest = &new[at..];
        let better = anchors.longest(old, rest, here).filter(|(place, bytes)| {
            *place != here
                && *bytes > score(old, here, rest, *bytes) + WORTH
                && score(old, *place, rest, bytes + AHEAD)
                    > score(old, here, rest, bytes + AHEAD) + WORTH_AHEAD
        });
        match better {
            Some((place, bytes)) => {
                if begin == at {
                    starts.pop();
                }
                starts.push((at, place));
                at += bytes;
            }
            None => at += 1,
        }
    }
    trim(old, new, &move_borders(old, new, starts))
}

/// Puts the beginning of every copy to where most bytes agree; gives where each begins in both files.
fn move_borders(old: &[u8], new: &[u8], mut starts: Vec<(usize, usize)>) -> Vec<(usize, usize)> {
    for number in 1..starts.len() {
        let ((begin, origin), (at, place)) = (starts[number - 1], starts[number]);
        let (mut best, mut best_back, mut sum) = (0, 0, 0_i64);
        for back in 1..=(at - begin).min(place).min(BORDER) {
            let byte = new[at - back];
            let before = old.get(at - back - begin + origin);
            sum += i64::from(old[place - back] == byte) - i64::from(before == Some(&byte));
            if sum > best {
                (best, best_back) = (sum, back);
            }
            if sum < best - PATIENCE {
                break;
            }
        }
        starts[number] = (at - best_back, place - best_back);
    }
    starts
}

/// Cuts off the ends that do not agree, and leaves out what is not worth it.
fn trim(old: &[u8], new: &[u8], starts: &[(usize, usize)]) -> Vec<Copy> {
    let ends = starts.iter().skip(1).map(|(at, _)| *at).chain([new.len()]);
    let mut last_shift = 0;
    let mut copies: Vec<Copy> = starts
        .iter()
        .zip(ends)
        .filter_map(|((at, place), end)| {
            let (mut best, mut kept, mut sum) = (0, 0, 0_i64);
            for (count, (a, b)) in (1..).zip(old.get(*place..)?.iter().zip(new.get(*at..end)?)) {
                sum += if a == b { 1 } else { -1 };
                if sum >= best {
                    (best, kept) = (sum, count);
                }
            }
            let shift = place.wrapping_sub(*at).cast_signed();
            let distance = shift.abs_diff(last_shift);
            let least = (distance.checked_ilog2().unwrap_or(0) * BYTES_PER_BIT).max(BYTES_MIN);
            (kept > usize::try_from(least).unwrap_or(usize::MAX)).then(|| {
                last_shift = shift;
                Copy { new: *at, old: *place, bytes: kept }
            })
        })
        .collect();
    longest(&mut copies, COPIES_MAX, |copy| copy.bytes);
    copies
}

/// Leaves no more than so many copies: without the shortest ones there is more to tell, but nothing is lost.
pub(crate) fn longest<T>(copies: &mut Vec<T>, most: usize, bytes: impl Fn(&T) -> usize) {
    if copies.len() > most {
        let mut lengths: Vec<usize> = copies.iter().map(&bytes).collect();
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        let least = lengths[most];
        copies.retain(|copy| bytes(copy) > least);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u32, bytes: usize) -> Vec<u8> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        (0..bytes).map(|_| next()).collect()
    }

    #[test]
    fn a_piece_that_moved_is_found_where_it_was() {
        let old = noise(1, 4000);
        let new = [&old[1000..], &noise(2, 100), &old[..1000]].concat();
        let copies = align(&old, &new);
        assert_eq!(copies.first(), Some(&Copy { new: 0, old: 1000, bytes: 3000 }));
        assert_eq!(copies.last(), Some(&Copy { new: 3100, old: 0, bytes: 1000 }));
    }

    #[test]
    fn a_copy_goes_on_across_single_differences() {
        let old = noise(3, 1000);
        let mut new = old.clone();
        for at in (50..1000).step_by(50) {
            new[at] ^= 0xff;
        }
        assert_eq!(align(&old, &new), [Copy { new: 0, old: 0, bytes: 1000 }]);
    }

    #[test]
    fn nothing_in_common_is_no_copy_of_any_length() {
        let copied: usize = align(&noise(4, 500), &noise(5, 500)).iter().map(|copy| copy.bytes).sum();
        assert!(copied < 50, "{copied}");
        assert_eq!(align(&[], &noise(6, 100)), []);
        assert_eq!(align(&noise(6, 100), &[]), []);
    }
}
