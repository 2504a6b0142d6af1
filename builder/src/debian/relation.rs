//! Dependency fields: `a (>= 1.2) | b:any [amd64], c`.

use super::version::Version;
use crate::error::{Error, Kind, Result};
use std::fmt;

/// Most groups and alternatives in one field.
pub const RELATIONS_MAX: usize = 4096;

/// How a version must compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `<<`
    Earlier,
    /// `<=`
    AtMost,
    /// `=`
    Equal,
    /// `>=`
    AtLeast,
    /// `>>`
    Later,
}

impl Operator {
    fn parse(text: &str) -> Option<Self> {
        // A single < or > is an old spelling of <= and >=.
        Some(match text {
            "<<" => Self::Earlier,
            "<=" | "<" => Self::AtMost,
            "=" => Self::Equal,
            ">=" | ">" => Self::AtLeast,
            ">>" => Self::Later,
            _ => return None,
        })
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Earlier => "<<",
            Self::AtMost => "<=",
            Self::Equal => "=",
            Self::AtLeast => ">=",
            Self::Later => ">>",
        }
    }
}

/// One alternative: a name, perhaps with a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relation<'a> {
    /// Package or virtual package.
    pub name: &'a str,
    /// After a colon: `any`, `native`, or an architecture.
    pub qualifier: Option<&'a str>,
    /// The version asked for.
    pub version: Option<(Operator, &'a str)>,
}

impl Relation<'_> {
    /// Whether `version` is one that is asked for.
    pub fn accepts(&self, version: &str) -> bool {
        let Some((operator, wanted)) = self.version else {
            return true;
        };
        let (version, wanted) = (Version::new(version), Version::new(wanted));
        match operator {
            Operator::Earlier => version < wanted,
            Operator::AtMost => version <= wanted,
            Operator::Equal => version == wanted,
            Operator::AtLeast => version >= wanted,
            Operator::Later => version > wanted,
        }
    }
}

impl fmt::Display for Relation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        if let Some(qualifier) = self.qualifier {
            write!(f, ":{qualifier}")?;
        }
        if let Some((operator, version)) = self.version {
            write!(f, " ({} {version})", operator.text())?;
        }
        Ok(())
    }
}

/// Alternatives, any of which will do.
pub type Group<'a> = Vec<Relation<'a>>;

/// Parses a dependency field for architecture `arch`: groups that must all be met. Alternatives restricted to other
/// architectures or to a build profile are left out, and so is a group that has none left.
pub fn parse<'a>(field: &'a str, arch: &str) -> Result<Vec<Group<'a>>> {
    let mut groups = Vec::new();
    let mut count = 0;
    for group in field.split(',') {
        if group.trim().is_empty() {
            continue;
        }
        let mut alternatives = Group::new();
        for text in group.split('|') {
            count += 1;
            if count > RELATIONS_MAX {
                return Err(Error::new(
                    Kind::Hostile,
                    format!("a dependency field has more than {RELATIONS_MAX} relations"),
                ));
            }
            alternatives.extend(parse_one(text, arch)?);
        }
        if !alternatives.is_empty() {
            groups.push(alternatives);
        }
    }
    Ok(groups)
}

fn parse_one<'a>(text: &'a str, arch: &str) -> Result<Option<Relation<'a>>> {
    let bad = || Error::new(Kind::Hostile, format!("bad dependency {text:?}"));
    let trimmed = text.trim();
    let end = trimmed.find(|c: char| c.is_whitespace() || "([<".contains(c)).unwrap_or(trimmed.len());
    let (full, mut rest) = trimmed.split_at(end);
    let (name, qualifier) = match full.split_once(':') {
        Some((name, qualifier)) => (name, Some(qualifier)),
        None => (full, None),
    };
    if !is_name(name) || qualifier.is_some_and(|text| !is_name(text)) {
        return Err(bad());
    }
    let mut relation = Relation { name, qualifier, version: None };
    let mut applies = true;
    loop {
        rest = rest.trim_start();
        let Some(open) = rest.chars().next() else {
            return Ok(applies.then_some(relation));
        };
        let close = match open {
            '(' => ')',
            '[' => ']',
            '<' => '>',
            _ => return Err(bad()),
        };
        let (inside, after) = rest[1..].split_once(close).ok_or_else(bad)?;
        match open {
            '(' => relation.version = Some(parse_version(inside).ok_or_else(bad)?),
            '[' => applies &= arch_applies(inside, arch),
            _ => applies = false,
        }
        rest = after;
    }
}

fn parse_version(inside: &str) -> Option<(Operator, &str)> {
    let inside = inside.trim();
    let end = inside.find(|c| !"<>=".contains(c))?;
    let (operator, version) = inside.split_at(end);
    let version = version.trim();
    let good = !version.is_empty() && !version.contains(char::is_whitespace);
    Operator::parse(operator).filter(|_| good).map(|operator| (operator, version))
}

fn arch_applies(list: &str, arch: &str) -> bool {
    let matches = |name: &str| matches!(name, "any" | "linux-any") || name == arch;
    let mut words = list.split_whitespace();
    if list.trim_start().starts_with('!') {
        words.all(|word| !matches(word.trim_start_matches('!')))
    } else {
        words.any(matches)
    }
}

/// Whether `name` can be the name of a package.
pub fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte))
        && !name.starts_with(['-', '.'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(field: &str, arch: &str) -> Vec<String> {
        let groups = parse(field, arch).unwrap();
        let one = |group: &Group<'_>| {
            let names: Vec<_> = group.iter().map(ToString::to_string).collect();
            names.join(" | ")
        };
        groups.iter().map(one).collect()
    }

    #[test]
    fn alternatives_versions_and_qualifiers_are_understood() {
        assert_eq!(
            shown("libc6 (>= 2.38), debconf (>=0.5)|debconf-2.0 , python3:any,\n perl:any (<< 6)", "amd64"),
            ["libc6 (>= 2.38)", "debconf (>= 0.5) | debconf-2.0", "python3:any", "perl:any (<< 6)"]
        );
        assert!(shown("", "amd64").is_empty());
    }

    #[test]
    fn restrictions_to_other_architectures_drop_the_alternative() {
        let field = "a [amd64 i386], b [!amd64], c [linux-any] | d [arm64], e <!nocheck>";
        assert_eq!(shown(field, "amd64"), ["a", "c"]);
        assert_eq!(shown(field, "arm64"), ["b", "c | d"]);
    }

    #[test]
    fn each_operator_accepts_what_it_says() {
        let accepts =
            |relation: &str, version: &str| parse(relation, "amd64").unwrap()[0][0].accepts(version);
        assert!(accepts("a (<< 2)", "1.9") && !accepts("a (<< 2)", "2"));
        assert!(accepts("a (<= 2)", "2") && !accepts("a (<= 2)", "2-1"));
        assert!(accepts("a (= 2-1)", "0:2-1") && !accepts("a (= 2-1)", "2-1+b1"));
        assert!(accepts("a (>= 2)", "2") && !accepts("a (>= 2)", "2~rc1"));
        assert!(accepts("a (>> 2)", "2-1") && !accepts("a (>> 2)", "2"));
        assert!(accepts("a", "0"));
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["a b", "a (", "a (1)", "a (>= )", "(>= 1)", "a:", "a (>= 1 2)", "../a", "|a"] {
            assert!(parse(bad, "amd64").is_err(), "{bad}");
        }
        parse(&"a,".repeat(RELATIONS_MAX + 1), "amd64").unwrap_err();
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn parsing_any_text_ends_without_panic(text in "[a-z:()\\[\\]<>=!|, é0-9.]{0,40}") {
            let _outcome = parse(&text, "amd64");
        }
    }
}
