//! Versions of images that take updates: what "newer" means.

use core::fmt;

/// Components of a version at most.
const COMPONENTS_MAX: usize = 4;
/// Digits of a component at most; the largest component is 65535.
const DIGITS_MAX: usize = 5;

/// A dotted decimal version of one to four components, each at most 65535, compared component by component.
///
/// Missing components are 0: `1.2` and `1.2.0.0` are the same version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u64);

impl Version {
    /// The version that `text` states; `None` if it states none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut value = 0_u64;
        let mut components = 0;
        for part in text.split('.') {
            let decimal = part.bytes().all(|byte| byte.is_ascii_digit());
            if components == COMPONENTS_MAX || !decimal || part.len() > DIGITS_MAX {
                return None;
            }
            value = value << 16 | u64::from(part.parse::<u16>().ok()?);
            components += 1;
        }
        (components..COMPONENTS_MAX).for_each(|_| value <<= 16);
        Some(Self(value))
    }

    /// The version as a number that orders as versions do: 16 bits per component, the first one highest.
    pub const fn to_u64(self) -> u64 {
        self.0
    }

    /// The version that is this number.
    pub const fn from_u64(value: u64) -> Self {
        Self(value)
    }

    const fn components(self) -> [u64; COMPONENTS_MAX] {
        [self.0 >> 48, self.0 >> 32 & 0xffff, self.0 >> 16 & 0xffff, self.0 & 0xffff]
    }
}

impl fmt::Display for Version {
    /// Three components, and the fourth unless it is 0.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch, rest] = self.components();
        write!(f, "{major}.{minor}.{patch}")?;
        if rest == 0 { Ok(()) } else { write!(f, ".{rest}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;
    use proptest::prelude::*;

    #[test]
    fn only_one_to_four_small_decimal_components_are_a_version() {
        for good in ["0", "1", "1.2", "1.2.3", "1.2.3.4", "65535.65535.65535.65535", "26.04"] {
            assert!(Version::parse(good).is_some(), "{good}");
        }
        for bad in
            ["", ".", "1.", ".1", "1..2", "1.2.3.4.5", "65536", "000001", "+1", "-1", "1.2-rc1", "v1", "١"]
        {
            assert_eq!(Version::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn missing_components_are_zero() {
        assert_eq!(Version::parse("1.2"), Version::parse("1.2.0.0"));
        assert_eq!(Version::parse("1.2").unwrap().to_string(), "1.2.0");
    }

    #[test]
    fn numbers_and_not_letters_are_compared() {
        let parsed = ["0.9", "1.2.3", "1.2.3.1", "1.2.10", "1.10", "2", "10"]
            .map(|text| Version::parse(text).unwrap());
        assert!(parsed.is_sorted() && parsed.map(Version::to_u64).is_sorted());
    }

    proptest! {
        #[test]
        fn every_number_survives_text_and_back(value: u64) {
            let version = Version::from_u64(value);
            prop_assert_eq!(Version::parse(&version.to_string()), Some(version));
            prop_assert_eq!(version.to_u64(), value);
        }
    }
}
