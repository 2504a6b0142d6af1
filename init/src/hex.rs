//! Hexadecimal text.

/// Lower-case hexadecimal.
pub fn encode(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]).collect()
}

/// Bytes of hexadecimal text with an even number of digits, of either case.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    if rest.is_empty() { bytes } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_are_inverse() {
        assert_eq!(encode(&[0x00, 0x7f, 0xa0]), "007fa0");
        assert_eq!(decode("007fA0"), Some(vec![0x00, 0x7f, 0xa0]));
    }

    #[test]
    fn odd_or_foreign_digits_are_refused() {
        assert_eq!(decode("abc"), None);
        assert_eq!(decode("+1"), None);
        assert_eq!(decode("zz"), None);
    }
}
