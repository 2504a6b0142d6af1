//! Numbers of as many bytes as they need: seven bits each, the lowest first, the highest bit set while more follow.

use super::NotADelta;
use alloc::vec::Vec;

pub(super) fn put(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or(0);
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Takes fields from the front of a slice.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take<const N: usize>(&mut self) -> Result<&'a [u8; N], NotADelta> {
        let (field, rest) = self.0.split_first_chunk().ok_or(NotADelta::Length)?;
        self.0 = rest;
        Ok(field)
    }

    pub(super) fn byte(&mut self) -> Result<u8, NotADelta> {
        self.take().map(|[byte]| *byte)
    }

    /// A number in its shortest form: there is one way to write each.
    pub(super) fn number(&mut self) -> Result<u64, NotADelta> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            let placed = bits << shift;
            if placed >> shift != bits || (byte == 0 && shift > 0) {
                return Err(NotADelta::Limit);
            }
            value |= placed;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(NotADelta::Limit)
    }

    /// How many things follow: at most `limit`, and no more than there are bytes left.
    pub(super) fn count(&mut self, limit: usize) -> Result<usize, NotADelta> {
        let count = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if count > limit {
            return Err(NotADelta::Limit);
        }
        if count > self.0.len() {
            return Err(NotADelta::Length);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Result<u64, NotADelta> {
        Reader(bytes).number()
    }

    #[test]
    fn the_bytes_of_numbers_are_these() {
        for (number, bytes) in [
            (0, &[0][..]),
            (127, &[0x7f]),
            (128, &[0x80, 1]),
            (300, &[0xac, 2]),
            (u64::MAX, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        ] {
            let mut out = Vec::new();
            put(&mut out, number);
            assert_eq!(out, bytes);
            assert_eq!(read(bytes), Ok(number));
        }
    }

    #[test]
    fn a_longer_form_one_that_is_too_large_and_a_cut_one_are_refused() {
        assert_eq!(read(&[0x80, 0]), Err(NotADelta::Limit));
        assert_eq!(read(&[0xff; 10]), Err(NotADelta::Limit));
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]), Err(NotADelta::Limit));
        assert_eq!(read(&[0x80]), Err(NotADelta::Length));
    }

    proptest! {
        #[test]
        fn every_number_survives(number: u64) {
            let mut out = Vec::new();
            put(&mut out, number);
            prop_assert_eq!(read(&out), Ok(number));
        }
    }
}
