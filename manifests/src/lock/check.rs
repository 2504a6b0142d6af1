//! What a lock must be beyond its types.

use super::{ENTRIES_MAX, Lock, TEXT_MAX};

/// Checks what the types cannot say: digests, names, paths, references, lengths.
pub(super) fn check(lock: &Lock) -> Result<(), String> {
    let releases = lock.debian.as_ref().map_or(0, |debian| debian.releases.len());
    let group_entries = lock.group.iter().map(|group| group.packages.len().max(group.request.len()));
    let lengths = [lock.group.len(), lock.package.len(), lock.file.len(), lock.oci.len(), releases];
    if lengths.into_iter().chain(group_entries).any(|length| length > ENTRIES_MAX) {
        return Err(format!("a list has more than {ENTRIES_MAX} entries"));
    }
    for package in &lock.package {
        check_sha256(&package.name, &package.sha256)?;
        check_text(&package.name)?;
        check_text(&package.version)?;
        check_text(&package.arch)?;
        check_archive_path(&package.filename)?;
    }
    let by_reference = lock.by_reference();
    if by_reference.len() != lock.package.len() {
        return Err("a package stands in it twice".to_owned());
    }
    for group in &lock.group {
        if let Some(lost) = group.packages.iter().find(|name| !by_reference.contains_key(*name)) {
            return Err(format!("group {:?} names {lost:?}, which is not among the packages", group.name));
        }
    }
    for file in &lock.file {
        check_sha256(&file.path, &file.sha256)?;
    }
    for oci in &lock.oci {
        let digest = oci.digest.strip_prefix("sha256:").unwrap_or_default();
        check_sha256(&oci.container, digest)?;
    }
    for release in lock.debian.iter().flat_map(|debian| &debian.releases) {
        check_sha256(&release.pocket, &release.sha256)?;
    }
    match &lock.device {
        Some(device) => check_sha256("device", &device.sha256),
        None => Ok(()),
    }
}

fn check_sha256(whose: &str, digest: &str) -> Result<(), String> {
    let lower_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if digest.len() == 64 && digest.bytes().all(lower_hex) {
        return Ok(());
    }
    Err(format!("the digest of {whose:?} is not 64 hexadecimal digits"))
}

/// Names and versions end up in file names and messages.
fn check_text(text: &str) -> Result<(), String> {
    let fine = !text.is_empty()
        && text.len() <= TEXT_MAX
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    if fine {
        return Ok(());
    }
    Err(format!("{text:?} is not a package's name, version or architecture"))
}

/// A package's path is put behind a mirror's address.
fn check_archive_path(path: &str) -> Result<(), String> {
    let part = |part: &str| !part.is_empty() && part != "." && part != "..";
    let fine = path.len() <= TEXT_MAX
        && path.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\?#".contains(&byte))
        && path.split('/').all(part);
    if fine {
        return Ok(());
    }
    Err(format!("{path:?} is not a path in a Debian archive"))
}
