//! What must be there before a container starts: its directories, its volumes, its writable root; and their removal.

use crate::ServiceError;
use coracle_format::device::{Container, ContainerRoot, Volume};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Directories of the running containers.
pub(super) const RUN: &str = "/run/coracle/containers";
/// The directory of the network service, which containers see: it has the name servers. They may be there first.
const NETWORK: &str = "/run/coracle/network";
/// Volumes are below it.
const STATE: &str = "/state";
/// Every volume's path begins with it.
const VOLUMES: &str = "/state/volumes/";
/// The writable layer of a container in memory is no larger than this part of the machine's memory; what is in it also
/// counts towards the container's own memory limit.
const UPPER_OPTIONS: &str = "mode=0755,size=25%";
/// Times a mount point is unmounted: one mount per life of the service that ended badly, and then some.
const UNMOUNT_LIMIT: u32 = 16;

/// The paths of one container in [`RUN`].
#[derive(Debug)]
pub(super) struct Paths {
    directory: PathBuf,
    /// Where crun leaves the process id.
    pub(super) pid: PathBuf,
    /// Where crun says why it failed.
    pub(super) log: PathBuf,
}

impl Paths {
    /// The paths of the container with that name.
    pub(super) fn new(name: &str) -> Self {
        let directory = Path::new(RUN).join(name);
        Self { pid: directory.join("pid"), log: directory.join("crun.log"), directory }
    }

    fn layers(&self) -> PathBuf {
        self.directory.join("layers")
    }

    fn rootfs(&self) -> PathBuf {
        self.directory.join("rootfs")
    }
}

/// Makes what all containers share. Done once, before the first start.
pub(super) fn prepare_all() -> Result<(), ServiceError> {
    fs::create_dir_all(RUN).map_err(|source| failed("make the directory", Path::new(RUN), source))?;
    make_directory(Path::new(NETWORK))
}

/// Makes what one container needs for its next start.
pub(super) fn prepare(container: &Container, paths: &Paths) -> Result<(), ServiceError> {
    make_directory(&paths.directory)?;
    if !container.volumes.is_empty() {
        let state = open_directory(Path::new(STATE))?;
        for volume in &container.volumes {
            make_volume(&state, volume)?;
        }
    }
    match container.root {
        ContainerRoot::ReadOnly => Ok(()),
        ContainerRoot::Ephemeral => mount_root(container, paths),
    }
}

/// Removes what a run left in [`RUN`].
pub(super) fn clean(container: &Container, paths: &Paths) -> Result<(), ServiceError> {
    for file in [&paths.pid, &paths.log] {
        match fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", file, error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    match container.root {
        ContainerRoot::ReadOnly => Ok(()),
        ContainerRoot::Ephemeral => {
            unmount(&paths.rootfs())?;
            unmount(&paths.layers())
        }
    }
}

/// Lays a writable layer in memory over the baked root.
fn mount_root(container: &Container, paths: &Paths) -> Result<(), ServiceError> {
    let (layers, rootfs) = (paths.layers(), paths.rootfs());
    let (upper, work) = (layers.join("upper"), layers.join("work"));
    make_directory(&layers)?;
    make_directory(&rootfs)?;
    mount_at("tmpfs", &layers, UPPER_OPTIONS)?;
    make_directory(&upper)?;
    make_directory(&work)?;
    let lower = Path::new(&container.bundle).join("rootfs");
    let options = overlay_options(&lower, &upper, &work).ok_or_else(|| {
        let unusable = io::Error::other("the path has a character that separates mount options");
        failed("lay a writable layer over", &lower, unusable)
    })?;
    mount_at("overlay", &rootfs, &options)
}

fn overlay_options(lower: &Path, upper: &Path, work: &Path) -> Option<String> {
    let [lower, upper, work] = [lower, upper, work].map(|path| path.to_str().unwrap_or(","));
    let is_plain = |path: &str| !path.contains([',', ':', '\\']);
    [lower, upper, work]
        .into_iter()
        .all(is_plain)
        .then(|| format!("lowerdir={lower},upperdir={upper},workdir={work}"))
}

fn mount_at(kind: &'static str, at: &Path, options: &str) -> Result<(), ServiceError> {
    mount(Some(kind), at, Some(kind), MsFlags::MS_NODEV, Some(options)).map_err(|error| {
        let action = match kind {
            "tmpfs" => "mount a tmpfs on",
            _ => "mount an overlay on",
        };
        failed(action, at, error.into())
    })
}

/// Unmounts everything that is mounted there, if anything is.
fn unmount(at: &Path) -> Result<(), ServiceError> {
    for _ in 0..UNMOUNT_LIMIT {
        match umount2(at, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            Err(nix::Error::EINVAL | nix::Error::ENOENT) => return Ok(()),
            Err(error) => return Err(failed("unmount", at, error.into())),
        }
    }
    Ok(())
}

/// Makes a volume's directory, and those above it, if it is missing. No link is followed on the way: what stands on
/// `state` was written by containers.
fn make_volume(state: &OwnedFd, volume: &Volume) -> Result<(), ServiceError> {
    let path = Path::new(&volume.path);
    let names = volume_names(&volume.path).ok_or_else(|| {
        let refused = io::Error::other("it is not a plain path below /state/volumes");
        failed("make the volume", path, refused)
    })?;
    walk(state, &names, volume).map_err(|error| failed("make the volume", path, error.into()))
}

/// The names on the way from `/state` to the volume, `None` if the path is not a plain one below `/state/volumes`.
fn volume_names(path: &str) -> Option<Vec<&str>> {
    let rest = path.strip_prefix(VOLUMES)?;
    let mut names = vec!["volumes"];
    for name in rest.split('/') {
        if matches!(name, "" | "." | "..") || name.contains('\0') {
            return None;
        }
        names.push(name);
    }
    Some(names)
}

fn walk(state: &OwnedFd, names: &[&str], volume: &Volume) -> Result<(), Errno> {
    let mut at = state.try_clone().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    for (index, name) in names.iter().enumerate() {
        let owned = (index + 1 == names.len()).then_some(volume);
        at = match open_below(&at, name) {
            Err(Errno::NOENT) => {
                make_below(&at, name, owned)?;
                open_below(&at, name)?
            }
            other => other?,
        };
    }
    Ok(())
}

fn open_below(at: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::PATH | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

/// A new directory appears under its name with owner and mode set: a power cut in between must not leave a volume that
/// the container cannot write to, since an existing one is left as it is.
fn make_below(at: &OwnedFd, name: &str, volume: Option<&Volume>) -> Result<(), Errno> {
    let Some(volume) = volume else {
        return rustix::fs::mkdirat(at, name, Mode::from_raw_mode(0o755));
    };
    let new = format!(".{name}.new");
    match rustix::fs::unlinkat(at, &new, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error),
    }
    rustix::fs::mkdirat(at, &new, Mode::from_raw_mode(0o700))?;
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(at, &new, flags, Mode::empty())?;
    let (uid, gid) = (rustix::fs::Uid::from_raw(volume.uid), rustix::fs::Gid::from_raw(volume.gid));
    rustix::fs::fchown(&directory, Some(uid), Some(gid))?;
    rustix::fs::fchmod(&directory, Mode::from_raw_mode(volume.mode & 0o7777))?;
    rustix::fs::renameat_with(at, &new, at, name, RenameFlags::NOREPLACE)
}

fn open_directory(path: &Path) -> Result<OwnedFd, ServiceError> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::PATH | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|error| failed("open", path, error.into()))
}

fn make_directory(path: &Path) -> Result<(), ServiceError> {
    match rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(failed("make the directory", path, error.into())),
    }
}

/// A failed action on a path.
pub(super) fn failed(action: &'static str, path: &Path, source: io::Error) -> ServiceError {
    ServiceError::Path { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    fn volume(path: &str) -> Volume {
        Volume {
            path: path.to_owned(),
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
            mode: 0o1770,
        }
    }

    fn make(state: &Path, volume: &Volume) -> Result<(), ServiceError> {
        make_volume(&open_directory(state).unwrap(), volume)
    }

    #[test]
    fn a_missing_volume_is_made_with_its_mode_and_an_existing_one_left_alone() {
        let state = tempfile::tempdir().unwrap();
        let volume = volume("/state/volumes/db/data");
        make(state.path(), &volume).unwrap();
        let made = state.path().join("volumes/db/data");
        assert_eq!(fs::metadata(&made).unwrap().mode() & 0o7777, 0o1770);
        assert_eq!(fs::read_dir(made.parent().unwrap()).unwrap().count(), 1);
        fs::set_permissions(&made, fs::Permissions::from_mode(0o711)).unwrap();
        make(state.path(), &volume).unwrap();
        assert_eq!(fs::metadata(&made).unwrap().mode() & 0o7777, 0o711);
    }

    #[test]
    fn what_an_interrupted_attempt_left_is_no_hindrance() {
        let state = tempfile::tempdir().unwrap();
        fs::create_dir_all(state.path().join("volumes/.db.new")).unwrap();
        make(state.path(), &volume("/state/volumes/db")).unwrap();
        assert!(state.path().join("volumes/db").is_dir());
    }

    #[test]
    fn a_link_on_the_way_to_a_volume_is_refused() {
        let state = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::create_dir(state.path().join("volumes")).unwrap();
        symlink(elsewhere.path(), state.path().join("volumes/db")).unwrap();
        for path in ["/state/volumes/db/data", "/state/volumes/db"] {
            make(state.path(), &volume(path)).unwrap_err();
        }
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }

    #[test]
    fn only_plain_paths_below_the_volumes_are_volumes() {
        assert_eq!(volume_names("/state/volumes/a/b"), Some(vec!["volumes", "a", "b"]));
        for path in [
            "/state/volumes/",
            "/state/volumes/../x",
            "/state/volumes/a//b",
            "/etc",
            "/state/volumes/./a",
            "volumes/a",
        ] {
            assert_eq!(volume_names(path), None, "{path}");
        }
    }

    #[test]
    fn a_path_cannot_smuggle_mount_options() {
        let plain = Path::new("/a");
        assert_eq!(
            overlay_options(plain, plain, plain).as_deref(),
            Some("lowerdir=/a,upperdir=/a,workdir=/a")
        );
        for bad in ["/a,b", "/a:b", "/a\\b"] {
            assert_eq!(overlay_options(Path::new(bad), plain, plain), None);
        }
    }
}
