//! How a release is built.

use super::modules;
use crate::{packages::fetch_from, scratch};
use anyhow::{Context as _, Result, ensure};
use coracle::{
    build::Built,
    container::source::from_packages,
    context::Context,
    debian::{Package, Pocket, Request, unpack},
    files,
    image::tar,
    tree::{Content, Node, NodeKind, Tree, TreePath},
};
use std::{fmt::Write as _, fs, path::PathBuf};

/// The kernel of releases whose kernel does not matter.
const KERNEL: u32 = 117;

/// A release.
#[derive(Clone, Debug)]
pub(super) enum Recipe {
    /// A kernel 6.12.y with all its modules, and no container.
    Modules(u32),
    /// A manifest that the project ships, with a kernel 6.12.y.
    Shipped {
        /// Its name.
        manifest: &'static str,
        /// The kernel.
        kernel: u32,
        /// The last number of its version.
        number: u32,
    },
    /// A container of files, and nothing else of its own.
    Container {
        /// What the release is called.
        name: String,
        /// The files.
        files: Files,
        /// The last number of its version.
        number: u32,
    },
}

/// Files of Debian packages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Files {
    /// The suite.
    pub(super) suite: &'static str,
    /// The pockets of it.
    pub(super) pockets: &'static [Pocket],
    /// The packages, without what they depend on.
    pub(super) packages: &'static [&'static str],
    /// The only file that is taken of them; else all.
    pub(super) only: Option<&'static str>,
}

impl Files {
    /// The packages, of amd64.
    fn fetch(&self, ctx: &Context) -> Result<Vec<Package>> {
        let request = Request::only(self.packages.iter().copied());
        let packages = fetch_from(ctx, (self.suite, self.pockets), "amd64", &request)?;
        let told: Vec<_> = packages.iter().map(ToString::to_string).collect();
        ctx.report.info(format!("{}: {}", self.suite, told.join(", ")));
        Ok(packages)
    }

    /// What a container of them holds: no documentation.
    fn tree(&self, packages: &[Package], ctx: &Context) -> Result<Tree> {
        let trees = packages.iter().map(|package| Ok(unpack(ctx, package)?)).collect::<Result<Vec<_>>>()?;
        let all = from_packages(trees)?.tree;
        let Some(path) = self.only else { return Ok(all) };
        let mut tree = Tree::new();
        tree.file(path, 0o755, all.content(path)?)?;
        Ok(tree)
    }
}

impl Recipe {
    /// The number of its kernel.
    pub(super) fn kernel(&self) -> u32 {
        match self {
            Self::Modules(kernel) | Self::Shipped { kernel, .. } => *kernel,
            Self::Container { .. } => KERNEL,
        }
    }

    /// Fails if this release holds the same files of packages as the one it replaces.
    pub(super) fn ensure_changed(&self, old: &Self) -> Result<()> {
        let (Self::Container { .. }, Self::Container { .. }) = (old, self) else { return Ok(()) };
        let read = |recipe: &Self| -> Result<Vec<u8>> { Ok(fs::read(archive_of(&recipe.name())?)?) };
        ensure!(read(self)? != read(old)?, "both releases are the same: the mirror has only one version");
        Ok(())
    }

    /// The file that it is about, if there is one.
    pub(super) fn only(&self) -> Option<&'static str> {
        match self {
            Self::Modules(_) | Self::Shipped { .. } => None,
            Self::Container { files, .. } => files.only,
        }
    }

    /// What it is called: a directory below `target/`, which releases of several pairs share.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Modules(kernel) => format!("delta-kernel-{kernel}"),
            Self::Shipped { manifest, kernel, number: 0 } => format!("delta-{manifest}-{kernel}"),
            Self::Shipped { manifest, kernel, number } => format!("delta-{manifest}-{kernel}.{number}"),
            Self::Container { name, .. } => format!("delta-{name}"),
        }
    }

    /// Builds it, or finds that it is built already.
    pub(super) fn build(&self, ctx: &Context) -> Result<Built> {
        let name = self.name();
        let text = match self {
            Self::Modules(kernel) => image("kernel", *kernel, 0) + &all_modules(ctx, *kernel)?,
            Self::Shipped { manifest, kernel, number } => shipped(manifest, *kernel, *number)?,
            Self::Container { files, number, .. } => container(ctx, &name, files, *number)?,
        };
        crate::image_of(&text, &name).with_context(|| format!("cannot build the release {name}"))
    }
}

/// The name of a kernel's package.
pub(super) fn package(kernel: u32) -> String {
    format!("linux-image-6.12.{kernel}+deb13-cloud-amd64")
}

/// `[kernel] package`.
pub(super) fn pinned(kernel: u32) -> String {
    format!("\n[kernel]\npackage = \"{}\"\n", package(kernel))
}

fn image(name: &str, kernel: u32, number: u32) -> String {
    format!("[image]\nname = \"{name}\"\nversion = \"1.{kernel}.{number}\"\narch = \"x86_64\"\n")
}

/// The `[kernel]` of a kernel 6.12.y with all its modules.
pub(super) fn all_modules(ctx: &Context, kernel: u32) -> Result<String> {
    let mut text = pinned(kernel) + "modules = [\n";
    for name in modules::leaves(ctx, &package(kernel))? {
        writeln!(text, "    \"{name}\",")?;
    }
    Ok(text + "]\n")
}

/// The text of a shipped manifest for another kernel and version.
pub(super) fn shipped(manifest: &str, kernel: u32, number: u32) -> Result<String> {
    let path = crate::workspace().join(format!("manifests/images/{manifest}.toml"));
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let place = "version = \"1.0.0\"";
    ensure!(text.matches(place).count() == 1, "{} has no place for another version", path.display());
    ensure!(!text.contains("[kernel]"), "{} names a kernel itself", path.display());
    Ok(text.replace(place, &format!("version = \"1.{kernel}.{number}\"")) + &pinned(kernel))
}

fn container(ctx: &Context, name: &str, files: &Files, number: u32) -> Result<String> {
    let tree = files.tree(&files.fetch(ctx)?, ctx)?;
    let command = program(&tree).with_context(|| format!("{name} has no program"))?;
    let mut archive = Vec::new();
    tar::write(&tree, 0, &mut archive)?;
    let path = archive_of(name)?;
    // A file that stays as it is has the image built only once.
    if fs::read(&path).ok().as_ref() != Some(&archive) {
        files::replace(&path, &archive)?;
    }
    let container =
        format!("[[container]]\nname = \"app\"\nrootfs = \"rootfs.tar\"\ncommand = [\"/{command}\"]\n");
    Ok(image("container", KERNEL, number) + &pinned(KERNEL) + "\n" + &container)
}

/// Where the files of a release's container are.
fn archive_of(name: &str) -> Result<PathBuf> {
    Ok(scratch(name)?.join("rootfs.tar"))
}

/// The largest program.
fn program(tree: &Tree) -> Option<String> {
    let file = |(path, node): (&TreePath, &Node)| {
        let NodeKind::File(content) = &node.kind else { return None };
        (node.meta.mode & 0o111 != 0).then(|| (Content::len(content), path.as_str().to_owned()))
    };
    tree.iter().filter_map(file).max().map(|(_, path)| path)
}
