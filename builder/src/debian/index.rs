//! Packages: what an archive has for one architecture, over all pockets.

use super::{
    Package, Pocket,
    deb822::{self, Stanza},
    relation,
    version::Version,
};
use crate::{
    digest::Digest,
    error::{Error, Kind, Result},
    tree::TreePath,
};
use std::{
    collections::{BTreeSet, HashMap},
    fmt,
};

/// Largest list of packages, uncompressed.
pub const LIST_BYTES_MAX: u64 = 256 << 20;
/// Most packages in one list.
pub const PACKAGES_MAX: usize = 400_000;
/// Largest .deb.
pub const PACKAGE_BYTES_MAX: u64 = 4 << 30;

/// The fields that are kept of a stanza; `Package` and `Provides` come first.
const FIELDS: [&str; 12] = [
    "Package",
    "Provides",
    "Version",
    "Architecture",
    "Pre-Depends",
    "Depends",
    "Multi-Arch",
    "Essential",
    "Priority",
    "Filename",
    "Size",
    "SHA256",
];

/// The parts of a Packages file that resolving needs, in the same format: one line per field, in the order of [`FIELDS`].
pub fn compact(text: &str) -> Result<String> {
    let mut out = String::with_capacity(text.len() / 2);
    for (number, stanza) in deb822::stanzas(text).enumerate() {
        if number >= PACKAGES_MAX {
            let text = format!("a list of packages has more than {PACKAGES_MAX} entries");
            return Err(Error::new(Kind::Hostile, text));
        }
        let mut values: [Option<&str>; FIELDS.len()] = [None; FIELDS.len()];
        for (name, value) in stanza.fields() {
            if let Some(at) = FIELDS.iter().position(|field| *field == name)
                && values[at].is_none()
            {
                values[at] = Some(value);
            }
        }
        if values[0].is_none_or(|name| !relation::is_name(name)) {
            let text = "a list of packages has an entry without a name";
            return Err(Error::new(Kind::Hostile, text));
        }
        for (name, value) in FIELDS.iter().zip(values) {
            if let Some(value) = value {
                out.extend([*name, ": "]);
                out.extend(value.lines().map(str::trim));
                out.push('\n');
            }
        }
        out.push('\n');
    }
    Ok(out)
}

/// Where an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    list: usize,
    start: usize,
    end: usize,
}

/// All packages of a suite for one architecture.
pub struct Index {
    suite: String,
    arch: String,
    lists: Vec<(Pocket, String)>,
    by_name: HashMap<String, Vec<Id>>,
    providers: HashMap<String, Vec<Id>>,
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (suite, arch, count) = (&self.suite, &self.arch, self.by_name.len());
        write!(f, "Index({suite} {arch}, {count} names)")
    }
}

impl Index {
    /// An index over `lists`, each the output of [`compact`].
    pub fn new(suite: &str, arch: &str, lists: Vec<(Pocket, String)>) -> Self {
        let mut index = Self {
            suite: suite.to_owned(),
            arch: arch.to_owned(),
            lists: Vec::new(),
            by_name: HashMap::new(),
            providers: HashMap::new(),
        };
        for (pocket, text) in lists {
            index.add(&text);
            index.lists.push((pocket, text));
        }
        index
    }

    fn add(&mut self, text: &str) {
        let list = self.lists.len();
        let mut start = 0;
        while let Some(length) = text[start..].find("\n\n") {
            let end = start + length + 1;
            let id = Id { list, start, end };
            let mut lines = text[start..end].lines();
            let field = |line: Option<&str>, name: &str| {
                let value = line?.strip_prefix(name)?.strip_prefix(": ")?;
                Some(value.to_owned())
            };
            if let Some(name) = field(lines.next(), "Package") {
                self.by_name.entry(name).or_default().push(id);
            }
            if let Some(provides) = field(lines.next(), "Provides") {
                for name in provided_names(&provides) {
                    self.providers.entry(name.to_owned()).or_default().push(id);
                }
            }
            start = end + 1;
        }
    }

    /// The suite.
    pub fn suite(&self) -> &str {
        &self.suite
    }

    /// The Debian architecture.
    pub fn arch(&self) -> &str {
        &self.arch
    }

    /// Names of all packages, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// The newest version of the package `name`.
    pub fn newest(&self, name: &str) -> Option<Entry<'_>> {
        let entries = self.by_name.get(name)?.iter().map(|id| self.entry(*id));
        // Among equal versions the first pocket's is taken: max_by would take the last.
        entries.filter(|entry| entry.is_for(&self.arch)).reduce(|best, next| {
            if Version::new(next.version) > Version::new(best.version) { next } else { best }
        })
    }

    /// The newest versions of the packages that provide `name`, by name.
    pub fn providers(&self, name: &str) -> Vec<Entry<'_>> {
        let ids = self.providers.get(name).map_or(&[][..], Vec::as_slice);
        let names: BTreeSet<&str> = ids.iter().map(|id| self.entry(*id).name).collect();
        names
            .into_iter()
            .filter_map(|provider| self.newest(provider))
            .filter(|entry| entry.provides(name).is_some())
            .collect()
    }

    fn entry(&self, id: Id) -> Entry<'_> {
        let (pocket, text) = &self.lists[id.list];
        Entry::parse(*pocket, &text[id.start..id.end])
    }
}

/// The names in a Provides field, without versions.
fn provided_names(field: &str) -> impl Iterator<Item = &str> {
    field.split(',').filter_map(|item| {
        let end = item.find('(').unwrap_or(item.len());
        let name = item[..end].trim();
        relation::is_name(name).then_some(name)
    })
}

/// One package of an index.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
    pocket: Pocket,
    arch: &'a str,
    stanza: Stanza<'a>,
}

/// What a provider offers under another name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provided<'a> {
    /// The name, in no version.
    Unversioned,
    /// The name in this version.
    Version(&'a str),
}

impl<'a> Entry<'a> {
    fn parse(pocket: Pocket, text: &'a str) -> Self {
        let stanza = Stanza::new(text);
        let field = |name| stanza.get(name).unwrap_or_default();
        Self {
            name: field("Package"),
            version: field("Version"),
            arch: field("Architecture"),
            pocket,
            stanza,
        }
    }

    fn is_for(&self, arch: &str) -> bool {
        !self.version.is_empty() && (self.arch == arch || self.arch == "all")
    }

    /// Its Pre-Depends and Depends fields.
    pub fn dependencies(&self) -> impl Iterator<Item = &'a str> {
        let stanza = self.stanza;
        ["Pre-Depends", "Depends"].into_iter().filter_map(move |name| stanza.get(name))
    }

    /// What it provides under `name`, if it does.
    pub fn provides(&self, name: &str) -> Option<Provided<'a>> {
        let field = self.stanza.get("Provides")?;
        field.split(',').find_map(|item| {
            let (provided, rest) = match item.split_once('(') {
                Some((provided, rest)) => (provided, Some(rest)),
                None => (item, None),
            };
            if provided.trim() != name {
                return None;
            }
            let version = rest.and_then(|rest| {
                let inside = rest.split(')').next()?.trim();
                inside.strip_prefix('=').map(str::trim)
            });
            Some(version.map_or(Provided::Unversioned, Provided::Version))
        })
    }

    /// Order among providers of the same name: the more basic package first.
    pub fn rank(&self) -> u8 {
        if self.stanza.get("Essential") == Some("yes") {
            return 0;
        }
        match self.stanza.get("Priority") {
            Some("required") => 1,
            Some("important") => 2,
            Some("standard") => 3,
            Some("optional") => 4,
            Some(_) | None => 5,
        }
    }

    /// What is needed to fetch it; an error if the index does not say it well.
    pub fn package(&self) -> Result<Package> {
        let bad = |what: &str| {
            let text = format!("the index says nothing usable about the {what} of {}", self.name);
            Error::new(Kind::Hostile, text)
        };
        let field = |name: &'static str| self.stanza.get(name).ok_or_else(|| bad(name));
        let size: u64 = field("Size")?.parse().map_err(|source| bad("Size").because(source))?;
        if size > PACKAGE_BYTES_MAX {
            return Err(bad("Size"));
        }
        let sha256: Digest = field("SHA256")?.parse().map_err(|source| bad("SHA256").because(source))?;
        let filename = TreePath::new(field("Filename")?)?;
        if filename.is_root() {
            return Err(bad("Filename"));
        }
        Ok(Package {
            name: self.name.to_owned(),
            version: self.version.to_owned(),
            arch: self.arch.to_owned(),
            pocket: self.pocket,
            filename: filename.as_str().to_owned(),
            size,
            sha256,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn index(lists: &[(Pocket, &str)]) -> Index {
        let lists = lists.iter().map(|(pocket, text)| (*pocket, compact(text).unwrap())).collect();
        Index::new("trixie", "amd64", lists)
    }

    #[test]
    fn the_newest_version_of_all_pockets_is_taken_and_a_foreign_architecture_never() {
        let index = index(&[
            (
                Pocket::Main,
                "Package: a\nVersion: 1\nArchitecture: amd64\n\nPackage: b\nVersion: 1\nArchitecture: all\n",
            ),
            (
                Pocket::Security,
                "Package: a\nVersion: 1+deb13u1\nArchitecture: amd64\n\nPackage: b\nVersion: 1\nArchitecture: all\n\n\
                 Package: a\nVersion: 9\nArchitecture: arm64\n",
            ),
        ]);
        let newest = index.newest("a").unwrap();
        assert_eq!((newest.version, newest.pocket), ("1+deb13u1", Pocket::Security));
        assert_eq!(index.newest("b").unwrap().pocket, Pocket::Main);
        assert!(index.newest("c").is_none());
    }

    #[test]
    fn the_compact_form_keeps_what_matters_and_folds_lines() {
        let text = format!(
            "Depends: libc6,\n b\nPackage: a\nDescription: long\n text\nVersion: 1\nArchitecture: amd64\n\
             Filename: pool/a.deb\nSize: 7\nSHA256: {DIGEST}\nProvides: v, w (= 2)\n"
        );
        let compact = compact(&text).unwrap();
        assert!(compact.starts_with("Package: a\nProvides: v, w (= 2)\nVersion: 1\n"));
        assert!(!compact.contains("Description"));
        let index = Index::new("trixie", "amd64", vec![(Pocket::Main, compact)]);
        let a = index.newest("a").unwrap();
        assert_eq!(a.dependencies().collect::<Vec<_>>(), ["libc6,b"]);
        assert_eq!(a.provides("v"), Some(Provided::Unversioned));
        assert_eq!(a.provides("w"), Some(Provided::Version("2")));
        assert_eq!(a.provides("x"), None);
        assert_eq!(index.providers("w").len(), 1);
        let package = a.package().unwrap();
        assert_eq!((package.filename.as_str(), package.size), ("pool/a.deb", 7));
    }

    #[test]
    fn an_entry_that_points_out_of_the_archive_is_refused() {
        for (name, value) in [
            ("Filename", "../../etc/passwd"),
            ("Filename", "/"),
            ("Size", "-1"),
            ("Size", "99999999999999"),
            ("SHA256", "abc"),
        ] {
            let good = format!(
                "Package: a\nVersion: 1\nArchitecture: amd64\nFilename: pool/a.deb\nSize: 7\nSHA256: {DIGEST}\n"
            );
            let lines = good.lines().map(|line| {
                let replaced = line.starts_with(name).then(|| format!("{name}: {value}"));
                replaced.unwrap_or_else(|| line.to_owned())
            });
            let text = lines.collect::<Vec<_>>().join("\n");
            let index = index(&[(Pocket::Main, &text)]);
            let error = index.newest("a").unwrap().package().unwrap_err();
            assert_eq!(error.kind(), Kind::Hostile, "{name}: {value}");
        }
    }

    #[test]
    fn a_nameless_entry_is_refused() {
        compact("Version: 1\n").unwrap_err();
        compact("Package: ../x\n").unwrap_err();
        assert_eq!(compact("").unwrap(), "");
    }
}
