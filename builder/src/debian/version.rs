//! Debian version numbers: their total order.

use std::{cmp::Ordering, fmt};

/// A Debian version: `[epoch:]upstream[-revision]`. Any text has a place in the order; versions that differ only in
/// ways Debian does not distinguish (`1.0` and `1.00`, `1` and `0:1-0`) are equal.
#[derive(Clone, Copy, Debug)]
pub struct Version<'a> {
    epoch: &'a str,
    upstream: &'a str,
    revision: &'a str,
}

impl<'a> Version<'a> {
    /// Splits a version into its parts.
    pub fn new(text: &'a str) -> Self {
        let (epoch, rest) = match text.split_once(':') {
            Some((epoch, rest)) if is_number(epoch) => (epoch, rest),
            _ => ("", text),
        };
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        Self { epoch, upstream, revision }
    }

    /// Whether it packs this release of the program, with Debian's additions or without: `1.5.7+dfsg-1` packs `1.5.7`.
    pub fn packs(&self, release: &str) -> bool {
        self.upstream.split('+').next() == Some(release)
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl Ord for Version<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        compare_numbers(self.epoch, other.epoch)
            .then_with(|| compare_parts(self.upstream, other.upstream))
            .then_with(|| compare_parts(self.revision, other.revision))
    }
}

impl PartialOrd for Version<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version<'_> {}

impl fmt::Display for Version<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.epoch.is_empty() {
            write!(f, "{}:", self.epoch)?;
        }
        f.write_str(self.upstream)?;
        if !self.revision.is_empty() {
            write!(f, "-{}", self.revision)?;
        }
        Ok(())
    }
}

/// Alternates between a run of other characters and a run of digits, until one differs.
fn compare_parts(mut a: &str, mut b: &str) -> Ordering {
    loop {
        let (a_word, a_rest) = split_while(a, |byte| !byte.is_ascii_digit());
        let (b_word, b_rest) = split_while(b, |byte| !byte.is_ascii_digit());
        let (a_number, a_next) = split_while(a_rest, |byte| byte.is_ascii_digit());
        let (b_number, b_next) = split_while(b_rest, |byte| byte.is_ascii_digit());
        let order = compare_words(a_word, b_word).then_with(|| compare_numbers(a_number, b_number));
        if order != Ordering::Equal || (a_next.is_empty() && b_next.is_empty()) {
            return order;
        }
        (a, b) = (a_next, b_next);
    }
}

fn split_while(text: &str, keep: impl Fn(u8) -> bool) -> (&str, &str) {
    let end = text.bytes().position(|byte| !keep(byte)).unwrap_or(text.len());
    text.split_at(end)
}

/// `~` sorts before the end of the word, the end before letters, letters before everything else.
fn compare_words(a: &str, b: &str) -> Ordering {
    let rank = |byte: Option<u8>| match byte {
        Some(b'~') => (0, 0),
        None => (1, 0),
        Some(byte) if byte.is_ascii_alphabetic() => (2, byte),
        Some(byte) => (3, byte),
    };
    let (mut a, mut b) = (a.bytes(), b.bytes());
    loop {
        let (left, right) = (a.next(), b.next());
        let order = rank(left).cmp(&rank(right));
        if order != Ordering::Equal || left.is_none() {
            return order;
        }
    }
}

/// Numbers of any length, without converting them.
fn compare_numbers(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn versions_order_as_debian_policy_says() {
        let rising = [
            "~~",
            "~~a",
            "~",
            "",
            "1.0~alpha1",
            "1.0~beta1~svn1245",
            "1.0~beta1",
            "1.0~rc1",
            "1.0",
            "1.0-1~bpo12+1",
            "1.0-1",
            "1.0-1+b1",
            "1.0-1+deb13u1",
            "1.0-1.1",
            "1.0-2",
            "1.0-10",
            "1.0a",
            "1.0b",
            "1.0+a",
            "1.0.1",
            "1.2.24",
            "1.10.2",
            "99999999999999999999999",
            "100000000000000000000000",
            "1:0.1",
            "1:1.0",
            "2:0",
            "10:0",
        ];
        for pair in rising.windows(2) {
            let (low, high) = (Version::new(pair[0]), Version::new(pair[1]));
            assert!(low < high, "{} < {}", pair[0], pair[1]);
            assert!(high > low, "{} > {}", pair[1], pair[0]);
        }
    }

    #[test]
    fn versions_that_debian_does_not_distinguish_are_equal() {
        for (a, b) in [
            ("1.0", "0:1.0"),
            ("1.0", "1.0-0"),
            ("1.0", "1.0-"),
            ("1.01", "1.1"),
            ("001", "1"),
            ("1.a0", "1.a"),
        ] {
            assert_eq!(Version::new(a), Version::new(b), "{a} = {b}");
        }
    }

    fn version() -> impl Strategy<Value = String> {
        "([0-3]:)?[0-2a~+.]{0,5}(-[0-1a~.]{0,3})?"
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_order_is_total(a in version(), b in version(), c in version()) {
            let (a, b, c) = (Version::new(&a), Version::new(&b), Version::new(&c));
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            if a <= b && b <= c {
                prop_assert!(a <= c);
            }
            if a == b {
                prop_assert_eq!(a.cmp(&c), b.cmp(&c));
            }
        }

        #[test]
        fn any_text_has_a_place(a in any::<String>(), b in any::<String>()) {
            prop_assert_eq!(Version::new(&a).cmp(&Version::new(&a)), Ordering::Equal);
            prop_assert_eq!(Version::new(&a).cmp(&Version::new(&b)), Version::new(&b).cmp(&Version::new(&a)).reverse());
        }
    }
}
