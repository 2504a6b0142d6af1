//! Where packages come from: a flag, the environment, the manifest, or a Debian host's own apt configuration.

use super::apt::{self, AptSource};
use crate::{
    context::{Context, Network},
    digest::Digest,
    error::{Doing, Error, Kind, Result},
    fetch::{Fetcher, Meter, Wanted, shown},
    report::Step,
    tree::TreePath,
};
use std::{
    env, fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

const HINT: &str = "set CORACLE_MIRROR to the base address of a Debian mirror (the directory that has dists/ and pool/), \
                    or give --mirror";
const SECURITY_HINT: &str = "set CORACLE_SECURITY_MIRROR to the base address of a Debian security mirror";

/// What one source of configuration says about mirrors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// The base address.
    pub main: Option<String>,
    /// The security mirror's base address.
    pub security: Option<String>,
}

impl Wish {
    /// What `CORACLE_MIRROR` and `CORACLE_SECURITY_MIRROR` say.
    pub fn from_env() -> Self {
        let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
        Self { main: set("CORACLE_MIRROR"), security: set("CORACLE_SECURITY_MIRROR") }
    }
}

/// The base of an archive: what `dists/` and `pool/` are in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// `http://` or `https://`, without a trailing slash.
    Web(String),
    /// A directory of this machine.
    Dir(PathBuf),
}

impl Base {
    /// An address, a `file://` address, or the path of a directory.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if let Some((scheme, host)) = text.split_once("://") {
            let scheme = scheme.to_ascii_lowercase();
            let host = host.trim_end_matches('/');
            return match scheme.as_str() {
                "http" | "https" if !host.is_empty() && !host.contains(char::is_whitespace) => {
                    Ok(Self::Web(format!("{scheme}://{host}")))
                }
                "file" if host.starts_with('/') => Ok(Self::Dir(PathBuf::from(host))),
                _ => Err(not_a_mirror(text)),
            };
        }
        if text.is_empty() {
            return Err(not_a_mirror(text));
        }
        Ok(Self::Dir(PathBuf::from(text)))
    }

    /// The security archive that usually stands beside this one.
    fn security(&self) -> Option<Self> {
        match self {
            Self::Web(url) => {
                let stem = url.strip_suffix("/debian")?;
                Some(Self::Web(format!("{stem}/debian-security")))
            }
            // A vendored directory holds every pocket: their names never meet.
            Self::Dir(dir) if dir.file_name().is_some_and(|name| name == "debian") => {
                let sibling = dir.with_file_name("debian-security");
                Some(Self::Dir(if sibling.is_dir() { sibling } else { dir.clone() }))
            }
            Self::Dir(dir) => Some(Self::Dir(dir.clone())),
        }
    }

    /// A document of at most `limit` bytes at `path` below the base.
    pub(super) fn document(&self, ctx: &Context, path: &str, limit: u64, step: &Step) -> Result<Vec<u8>> {
        match self {
            Self::Web(url) => Fetcher::shared().document(ctx, &join(url, path)?, limit, step),
            Self::Dir(dir) => {
                let path = below(dir, path)?;
                let mut bytes = Vec::new();
                open(&path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes).doing("read", &path)?;
                if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
                    let text = format!("{} is larger than {limit} bytes", path.display());
                    return Err(Error::new(Kind::Hostile, text));
                }
                Ok(bytes)
            }
        }
    }

    /// The file at `path` below the base as a cache object, verified.
    pub(super) fn object(
        &self,
        ctx: &Context,
        path: &str,
        (bytes, sha256): (u64, Digest),
        meter: &Meter<'_>,
    ) -> Result<PathBuf> {
        match self {
            Self::Web(url) => {
                let url = &join(url, path)?;
                let wanted = Wanted { url, bytes, sha256 };
                Fetcher::shared().object(ctx, &wanted, meter)
            }
            Self::Dir(dir) => {
                if let Some(path) = ctx.cache.object(&sha256) {
                    meter.add(bytes);
                    return Ok(path);
                }
                let path = below(dir, path)?;
                let mut file = open(&path)?;
                let found = ctx.cache.insert(&mut file, bytes)?;
                if found != sha256 {
                    let text = format!("{} has digest {found}, but {sha256} is expected", path.display());
                    return Err(Error::new(Kind::Digest, text).hint("make the directory anew"));
                }
                meter.add(bytes);
                Ok(ctx.cache.object_path(&sha256))
            }
        }
    }

    /// Whether it answers in this run.
    pub(super) fn is_reachable(&self, ctx: &Context) -> bool {
        match (self, ctx.network) {
            (Self::Dir(_), Network::Online | Network::Offline) | (Self::Web(_), Network::Online) => true,
            (Self::Web(_), Network::Offline) => false,
        }
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Web(url) => f.write_str(&shown(url)),
            Self::Dir(dir) => write!(f, "{}", dir.display()),
        }
    }
}

fn not_a_mirror(text: &str) -> Error {
    let text = shown(text);
    Error::new(Kind::Usage, format!("{text:?} is not the address of a mirror"))
        .hint("an http:// or https:// address, or the path of a directory, is expected")
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|source| {
        let kind = if source.kind() == io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Io };
        Error::new(kind, format!("cannot open {}", path.display())).because(source)
    })
}

fn below(dir: &Path, path: &str) -> Result<PathBuf> {
    Ok(dir.join(TreePath::new(path)?.as_str()))
}

/// `path` comes from an index: it must stay below the base, and be an address without any escaping but that of `~` and `+`.
fn join(url: &str, path: &str) -> Result<String> {
    let path = TreePath::new(path)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~+:,=@".contains(&byte);
    if path.is_root() || !path.as_str().bytes().all(plain) {
        let text = format!("{:?} is not a path of a Debian archive", path.as_str());
        return Err(Error::new(Kind::Hostile, text));
    }
    Ok(format!("{url}/{}", path.as_str()))
}

/// The archives a build takes its packages from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirrors {
    /// The suite and its updates.
    pub main: Base,
    /// Its security updates.
    pub security: Base,
}

impl Mirrors {
    /// The mirrors that the flag names, or the environment, or the manifest, or else this host's apt.
    pub fn find(flag: &Wish, manifest: &Wish) -> Result<Self> {
        let wishes = [flag.clone(), Wish::from_env(), manifest.clone()];
        Self::choose(&wishes, &apt::host_sources(Path::new("/etc/apt"))?)
    }

    /// One directory that serves as both, as `coracle vendor` makes it.
    pub fn vendored(dir: &Path) -> Self {
        Self { main: Base::Dir(dir.to_owned()), security: Base::Dir(dir.to_owned()) }
    }

    /// Chooses from `wishes`, the most important first, and then from apt's sources. A security mirror is taken from
    /// the wish that names the main one or a more important wish; else it is the one beside the main mirror; else
    /// whatever else names one.
    pub fn choose(wishes: &[Wish], apt: &[AptSource]) -> Result<Self> {
        let chosen = wishes.iter().enumerate().find_map(|(index, wish)| Some((index, wish.main.as_deref()?)));
        let (index, main) = match chosen {
            Some((index, main)) => (index, Base::parse(main)?),
            None => (wishes.len(), apt_main(apt)?),
        };
        let (more, less) = wishes.split_at(wishes.len().min(index + 1));
        let first = |wishes: &[Wish]| wishes.iter().find_map(|wish| wish.security.clone());
        let of_apt = || apt.iter().find(|source| source.is_security());
        let security = if let Some(text) = first(more) {
            Base::parse(&text)?
        } else if let (None, Some(source)) = (chosen, of_apt()) {
            Base::parse(&source.uri)?
        } else if let Some(base) = main.security() {
            base
        } else if let Some(text) = first(less).or_else(|| of_apt().map(|apt| apt.uri.clone())) {
            Base::parse(&text)?
        } else {
            let text = format!("cannot tell which security mirror belongs to {main}");
            return Err(Error::new(Kind::Usage, text).hint(SECURITY_HINT));
        };
        Ok(Self { main, security })
    }

    /// The base that serves `pocket`.
    pub fn base(&self, pocket: super::Pocket) -> &Base {
        match pocket {
            super::Pocket::Main | super::Pocket::Updates => &self.main,
            super::Pocket::Security => &self.security,
        }
    }
}

fn apt_main(apt: &[AptSource]) -> Result<Base> {
    // Vendors name their suites like Debian's; a base that ends in "debian" is the better guess.
    let usable = || apt.iter().filter(|source| source.is_debian());
    let source = usable()
        .find(|source| source.uri.trim_end_matches('/').ends_with("/debian"))
        .or_else(|| usable().next())
        .ok_or_else(|| {
            let text = "no Debian mirror is configured, and this host's apt has none to take over";
            Error::new(Kind::Usage, text).hint(HINT)
        })?;
    Base::parse(&source.uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(main: Option<&str>, security: Option<&str>) -> Wish {
        Wish { main: main.map(str::to_owned), security: security.map(str::to_owned) }
    }

    fn web(url: &str) -> Base {
        Base::Web(url.to_owned())
    }

    fn apt() -> Vec<AptSource> {
        apt::parse_list(
            "deb http://browser.example/linux/deb/ stable main\n\
             deb http://m.example/debian-security bookworm-security main\n\
             deb http://m.example/debian bookworm main",
            &|_| None,
        )
    }

    #[test]
    fn the_most_important_wish_wins_and_apt_comes_last() {
        let none = wish(None, None);
        let flag = wish(Some("http://flag.example/debian/"), None);
        let manifest = wish(Some("http://manifest.example/debian"), None);
        let chosen = Mirrors::choose(&[flag, none.clone(), manifest.clone()], &apt()).unwrap();
        assert_eq!(chosen.main, web("http://flag.example/debian"));
        assert_eq!(chosen.security, web("http://flag.example/debian-security"));
        let chosen = Mirrors::choose(&[none.clone(), none.clone(), manifest], &apt()).unwrap();
        assert_eq!(chosen.main, web("http://manifest.example/debian"));
        let chosen = Mirrors::choose(&[none.clone(), none], &apt()).unwrap();
        assert_eq!(chosen.main, web("http://m.example/debian"));
        assert_eq!(chosen.security, web("http://m.example/debian-security"));
    }

    #[test]
    fn a_named_security_mirror_is_used_unless_a_more_important_main_mirror_brings_its_own() {
        let flag = wish(Some("http://flag.example/debian"), None);
        let env = wish(None, Some("http://env.example/sec"));
        let chosen = Mirrors::choose(&[flag.clone(), env.clone()], &[]).unwrap();
        assert_eq!(chosen.security, web("http://flag.example/debian-security"));
        let chosen = Mirrors::choose(&[env.clone(), flag], &[]).unwrap();
        assert_eq!(chosen.security, web("http://env.example/sec"));
        let odd = wish(Some("http://flag.example/odd"), None);
        let chosen = Mirrors::choose(&[odd.clone(), env], &[]).unwrap();
        assert_eq!(chosen.security, web("http://env.example/sec"));
        let error = Mirrors::choose(&[odd], &[]).unwrap_err();
        assert!(error.hint_text().unwrap().contains("CORACLE_SECURITY_MIRROR"));
    }

    #[test]
    fn without_any_mirror_the_error_says_how_to_name_one() {
        let error = Mirrors::choose(&[wish(None, None)], &[]).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        assert!(error.hint_text().unwrap().contains("CORACLE_MIRROR"));
    }

    #[test]
    fn a_directory_serves_as_both_mirrors() {
        for text in ["/srv/vendored/", "file:///srv/vendored"] {
            let chosen = Mirrors::choose(&[wish(Some(text), None)], &apt()).unwrap();
            assert_eq!(chosen, Mirrors::vendored(Path::new("/srv/vendored")), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_and_passwords_are_not_shown() {
        for bad in ["", "  ", "ftp://x/debian", "http://", "file://host/dir", "http://a b"] {
            assert_eq!(Base::parse(bad).unwrap_err().kind(), Kind::Usage, "{bad}");
        }
        let base = Base::parse("https://me:secret@m.example/debian").unwrap();
        assert_eq!(base.to_string(), "https://m.example/debian");
    }

    #[test]
    fn a_path_of_an_index_cannot_leave_the_base() {
        for bad in ["../x", "pool/../../x", "pool/a?b", "pool/a b", "", "a%2e%2e"] {
            assert_eq!(join("http://m", bad).unwrap_err().kind(), Kind::Hostile, "{bad}");
        }
        assert_eq!(
            join("http://m", "pool/main/l/a_1.0+b~1-2_all.deb").unwrap(),
            "http://m/pool/main/l/a_1.0+b~1-2_all.deb"
        );
    }
}
