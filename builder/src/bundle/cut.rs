//! Where the parts of a release are cut into frames.

use crate::{
    error::{Doing as _, Error, Kind, Result},
    image::{inspect::BOOT_BYTES_MAX, uki::Uki},
};
use coracle_format::{
    bundle::{FRAME_ALIGNMENT, FRAME_BYTES_MAX, Part},
    slot::Range,
};
use std::{fs::File, os::unix::fs::FileExt as _, path::Path};

/// A part's place in a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) part: Part,
    pub(super) range: Range,
    /// What of the part is in frames of its own: the kernel.
    apart: Range,
}

impl Place {
    /// The frames of this part, in order: they cover it without gaps.
    pub(super) fn frames(&self) -> Vec<Range> {
        cut(self.range.bytes, self.apart)
    }
}

/// The places of root and boot artefact, which are in these ranges of a file.
pub(super) fn places(file: &File, path: &Path, (root, boot): (Range, Range)) -> Result<[Place; 2]> {
    let length =
        usize::try_from(boot.bytes).ok().filter(|_| boot.bytes <= BOOT_BYTES_MAX).ok_or_else(|| {
            let message = format!(
                "cannot pack the boot artefact in {}: it has {} bytes, the limit is {BOOT_BYTES_MAX}",
                path.display(),
                boot.bytes
            );
            Error::new(Kind::TooLarge, message)
        })?;
    let mut artefact = vec![0; length];
    file.read_exact_at(&mut artefact, boot.offset).doing("read the boot artefact in", path)?;
    let kernel = Uki::parse(&artefact)?.linux_range()?;
    // Both lie within the artefact.
    let [offset, bytes] =
        [kernel.start, kernel.len()].map(|number| u64::try_from(number).unwrap_or(u64::MAX));
    let none = Range { offset: 0, bytes: 0 };
    Ok([
        Place { part: Part::Root, range: root, apart: none },
        Place { part: Part::Boot, range: boot, apart: Range { offset, bytes } },
    ])
}

/// Frames of a part of `bytes` bytes, as long as they can be, except that those with the blocks of `apart` hold nothing
/// else: what makes these frames on a machine then stands or falls alone.
fn cut(bytes: u64, apart: Range) -> Vec<Range> {
    let start = apart.offset.min(bytes) / FRAME_ALIGNMENT * FRAME_ALIGNMENT;
    let end = apart.offset.saturating_add(apart.bytes).min(bytes);
    let end = if apart.bytes == 0 { start } else { end.next_multiple_of(FRAME_ALIGNMENT).min(bytes) };
    let mut out = Vec::new();
    for piece in [0..start, start..end, end..bytes] {
        let mut at = piece.start;
        while at < piece.end {
            let frame = (piece.end - at).min(u64::from(FRAME_BYTES_MAX));
            out.push(Range { offset: at, bytes: frame });
            at += frame;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX: u64 = 4 << 20;

    fn lengths(bytes: u64, offset: u64, apart: u64) -> Vec<u64> {
        cut(bytes, Range { offset, bytes: apart }).iter().map(|frame| frame.bytes).collect()
    }

    #[test]
    fn a_part_is_cut_into_frames_of_the_greatest_length() {
        assert_eq!(lengths(2 * MAX + 8192, 0, 0), [MAX, MAX, 8192]);
        assert_eq!(lengths(MAX, 0, 0), [MAX]);
        assert_eq!(lengths(1, 0, 0), [1]);
        assert_eq!(lengths(0, 0, 0), [0; 0]);
    }

    #[test]
    fn the_kernel_is_in_frames_of_its_own() {
        assert_eq!(lengths(3 * MAX, 8192, MAX + 4096), [8192, MAX, 4096, MAX, MAX - 12_288]);
        // Blocks that it shares are its own as well.
        assert_eq!(lengths(3 * MAX, 4097, 4096), [4096, 8192, MAX, MAX, MAX - 12_288]);
        // From the first byte; to the last, in a part that is no whole block.
        assert_eq!(lengths(MAX + 5, 0, MAX), [MAX, 5]);
        assert_eq!(lengths(MAX + 5, 4096, MAX), [4096, MAX - 4091]);
    }

    proptest! {
        #[test]
        fn frames_cover_the_part_in_order_and_no_frame_crosses_a_border(
            bytes in 0..5 * MAX, offset in 0..6 * MAX, apart in 0..6 * MAX,
        ) {
            let mut at = 0;
            let start = offset / 4096 * 4096;
            let end = (offset + apart).next_multiple_of(4096);
            for frame in cut(bytes, Range { offset, bytes: apart }) {
                prop_assert_eq!((frame.offset, frame.offset % 4096), (at, 0));
                prop_assert!(frame.bytes > 0 && frame.bytes <= MAX);
                at += frame.bytes;
                let inside = frame.offset >= start && at <= end;
                prop_assert!(apart == 0 || inside || at <= start || frame.offset >= end);
            }
            prop_assert_eq!(at, bytes);
        }
    }
}
