//! Stanzas of `Name: value` fields, as in InRelease, Packages and apt's sources.

use std::borrow::Cow;

/// One stanza: its lines, without the blank line behind it.
#[derive(Clone, Copy, Debug)]
pub struct Stanza<'a>(&'a str);

impl<'a> Stanza<'a> {
    /// A stanza whose lines are known already.
    pub fn new(lines: &'a str) -> Self {
        Self(lines)
    }

    /// The first value of the field `name`; continuation lines are part of it.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.fields().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// All fields in order. Comment lines and lines without a colon are passed over.
    pub fn fields(&self) -> Fields<'a> {
        Fields(self.0)
    }

    /// Its lines.
    pub fn text(&self) -> &'a str {
        self.0
    }
}

/// The fields of a stanza.
#[derive(Clone, Debug)]
pub struct Fields<'a>(&'a str);

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.0.is_empty() {
            let end = field_end(self.0);
            let (field, rest) = self.0.split_at(end);
            self.0 = rest;
            if let Some((name, value)) = field.split_once(':')
                && !name.is_empty()
                && !name.contains(['#', ' ', '\t', '\n'])
            {
                return Some((name, value.trim()));
            }
        }
        None
    }
}

/// Where the field at the start of `text` ends: before the first line that does not continue it.
fn field_end(text: &str) -> usize {
    let mut at = 0;
    loop {
        let Some(newline) = text[at..].find('\n') else {
            return text.len();
        };
        at += newline + 1;
        if !text[at..].starts_with([' ', '\t']) {
            return at;
        }
    }
}

/// The stanzas of `text`, which blank lines divide.
pub fn stanzas(text: &str) -> impl Iterator<Item = Stanza<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(['\n', '\r']);
        if rest.is_empty() {
            return None;
        }
        let (stanza, next) = match rest.find("\n\n") {
            Some(end) => rest.split_at(end + 1),
            None => (rest, ""),
        };
        rest = next;
        Some(Stanza(stanza))
    })
}

/// `text` with `\n` line ends.
pub fn unix_lines(text: &str) -> Cow<'_, str> {
    if text.contains('\r') { Cow::Owned(text.replace("\r\n", "\n")) } else { Cow::Borrowed(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stanzas_fields_and_continuations_are_told_apart() {
        let text = "\n\nA: 1\n# no: field\nB:\n x\n  y\nc: z\n\n\nA: 2";
        let found: Vec<_> = stanzas(text).collect();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].get("a"), Some("1"));
        assert_eq!(found[0].get("B"), Some("x\n  y"));
        assert_eq!(found[0].get("C"), Some("z"));
        assert_eq!(found[0].get("x"), None);
        assert_eq!(found[0].fields().count(), 3);
        assert_eq!(found[1].get("A"), Some("2"));
    }

    #[test]
    fn the_first_of_two_fields_counts() {
        assert_eq!(Stanza::new("A: 1\nA: 2\n").get("A"), Some("1"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_text_makes_it_panic_or_run_for_ever(text in "[a:#é \t\n\r]{0,60}") {
            let fields: usize = stanzas(&text).map(|stanza| stanza.fields().count()).sum();
            prop_assert!(fields <= text.len());
        }
    }
}
