//! A Debian host's apt sources, read only to learn which mirror its owner uses.

use super::deb822;
use crate::error::{Doing, Result};
use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

/// Largest file that is read.
const SOURCES_BYTES_MAX: u64 = 1 << 20;

/// Names that Debian's own suites have.
const SUITES: [&str; 14] = [
    "stable",
    "oldstable",
    "oldoldstable",
    "testing",
    "unstable",
    "sid",
    "buster",
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
    "experimental",
    "rc-buggy",
];

/// One address with the suites and components asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AptSource {
    /// Base address.
    pub uri: String,
    /// Suites, as written.
    pub suites: Vec<String>,
    /// Components, as written.
    pub components: Vec<String>,
}

impl AptSource {
    /// Whether it looks like Debian's main archive.
    pub fn is_debian(&self) -> bool {
        let known = |suite: &String| {
            let stem = ["-updates", "-backports", "-proposed-updates"]
                .iter()
                .find_map(|suffix| suite.strip_suffix(suffix))
                .unwrap_or(suite);
            SUITES.contains(&stem)
        };
        self.is_web() && self.has_main() && self.suites.iter().any(known)
    }

    /// Whether it looks like Debian's security archive.
    pub fn is_security(&self) -> bool {
        let known = |suite: &String| {
            let stem = suite.strip_suffix("-security").or_else(|| suite.strip_suffix("/updates"));
            stem.is_some_and(|stem| SUITES.contains(&stem))
        };
        self.is_web() && self.has_main() && self.suites.iter().any(known)
    }

    fn is_web(&self) -> bool {
        self.uri.starts_with("http://") || self.uri.starts_with("https://")
    }

    fn has_main(&self) -> bool {
        self.components.iter().any(|name| name == "main")
    }
}

/// Looks up the text of a mirror list (`mirror+file:/path`).
pub type Lists<'a> = &'a dyn Fn(&str) -> Option<String>;

/// All sources of the host whose apt is configured in `dir`; none if there is no such directory.
pub fn host_sources(dir: &Path) -> Result<Vec<AptSource>> {
    let parts = dir.join("sources.list.d");
    let mut files = vec![dir.join("sources.list")];
    match fs::read_dir(&parts) {
        Ok(entries) => {
            let mut found = entries
                .map(|entry| entry.map(|entry| entry.path()))
                .collect::<io::Result<Vec<PathBuf>>>()
                .doing("list", &parts)?;
            found.sort();
            files.extend(found);
        }
        Err(error) if is_absent(&error) => {}
        Err(error) => return Err(error).doing("list", &parts),
    }
    let lists = |path: &str| read_small(Path::new(path)).unwrap_or_default();
    let mut sources = Vec::new();
    for path in files {
        let parse = match path.extension().and_then(OsStr::to_str) {
            Some("list") => parse_list,
            Some("sources") => parse_deb822,
            Some(_) | None => continue,
        };
        if let Some(text) = read_small(&path).doing("read", &path)? {
            sources.extend(parse(&text, &lists));
        }
    }
    Ok(sources)
}

/// A file that its owner keeps from us, or that is gone, is as good as none.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory
    )
}

fn read_small(path: &Path) -> io::Result<Option<String>> {
    let read = || {
        if fs::metadata(path)?.len() > SOURCES_BYTES_MAX {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        fs::read(path)
    };
    match read() {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The one-line style: `deb [options] URI suite component…`. Lines that make no sense are passed over.
pub fn parse_list(text: &str, lists: Lists<'_>) -> Vec<AptSource> {
    let line = |line: &str| {
        let line = line.split('#').next()?.trim();
        let mut rest = line.strip_prefix("deb")?;
        rest = rest.strip_prefix([' ', '\t'])?.trim_start();
        if rest.starts_with('[') {
            rest = rest.split_once(']')?.1;
        }
        let mut words = rest.split_whitespace().map(str::to_owned);
        Some(AptSource {
            uri: resolve(&words.next()?, lists)?,
            suites: vec![words.next()?],
            components: words.collect(),
        })
    };
    text.lines().filter_map(line).collect()
}

/// The deb822 style: stanzas with `Types`, `URIs`, `Suites`, `Components`.
pub fn parse_deb822(text: &str, lists: Lists<'_>) -> Vec<AptSource> {
    let mut sources = Vec::new();
    for stanza in deb822::stanzas(text) {
        let words = |name: &str| -> Vec<String> {
            let value = stanza.get(name).unwrap_or_default();
            value.split_whitespace().map(str::to_owned).collect()
        };
        let enabled = stanza.get("Enabled").is_none_or(|value| !matches!(value.trim(), "no" | "false" | "0"));
        if !enabled || !words("Types").iter().any(|kind| kind == "deb") {
            continue;
        }
        for uri in words("URIs") {
            sources.extend(resolve(&uri, lists).map(|uri| AptSource {
                uri,
                suites: words("Suites"),
                components: words("Components"),
            }));
        }
    }
    sources
}

/// The address itself, or the first of the mirror list that it names.
fn resolve(uri: &str, lists: Lists<'_>) -> Option<String> {
    let Some(list) = uri.strip_prefix("mirror+file:") else {
        return Some(uri.to_owned());
    };
    let text = lists(list.strip_prefix("//").unwrap_or(list))?;
    let mut words = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .filter_map(|line| line.split_whitespace().next());
    words.next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_LISTS: Lists<'_> = &|_| None;

    #[test]
    fn both_styles_of_sources_are_understood() {
        let line = "# deb http://off.example/debian trixie main\n\
                    deb-src http://src.example/debian trixie main\n\
                    deb [arch=amd64 signed-by=/k.gpg] http://m.example/debian/ trixie main contrib # x\n";
        let stanza = "Types: deb deb-src\n# comment\nURIs: http://m.example/debian/\nSuites: trixie\n\
                      Components: main\n contrib\n\nEnabled: no\nTypes: deb\nURIs: http://off.example/debian\n\
                      Suites: trixie\nComponents: main\n";
        let expected = AptSource {
            uri: "http://m.example/debian/".to_owned(),
            suites: vec!["trixie".to_owned()],
            components: vec!["main".to_owned(), "contrib".to_owned()],
        };
        assert_eq!(parse_list(line, NO_LISTS), std::slice::from_ref(&expected));
        assert_eq!(parse_deb822(stanza, NO_LISTS), [expected]);
    }

    #[test]
    fn a_mirror_list_stands_for_its_first_address() {
        let lists = |path: &str| {
            (path == "/etc/apt/mirrors/debian.list")
                .then(|| "# ours\nhttps://m.example/debian priority:1\n".to_owned())
        };
        for uri in ["mirror+file:///etc/apt/mirrors/debian.list", "mirror+file:/etc/apt/mirrors/debian.list"]
        {
            let found = parse_list(&format!("deb {uri} trixie main"), &lists);
            assert_eq!(found[0].uri, "https://m.example/debian");
        }
    }

    #[test]
    fn only_debians_own_suites_are_recognised() {
        let source = |line: &str| parse_list(line, NO_LISTS).remove(0);
        assert!(source("deb http://m.example/debian trixie-updates main").is_debian());
        assert!(!source("deb http://m.example/ubuntu noble main").is_debian());
        assert!(!source("deb http://m.example/docker bookworm stable").is_debian());
        assert!(!source("deb cdrom:[x]/ trixie main").is_debian());
        let security = source("deb http://m.example/debian-security trixie-security main");
        assert!(security.is_security() && !security.is_debian());
    }
}
