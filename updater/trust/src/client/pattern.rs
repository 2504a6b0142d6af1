//! Which paths a delegated role may speak of.

use crate::{hex::to_hex, json::Value};
use sha2::{Digest as _, Sha256};

/// Bytes of a pattern at most.
const PATTERN_BYTES_MAX: usize = 512;

/// Whether a delegation's `paths` or `path_hash_prefixes` has the path. `None` if it has not exactly one of both, or one
/// that could be read in two ways.
pub(super) fn delegates(delegation: &Value, path: &str) -> Option<bool> {
    match (delegation.get("paths"), delegation.get("path_hash_prefixes")) {
        (Some(patterns), None) => {
            let mut found = false;
            for pattern in patterns.list()? {
                // Sets of characters are not in the specification, though some clients read them.
                let is_plain = |pattern: &&str| pattern.len() <= PATTERN_BYTES_MAX && !pattern.contains('[');
                found |= matches(pattern.text().filter(is_plain)?, path);
            }
            Some(found)
        }
        (None, Some(prefixes)) => {
            let digest = to_hex(&Sha256::digest(path));
            let mut found = false;
            for prefix in prefixes.list()? {
                found |= digest.starts_with(prefix.text()?);
            }
            Some(found)
        }
        (Some(_), Some(_)) | (None, None) => None,
    }
}

/// `*` is any number of characters, `?` is one; neither is a slash.
fn matches(pattern: &str, path: &str) -> bool {
    let (mut patterns, mut parts) = (pattern.split('/'), path.split('/'));
    loop {
        match (patterns.next(), parts.next()) {
            (Some(pattern), Some(part)) if matches_part(pattern, part) => {}
            (None, None) => return true,
            (Some(_), _) | (None, Some(_)) => return false,
        }
    }
}

/// In time of one times the other: only the last star is ever gone back to.
fn matches_part(pattern: &str, part: &str) -> bool {
    let (pattern, part): (Vec<char>, Vec<char>) = (pattern.chars().collect(), part.chars().collect());
    let (mut at, mut seen, mut star) = (0, 0, None);
    while seen < part.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(wanted) if *wanted == '?' || part.get(seen) == Some(wanted) => {
                at += 1;
                seen += 1;
            }
            Some(_) | None => match star {
                Some((from, covered)) => {
                    star = Some((from, covered + 1));
                    at = from + 1;
                    seen = covered + 1;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(at).all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stars_and_question_marks_stay_between_slashes() {
        for (pattern, path) in [
            ("*", "a"),
            ("*", "*"),
            ("stable/*", "stable/x-x86_64.json"),
            ("foo-?.tgz", "foo-1.tgz"),
            ("a*b*c", "aXbbYc"),
            ("*a*", "bab"),
            ("a**", "a"),
            ("releases/*/*", "releases/x/y"),
            ("ä?", "äö"),
        ] {
            assert!(matches(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("*", "a/b"),
            ("stable/*", "stable/x/y"),
            ("stable/*", "beta/x"),
            ("stable/*", "stable"),
            ("foo-?.tgz", "foo-alpha.tgz"),
            ("foo-?.tgz", "foo-.tgz"),
            ("a?b", "a/b"),
            ("a*b*c", "aXbY"),
            ("*.md", "README.MD"),
            ("", "a"),
        ] {
            assert!(!matches(pattern, path), "{pattern} {path}");
        }
    }

    #[test]
    fn a_delegation_has_patterns_or_prefixes_and_not_both() {
        let ask = |text: &str| delegates(&Value::parse(text.as_bytes()).unwrap(), "a/b");
        assert_eq!(ask(r#"{"paths":["x","a/*"]}"#), Some(true));
        assert_eq!(ask(r#"{"paths":[]}"#), Some(false));
        let digest = to_hex(&Sha256::digest("a/b"));
        assert_eq!(ask(&format!(r#"{{"path_hash_prefixes":["{}"]}}"#, &digest[..3])), Some(true));
        assert_eq!(ask(r#"{"path_hash_prefixes":["xyz"]}"#), Some(false));
        for bad in [
            "{}",
            r#"{"paths":["a/*"],"path_hash_prefixes":[]}"#,
            r#"{"paths":["a/*",1]}"#,
            r#"{"paths":["a/*","[ab]"]}"#,
            r#"{"path_hash_prefixes":"a"}"#,
        ] {
            assert_eq!(ask(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_path_matches_itself_with_any_part_starred(path in "[a-c]{1,4}(/[a-c]{1,4}){0,3}", at: prop::sample::Index) {
            let parts: Vec<&str> = path.split('/').collect();
            let at = at.index(parts.len());
            let starred: Vec<&str> = parts.iter().enumerate().map(|(i, part)| if i == at { "*" } else { part }).collect();
            prop_assert!(matches(&path, &path));
            prop_assert!(matches(&starred.join("/"), &path));
        }

        #[test]
        fn the_quick_way_agrees_with_the_plain_definition(pattern in "[ab*?]{0,7}", part in "[ab]{0,7}") {
            fn plain(pattern: &[u8], part: &[u8]) -> bool {
                match pattern.split_first() {
                    None => part.is_empty(),
                    Some((b'*', rest)) => (0..=part.len()).any(|skip| plain(rest, &part[skip..])),
                    Some((wanted, rest)) => part.split_first().is_some_and(|(found, others)| {
                        (wanted == found || *wanted == b'?') && plain(rest, others)
                    }),
                }
            }
            prop_assert_eq!(matches_part(&pattern, &part), plain(pattern.as_bytes(), part.as_bytes()));
        }
    }
}
