//! File names. Roles are named by documents, so a name is made of theirs by escaping everything that could mean more
//! than itself to a file system or in an address.

use crate::hex::to_hex;

/// Bytes of a role's name at most.
pub(super) const ROLE_BYTES_MAX: usize = 64;

/// The file of a role's newest document in the store. Delegated roles cannot take the name of another file.
pub(super) fn stored(role: &str) -> String {
    format!("delegated.{}.json", escaped(role))
}

/// The file of one version of a role's document in the repository.
pub(super) fn versioned(version: u32, role: &str) -> String {
    format!("{version}.{}.json", escaped(role))
}

/// Percent-encoded, except for what RFC 3986 reserves for nothing.
fn escaped(role: &str) -> String {
    let mut out = String::new();
    for byte in role.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&to_hex(&[byte]).to_ascii_uppercase());
        }
    }
    out
}

/// The file of a target: its digest before the last part of its path, in a repository of consistent snapshots.
pub(super) fn target(path: &str, digest: &[u8]) -> String {
    let (directory, name) = path.rsplit_once('/').map_or(("", path), |(directory, name)| (directory, name));
    let separator = if directory.is_empty() { "" } else { "/" };
    format!("{directory}{separator}{}.{name}", to_hex(digest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn unusual_roles_have_harmless_files() {
        assert_eq!(versioned(3, "stable"), "3.stable.json");
        assert_eq!(versioned(1, "../a b?"), "1...%2Fa%20b%3F.json");
        assert_eq!(stored("3.root"), "delegated.3.root.json");
        assert_eq!(stored("ä%"), "delegated.%C3%A4%25.json");
    }

    #[test]
    fn a_digest_stands_before_the_last_part_of_a_path() {
        assert_eq!(target("a.bundle", &[1, 0xab]), "01ab.a.bundle");
        assert_eq!(target("stable/a.json", &[1]), "stable/01.a.json");
    }

    proptest! {
        #[test]
        fn a_file_is_one_component_of_a_path(role in "\\PC{0,20}") {
            for file in [stored(&role), versioned(1, &role)] {
                prop_assert!(file.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b'\\'));
                prop_assert!(!file.starts_with('.'));
            }
        }

        #[test]
        fn different_roles_have_different_files(a in "\\PC{0,6}", b in "\\PC{0,6}") {
            prop_assert_eq!(a == b, stored(&a) == stored(&b));
        }
    }
}
