//! A place on the machine that an update is taken from. The updater opens it; here it is seen that it is of a kind that an
//! operator may name.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

/// Why nothing may be taken from `place`, an absolute path that the codec has let through, on the machine at `root`.
///
/// Containers write below `/state`: what they make there must not lead to anything else, so no link is followed.
pub(super) fn check(root: &Path, place: &str) -> Result<(), String> {
    let refused = |why: &str| format!("cannot read {place}: {why}");
    let unseen = |error: io::Error| refused(&error.to_string());
    let asked = fs::canonicalize(root).map_err(unseen)?.join(place.trim_start_matches('/'));
    if fs::canonicalize(&asked).map_err(unseen)? != asked {
        return Err(refused("a symbolic link is on the way; name what it leads to"));
    }
    let kind = fs::symlink_metadata(&asked).map_err(unseen)?.file_type();
    let fits = if place.starts_with("/dev/") { kind.is_block_device() } else { kind.is_file() };
    if fits {
        return Ok(());
    }
    Err(refused("it is neither a block device below /dev nor a file below /state"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_file_below_state_is_taken_and_nothing_that_a_link_leads_to() {
        let root = tempfile::tempdir().unwrap();
        let state = root.path().join("state");
        fs::create_dir_all(state.join("volumes")).unwrap();
        File::create(state.join("volumes/u.bundle")).unwrap();
        symlink("u.bundle", state.join("volumes/link")).unwrap();
        symlink("volumes", state.join("way")).unwrap();
        let check = |place| check(root.path(), place);
        check("/state/volumes/u.bundle").unwrap();
        for link in ["/state/volumes/link", "/state/way/u.bundle"] {
            let why = check(link).unwrap_err();
            assert_eq!(
                why,
                format!("cannot read {link}: a symbolic link is on the way; name what it leads to")
            );
        }
        let missing = check("/state/none").unwrap_err();
        assert!(missing.starts_with("cannot read /state/none: No such file"), "{missing}");
        assert!(check("/state/volumes").unwrap_err().contains("neither a block device"));
    }

    #[test]
    fn only_block_devices_are_taken_below_dev() {
        let why = check(Path::new("/"), "/dev/null").unwrap_err();
        assert_eq!(
            why,
            "cannot read /dev/null: it is neither a block device below /dev nor a file below /state"
        );
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("dev")).unwrap();
        File::create(root.path().join("dev/file")).unwrap();
        assert!(check(root.path(), "/dev/file").is_err());
    }
}
