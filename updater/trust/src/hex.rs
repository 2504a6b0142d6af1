//! Bytes as hexadecimal digits.

/// Lower-case hexadecimal digits of exactly so many bytes.
pub(crate) fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return None;
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}

/// Lower-case hexadecimal digits of at most so many bytes.
pub(crate) fn hex_up_to(text: &str, limit: usize) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if digits.is_empty() || !digits.len().is_multiple_of(2) || digits.len() / 2 > limit {
        return None;
    }
    digits.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

const fn digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// The digits of some bytes.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lower_case_hexadecimal_of_the_right_length_is_read() {
        assert_eq!(hex("00ff"), Some([0, 255]));
        for bad in ["", "00f", "00FF", "00fg", "00ff00", "+0ff"] {
            assert_eq!(hex::<2>(bad), None, "{bad}");
        }
        assert_eq!(hex_up_to("00ff", 2), Some(vec![0, 255]));
        for bad in ["", "00f", "00FF", "00fg", "00ff00", "+0ff"] {
            assert_eq!(hex_up_to(bad, 2), None, "{bad}");
        }
    }

    #[test]
    fn every_byte_survives_the_round_trip() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(hex_up_to(&to_hex(&all), 256), Some(all));
    }
}
