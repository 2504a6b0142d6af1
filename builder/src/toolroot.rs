//! Tool roots: the external programs of a build, unpacked from locked packages into the cache and run through their own
//! dynamic loader, so that every host runs the same bytes and nothing needs installing.

mod groups;
mod unpack;

pub use groups::{Group, HostArch};

use crate::{
    cache::Origin,
    context::Context,
    debian::{self, Package},
    digest::{Digest, Hasher},
    error::{Error, Kind, Result},
    tree::Tree,
};
use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

/// Directories of a tool root that have programs, searched in this order.
const PROGRAM_DIRS: [&str; 4] = ["usr/bin", "usr/sbin", "bin", "sbin"];
/// Directories with what QEMU loads by name: its `-L` arguments, in this order.
const QEMU_DATA_DIRS: [&str; 3] = ["usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"];

/// Changes whenever the same packages would be laid out in another way.
const LAYOUT_VERSION: &[u8] = b"tool-root-1";

/// An unpacked tool root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolRoot {
    dir: PathBuf,
    arch: HostArch,
}

impl ToolRoot {
    /// The tool root of these packages: unpacked the first time, kept in the cache afterwards. Before they are unpacked,
    /// `fetch` sees to it that the cache has them.
    pub fn of_packages(
        ctx: &Context,
        packages: &[Package],
        fetch: impl FnOnce() -> Result<()>,
    ) -> Result<(Self, Origin)> {
        let mut digests: Vec<Digest> = packages.iter().map(|package| package.sha256).collect();
        digests.sort_unstable();
        digests.dedup();
        let mut hasher = Hasher::default();
        hasher.field(LAYOUT_VERSION);
        for digest in &digests {
            hasher.field(&digest.0);
        }
        Self::make(ctx, &hasher.digest(), || {
            fetch()?;
            debian::unpack_all(ctx, packages)
        })
    }

    /// The tool root `key` for programs of this machine: unpacked from what `tree` returns the first time, kept in the
    /// cache afterwards. `key` identifies the tree.
    pub fn make(ctx: &Context, key: &Digest, tree: impl FnOnce() -> Result<Tree>) -> Result<(Self, Origin)> {
        let arch = HostArch::current()?;
        let (dir, origin) = ctx.cache.tools(key, |dir| unpack::write(ctx, &tree()?, dir))?;
        Ok((Self { dir, arch }, origin))
    }

    /// The tool root unpacked at `dir`, made for programs of `arch`.
    pub fn at(dir: impl Into<PathBuf>, arch: HostArch) -> Self {
        Self { dir: dir.into(), arch }
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file at `path` in it, whether there is one or not: `usr/share/OVMF/OVMF_CODE_4M.fd`.
    pub fn path(&self, path: &str) -> PathBuf {
        self.dir.join(path)
    }

    /// The file at `path` in it; an error that names the package if it is missing.
    pub fn file(&self, path: &str, package: &str) -> Result<PathBuf> {
        let file = self.path(path);
        if file.is_file() {
            return Ok(file);
        }
        let message = format!("the tool root {} has no {path}", self.dir.display());
        Err(Error::new(Kind::NotFound, message)
            .hint(format!("it comes with package {package}: lock again so that the tool root has it")))
    }

    /// Where the program `name` is in it.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        PROGRAM_DIRS.iter().map(|dir| self.dir.join(dir).join(name)).find(|path| path.is_file())
    }

    /// How the program `name` is started: the loader, and the arguments before the program's own.
    pub(crate) fn launch(&self, name: &str) -> Result<(PathBuf, Vec<OsString>)> {
        let program = self.program(name).ok_or_else(|| {
            let message = format!("cannot run {name}: the tool root {} lacks it", self.dir.display());
            Error::new(Kind::NotFound, message).hint(format!(
                "it comes with package {}: lock again so that the tool root has it",
                groups::package_of(name).unwrap_or(name)
            ))
        })?;
        let mut args: Vec<OsString> =
            vec!["--library-path".into(), self.library_path(), "--argv0".into(), name.into(), program.into()];
        if name.starts_with("qemu-system-") {
            for dir in QEMU_DATA_DIRS.map(|dir| self.dir.join(dir)) {
                if dir.is_dir() {
                    args.extend(["-L".into(), dir.into()]);
                }
            }
        }
        Ok((self.dir.join(self.arch.loader()), args))
    }

    fn library_path(&self) -> OsString {
        let dirs = self.arch.library_dirs();
        let dirs = dirs.iter().map(|dir| self.dir.join(dir));
        let found: Vec<_> = dirs.filter(|dir| dir.is_dir()).map(PathBuf::into_os_string).collect();
        found.join(OsStr::new(":"))
    }

    /// The environment its programs need so that they load nothing of the host's.
    pub(crate) fn env(&self) -> Vec<(OsString, OsString)> {
        let triplet = self.arch.triplet();
        let at = |path: String| self.dir.join(path).into_os_string();
        let path = PROGRAM_DIRS[..2].iter().map(|dir| self.dir.join(dir).into_os_string());
        vec![
            ("PATH".into(), path.collect::<Vec<_>>().join(OsStr::new(":"))),
            ("QEMU_MODULE_DIR".into(), at(format!("usr/lib/{triplet}/qemu"))),
            ("GCONV_PATH".into(), at(format!("usr/lib/{triplet}/gconv"))),
            ("OPENSSL_MODULES".into(), at(format!("usr/lib/{triplet}/ossl-modules"))),
            ("OPENSSL_CONF".into(), "/dev/null".into()),
        ]
    }
}
