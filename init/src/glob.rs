//! Matching of module aliases: `*`, `?` and `[…]` as in modules.alias.

/// Whether `text` matches `pattern` as a whole. Takes at most pattern × text steps, whatever the pattern.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut seen) = (0, 0);
    // Where to go on when the text after the last star did not fit: one byte further.
    let mut retry: Option<(usize, usize)> = None;
    while seen < text.len() || at < pattern.len() {
        if pattern.get(at) == Some(&b'*') {
            retry = Some((at + 1, seen));
            at += 1;
            continue;
        }
        match (step(&pattern[at..], text.get(seen).copied()), retry) {
            (Some(width), _) => {
                at += width;
                seen += 1;
            }
            (None, Some((after_star, from))) if from < text.len() => {
                retry = Some((after_star, from + 1));
                at = after_star;
                seen = from + 1;
            }
            (None, Some(_) | None) => return false,
        }
    }
    true
}

/// The width of the pattern's first element if it matches `byte`.
fn step(pattern: &[u8], byte: Option<u8>) -> Option<usize> {
    let byte = byte?;
    match pattern.first()? {
        b'?' => Some(1),
        b'[' => match class(pattern) {
            Some((width, set)) => in_class(set, byte).then_some(width),
            // Without a closing bracket it stands for itself.
            None => (byte == b'[').then_some(1),
        },
        literal => (*literal == byte).then_some(1),
    }
}

/// Width and inside of the bracket expression at the start of `pattern`.
fn class(pattern: &[u8]) -> Option<(usize, &[u8])> {
    // A closing bracket right after the opening one belongs to the set.
    let close = pattern.iter().skip(2).position(|byte| *byte == b']')? + 2;
    Some((close + 1, &pattern[1..close]))
}

fn in_class(set: &[u8], byte: u8) -> bool {
    let (negated, mut set) = match set {
        [b'!' | b'^', rest @ ..] if !rest.is_empty() => (true, rest),
        plain => (false, plain),
    };
    let mut found = false;
    while let Some((first, rest)) = set.split_first() {
        set = if let [b'-', last, after @ ..] = rest {
            found |= (*first..=*last).contains(&byte);
            after
        } else {
            found |= *first == byte;
            rest
        };
    }
    found != negated
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn aliases_match_as_the_kernel_writes_them() {
        assert!(matches("virtio:d00000002v*", "virtio:d00000002v00001AF4"));
        assert!(!matches("virtio:d00000002v*", "virtio:d00000001v00001AF4"));
        assert!(matches("pci:v00008086d000025ABsv*sd*bc*sc*i*", "pci:v00008086d000025ABsv1sd2bc08sc80i00"));
        assert!(matches("usb:v*p*d*dc*dsc*dp*ic08isc0[4-6]ip50in*", "usb:v1p2d3dc0dsc0dp0ic08isc05ip50in00"));
        assert!(!matches("of:N*T*Cbrcm,bcm2835-pm-wdt", "of:NwatchdogT(null)Cbrcm,bcm2835-pm-wdtX"));
    }

    #[test]
    fn brackets_know_ranges_negation_and_a_leading_bracket() {
        assert!(matches("[]a]", "]"));
        assert!(matches("x[!0-9]", "xa"));
        assert!(!matches("x[!0-9]", "x5"));
        assert!(matches("[", "["));
        assert!(matches("a[-z]", "a-"));
    }

    #[test]
    fn a_pattern_that_could_explode_ends_soon() {
        assert!(!matches(&"*a".repeat(40), &"a".repeat(39)));
        assert!(!matches(&format!("{}b", "a*".repeat(200)), &"a".repeat(5000)));
    }

    proptest! {
        #[test]
        fn every_text_matches_itself_and_a_star(text in "[a-zA-Z0-9:,-]{0,40}", cut in 0_usize..40) {
            prop_assert!(matches(&text, &text));
            prop_assert!(matches("*", &text));
            let cut = cut.min(text.len());
            let pattern = format!("{}*", &text[..cut]);
            prop_assert!(matches(&pattern, &text));
        }

        #[test]
        fn no_pattern_makes_it_panic(pattern in "[]\\[!^*?a-c-]{0,12}", text in "[]\\[!a-c-]{0,12}") {
            prop_assert_eq!(matches(&pattern, &text), matches(&pattern, &text));
        }
    }
}
