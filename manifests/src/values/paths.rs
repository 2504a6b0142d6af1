//! Paths on the computer that builds, paths in the image, file modes.

use super::{Bad, form, quoted, text_newtype};
use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

/// Longest path.
const PATH_MAX: usize = 4094;
/// Longest component of a path.
const COMPONENT_MAX: usize = 255;

text_newtype!(
    /// A file or directory on the computer that builds, as the manifest writes it. Only [`HostPath::resolve`] makes a
    /// path of it, so nobody can forget what it is relative to.
    HostPath
);

form!(
    HostPath,
    "host-path",
    ["site/index.html"],
    "A path on the computer that builds, relative to the manifest's directory."
);

impl HostPath {
    /// The path, relative to `directory` unless it is absolute.
    pub fn resolve(&self, directory: &Path) -> PathBuf {
        directory.join(&self.0)
    }
}

impl FromStr for HostPath {
    type Err = Bad;

    fn from_str(text: &str) -> Result<Self, Bad> {
        let fine = !text.is_empty() && text.len() <= PATH_MAX && !text.contains(char::is_control);
        if fine {
            return Ok(Self(text.to_owned()));
        }
        Err(Bad::new(format!("{} is not a path", quoted(text)))
            .hint("write a path relative to the manifest's directory, for example \"site/index.html\""))
    }
}

text_newtype!(
    /// An absolute path in the image or in a container: no `.`, no `..`, no double or final slash.
    GuestPath
);

form!(
    GuestPath,
    "path",
    ["/etc/nginx/nginx.conf"],
    "An absolute path in the image or container, without `.`, `..`, or a slash at its end."
);

impl GuestPath {
    /// Whether it is `/`.
    pub fn is_root(&self) -> bool {
        self.0 == "/"
    }

    /// Whether it is `directory` or below it.
    pub fn is_within(&self, directory: &str) -> bool {
        let rest = self.0.strip_prefix(directory.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl FromStr for GuestPath {
    type Err = Bad;

    fn from_str(text: &str) -> Result<Self, Bad> {
        let bad = |why: &str| Bad::new(format!("{} is not a path in the image: {why}", quoted(text)));
        let Some(rest) = text.strip_prefix('/') else {
            return Err(bad("it does not begin with a slash")
                .hint("write it absolute, for example \"/etc/nginx/nginx.conf\""));
        };
        if text.len() > PATH_MAX || text.contains(char::is_control) {
            return Err(bad("it is too long or has control characters"));
        }
        for component in rest.split('/') {
            match component {
                "." | ".." => {
                    return Err(
                        bad(&format!("{component:?} is not allowed")).hint("write the path it leads to")
                    );
                }
                "" if !rest.is_empty() => {
                    return Err(bad("it has a double slash or one at its end")
                        .hint("write one slash between names and none at the end"));
                }
                long if long.len() > COMPONENT_MAX => {
                    return Err(bad("one of its names is longer than 255 bytes"));
                }
                _ => {}
            }
        }
        Ok(Self(text.to_owned()))
    }
}

/// Permission bits of a file, written in octal: `"0644"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode(pub u16);

form!(Mode, "mode", ["0644", "0755"], "Permission bits, three or four octal digits.");

impl FromStr for Mode {
    type Err = Bad;

    fn from_str(text: &str) -> Result<Self, Bad> {
        let octal = matches!(text.len(), 3 | 4) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
        octal.then(|| u16::from_str_radix(text, 8).ok()).flatten().map(Self).ok_or_else(|| {
            Bad::new(format!("{} is not a file mode", quoted(text)))
                .hint("write three or four octal digits, for example \"0644\"")
        })
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_in_the_image_are_absolute_and_plain() {
        for bad in ["", "etc", "/a/../b", "/./a", "//a", "/a/", "/a\n", &format!("/{}", "x".repeat(256))] {
            assert!(bad.parse::<GuestPath>().is_err(), "{bad:?}");
        }
        assert!("/".parse::<GuestPath>().unwrap().is_root());
    }

    #[test]
    fn within_does_not_mistake_a_namesake() {
        let path: GuestPath = "/etc/coracle2".parse().unwrap();
        assert!(!path.is_within("/etc/coracle"));
        assert!(path.is_within("/etc") && path.is_within("/etc/coracle2") && path.is_within("/"));
    }

    #[test]
    fn modes_are_octal() {
        assert_eq!("1777".parse(), Ok(Mode(0o1777)));
        for bad in ["", "7", "0888", "0o644", "+644", "00644"] {
            assert!(bad.parse::<Mode>().is_err(), "{bad}");
        }
    }
}
