//! Distinguished encoding (X.690) of the few things a signature is made of.

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const NULL: [u8; 2] = [0x05, 0];
pub(super) const OBJECT: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
/// `[0]`, constructed.
pub(super) const CONTEXT_0: u8 = 0xa0;
/// `[2]`, constructed.
pub(super) const CONTEXT_2: u8 = 0xa2;

/// One value: tag, length, contents.
pub(super) fn value(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let contents = parts.concat();
    let mut out = vec![tag];
    let length = contents.len().to_be_bytes();
    let significant = length.iter().skip_while(|byte| **byte == 0).copied().collect::<Vec<_>>();
    match significant[..] {
        [] => out.push(0),
        [short] if short < 0x80 => out.push(short),
        _ => {
            out.push(0x80 | u8::try_from(significant.len()).unwrap_or(8));
            out.extend_from_slice(&significant);
        }
    }
    out.extend_from_slice(&contents);
    out
}

/// A value that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Read<'a> {
    pub(super) tag: u8,
    pub(super) contents: &'a [u8],
    /// With its tag and length.
    pub(super) whole: &'a [u8],
}

/// The first value in `bytes`, and what follows it. `None`: there is none, or its length is not that of this encoding.
pub(super) fn read(bytes: &[u8]) -> Option<(Read<'_>, &[u8])> {
    let [tag, first, rest @ ..] = bytes else {
        return None;
    };
    let (length, rest) = match usize::from(*first) {
        short @ 0..0x80 => (short, rest),
        long => {
            let (bytes, rest) = rest.split_at_checked(long & 0x7f)?;
            if bytes.is_empty() || bytes.len() > 4 || bytes.first() == Some(&0) {
                return None;
            }
            (bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    let whole = bytes.get(..bytes.len() - rest.len())?;
    Some((Read { tag: *tag, contents, whole }, rest))
}

/// The values inside another.
pub(super) fn inside(mut contents: &[u8]) -> Option<Vec<Read<'_>>> {
    let mut out = Vec::new();
    while !contents.is_empty() {
        let (value, rest) = read(contents)?;
        out.push(value);
        contents = rest;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_have_their_shortest_form() {
        assert_eq!(value(SEQUENCE, &[])[..], [0x30, 0]);
        assert_eq!(value(SEQUENCE, &[&[1; 127]])[..2], [0x30, 127]);
        assert_eq!(value(SEQUENCE, &[&[1; 128]])[..3], [0x30, 0x81, 128]);
        assert_eq!(value(SEQUENCE, &[&[1; 256]])[..4], [0x30, 0x82, 1, 0]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(contents in proptest::collection::vec(any::<u8>(), 0..700)) {
            let bytes = [value(OCTET_STRING, &[&contents]), vec![9]].concat();
            let (read, rest) = read(&bytes).unwrap();
            prop_assert_eq!((read.tag, read.contents, rest), (OCTET_STRING, &contents[..], &[9][..]));
        }

        #[test]
        fn any_bytes_are_values_or_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let sum: usize = inside(&bytes).unwrap_or_default().iter().map(|value| value.whole.len()).sum();
            prop_assert!(sum == 0 || sum == bytes.len());
        }
    }
}
