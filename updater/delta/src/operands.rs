//! Operands of new x86-64 code, told by where they go.
//!
//! What is called often is called from everywhere, each time at another distance: the address is what repeats.

use crate::{sections::Range, space::Space, words::operand_begins};

/// Bytes of an operand.
pub(crate) const BYTES: usize = 4;

/// Where there is code in the new file, and where it is in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operands<'a> {
    pub(crate) space: &'a Space,
    /// Ascending.
    pub(crate) code: &'a [Range],
}

impl Operands<'_> {
    /// The address behind the operand that seems to begin at `at`, in 32 bits. `seen` are the bytes before it, the last one
    /// lowest, with operands as they are told; `since` how many came after the last operand.
    pub(crate) fn address(&self, at: usize, seen: u64, since: usize) -> Option<u32> {
        let last = seen.to_le_bytes();
        if !operand_begins([last[2], last[1], last[0]], since) {
            return None;
        }
        let at = u64::try_from(at).ok()?;
        let behind = self.code.partition_point(|range| range.offset <= at);
        self.code.get(behind.checked_sub(1)?).filter(|range| range.holds(at))?;
        let low = self.space.address(at)? & u64::from(u32::MAX);
        Some(u32::try_from(low).ok()?.wrapping_add(4))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::Segment;

    #[test]
    fn operands_are_in_code_behind_an_opcode_that_is_in_no_operand() {
        let segments = vec![Segment { offset: 0x1000, address: 0x40_1000, bytes: 0x1000 }];
        let space = Space::new(segments).unwrap();
        let code = [Range { offset: 0x1100, bytes: 0x100 }, Range { offset: 0x1300, bytes: 0x100 }];
        let operands = Operands { space: &space, code: &code };
        let address = |at, seen, since| operands.address(at, seen, since);
        assert_eq!(address(0x1100, 0xe8, 8), Some(0x40_1104));
        assert_eq!(address(0x1301, 0x48_8d05, 8), Some(0x40_1305));
        for (at, seen, since) in [
            (0x10ff, 0xe8, 8),
            (0x1200, 0xe8, 8),
            (0x1100, 0x90, 8),
            (0x1100, 0xe8, 0),
            (0x1100, 0x48_8d05, 1),
            (0x1100, 0x0f84, 1),
        ] {
            assert_eq!(address(at, seen, since), None, "{at:x} {seen:x} {since}");
        }
    }
}
