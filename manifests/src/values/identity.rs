//! Names: of images, containers, packages, kernel modules, mirrors.

use super::{Bad, form, made_of, quoted, text_newtype};
use std::str::FromStr;

/// Longest name of an image, container or volume.
const NAME_MAX: usize = 40;
/// Longest version; the slot descriptor has room for 64 bytes.
const VERSION_MAX: usize = 64;
/// Longest package or module name.
const PACKAGE_MAX: usize = 128;
/// Longest mirror address.
const URL_MAX: usize = 512;
/// Longest text of extra kernel arguments; the kernel takes 2 KiB in all.
const ARGS_MAX: usize = 1024;
/// Kernel arguments that the builder writes itself: a second one would change what is verified and started.
const ARGS_RESERVED: [&str; 7] =
    ["dm-mod.create", "dm_mod.create", "init", "initrd", "rdinit", "root", "rootfstype"];

text_newtype!(
    /// The name of an image, container or volume.
    Name
);

form!(
    Name,
    "name",
    ["hello", "web-1"],
    "Lower-case letters, digits and `-`, not at the ends; at most 40 characters."
);

impl FromStr for Name {
    type Err = Bad;

    fn from_str(text: &str) -> Result<Self, Bad> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let fine = made_of(text, NAME_MAX, allowed) && !text.starts_with('-') && !text.ends_with('-');
        if fine {
            return Ok(Self(text.to_owned()));
        }
        Err(Bad::new(format!("{} is not a name", quoted(text)))
            .hint("use lower-case letters, digits and \"-\" (not at the ends), at most 40 characters"))
    }
}

text_newtype!(
    /// The version of an image.
    Version
);

form!(
    Version,
    "version",
    ["1.0.0", "2026.11-rc1"],
    "Letters, digits and `.+~_-`, beginning with a letter or digit; at most 64 characters."
);

impl FromStr for Version {
    type Err = Bad;

    fn from_str(text: &str) -> Result<Self, Bad> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || ".+~_-".contains(c);
        if made_of(text, VERSION_MAX, allowed) && text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return Ok(Self(text.to_owned()));
        }
        Err(Bad::new(format!("{} is not a version", quoted(text)))
            .hint("use letters, digits and . + ~ _ -, at most 64 characters, for example \"1.0.0\""))
    }
}

text_newtype!(
    /// The name of a Debian package.
    PackageName
);

form!(
    PackageName,
    "package",
    ["busybox-static", "nginx"],
    "The name of a Debian package, without version or architecture: the lock pins those."
);

impl FromStr for PackageName {
    type Err = Bad;

    fn from_str(text: &str) -> Result<Self, Bad> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
        let fine = made_of(text, PACKAGE_MAX, allowed)
            && text.len() >= 2
            && text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if fine {
            return Ok(Self(text.to_owned()));
        }
        let hint = if text.contains(['=', ':']) {
            "write the name alone: the lock pins version and architecture"
        } else {
            "use the package's name as Debian writes it, for example \"busybox-static\""
        };
        Err(Bad::new(format!("{} is not a package name", quoted(text))).hint(hint))
    }
}

text_newtype!(
    /// The name of a kernel module.
    ModuleName
);

form!(ModuleName, "module", ["wireguard"], "The name of a kernel module, without `.ko`.");

impl FromStr for ModuleName {
    type Err = Bad;

    fn from_str(text: &str) -> Result<Self, Bad> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if made_of(text, PACKAGE_MAX, allowed) {
            return Ok(Self(text.to_owned()));
        }
        Err(Bad::new(format!("{} is not a module name", quoted(text)))
            .hint("write the name that modinfo shows, without path or .ko, for example \"wireguard\""))
    }
}

text_newtype!(
    /// The address of a Debian mirror, without a slash at its end.
    Url
);

form!(Url, "url", ["https://mirror.example/debian"], "An `http://` or `https://` address.");

impl FromStr for Url {
    type Err = Bad;

    fn from_str(text: &str) -> Result<Self, Bad> {
        let bad = |why: &str| {
            Bad::new(format!("{} is not a mirror's address: {why}", quoted(text)))
                .hint("write it like \"https://mirror.example/debian\"")
        };
        let rest = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"))
            .ok_or_else(|| bad("it begins with neither https:// nor http://"))?;
        if !made_of(rest, URL_MAX, |c| c.is_ascii_graphic()) || rest.starts_with('/') {
            return Err(bad("it has no host name, or has characters outside ASCII"));
        }
        if rest.contains(['?', '#', '@', '"', '\\']) {
            return Err(bad("a mirror's address has no query, fragment or user"));
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

text_newtype!(
    /// Extra kernel arguments.
    KernelArgs
);

form!(
    KernelArgs,
    "kernel-args",
    ["console=ttyS1 mitigations=auto"],
    "Kernel arguments separated by spaces; printable ASCII, at most 1024 characters; none of those that the builder writes itself (`root`, `init`, `coracle.…`)."
);

impl FromStr for KernelArgs {
    type Err = Bad;

    fn from_str(text: &str) -> Result<Self, Bad> {
        if text.len() > ARGS_MAX || !text.chars().all(|c| c == ' ' || c.is_ascii_graphic()) {
            return Err(Bad::new(format!("{} are not kernel arguments", quoted(text)))
                .hint("use printable ASCII, at most 1024 characters, arguments separated by spaces"));
        }
        for argument in text.split(' ') {
            let name = argument.split('=').next().unwrap_or(argument);
            if ARGS_RESERVED.contains(&name) || name.starts_with("coracle.") || name == "--" {
                return Err(Bad::new(format!("kernel argument {} belongs to the builder", quoted(name)))
                    .hint("remove it: the builder writes root, init and coracle.* itself"));
            }
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_lower_case_and_do_not_begin_with_a_dash() {
        for bad in ["", "Hello", "-a", "a-", "a_b", "a/b", &"x".repeat(41)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    #[test]
    fn kernel_arguments_cannot_name_another_root() {
        for bad in ["root=/dev/vda", "quiet init=/bin/sh", "coracle.verity=x", "a -- b", "a\nb"] {
            assert!(bad.parse::<KernelArgs>().is_err(), "{bad}");
        }
        "initcall_debug quiet".parse::<KernelArgs>().unwrap();
    }

    #[test]
    fn a_mirror_is_a_plain_http_address() {
        for bad in ["ftp://x", "https://", "https:///x", "http://a b", "http://u@h/", "http://h/?q"] {
            assert!(bad.parse::<Url>().is_err(), "{bad}");
        }
        assert_eq!("http://h/debian/".parse::<Url>().unwrap().as_str(), "http://h/debian");
    }
}
