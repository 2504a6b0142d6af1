//! Short texts of a fixed size.

use core::fmt;

/// At most `N` bytes of text, without NUL. What does not fit is cut off at a character.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<const N: usize>([u8; N]);

impl<const N: usize> Text<N> {
    /// No text.
    pub const EMPTY: Self = Self([0; N]);

    /// As much of `text` as fits, up to the first NUL.
    pub fn cut(text: &str) -> Self {
        let mut end = text.bytes().take(N).position(|byte| byte == 0).unwrap_or_else(|| N.min(text.len()));
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let mut bytes = [0; N];
        for (to, from) in bytes.iter_mut().zip(text.bytes().take(end)) {
            *to = from;
        }
        Self(bytes)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(N);
        core::str::from_utf8(&self.0[..end]).unwrap_or_default()
    }

    /// Padded with zeros.
    pub(crate) const fn bytes(&self) -> &[u8; N] {
        &self.0
    }

    /// `None` unless it is UTF-8 followed by zeros only.
    pub(crate) fn parse(bytes: [u8; N]) -> Option<Self> {
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(N);
        let padded = bytes[end..].iter().all(|byte| *byte == 0);
        (padded && core::str::from_utf8(&bytes[..end]).is_ok()).then_some(Self(bytes))
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_does_not_fit_is_cut_at_a_character() {
        assert_eq!(Text::<4>::cut("abcé").as_str(), "abc");
        assert_eq!(Text::<5>::cut("abcé").as_str(), "abcé");
        assert_eq!(Text::<5>::cut("a\0b").as_str(), "a");
    }

    #[test]
    fn bytes_behind_the_end_and_broken_characters_are_no_text() {
        assert_eq!(Text::parse(*b"ab\0\0"), Some(Text::<4>::cut("ab")));
        assert_eq!(Text::<4>::parse(*b"a\0b\0"), None);
        assert_eq!(Text::<2>::parse([0xc3, 0]), None);
    }
}
