//! The root file system of a device, and the initramfs that carries its beginning.

use super::{
    elf,
    requests::{RUNTIME_PROGRAM, device_programs},
    split::{Split, in_memory_container, split},
};
use crate::{
    cache::Cache,
    container::{BUNDLES, Bundle},
    error::Result,
    kernel::ModuleSet,
    tree::{Content, Meta, Node, NodeKind, Tree, TreePath},
};
use coracle_format::device::{DEVICE_PATH, EARLY_PATH, TRUST_ROOT_PATH};
use coracle_manifests::manifest::{File, FileContent, Manifest};

/// Where an image names the packages it is made of: one line each, `group name version architecture`.
pub(crate) const PACKAGES_PATH: &str = "usr/share/coracle/packages";
/// Directories that something is mounted on.
const MOUNT_POINTS: [&str; 9] = ["dev", "proc", "root", "run", "state", "sys", "system", "tmp", "var"];
/// The merged `/usr`: where programs and libraries look first leads there.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

/// What a root file system is made of.
pub(super) struct Parts<'a> {
    /// The services.
    pub(super) services: Content,
    /// What takes updates, in images that take any.
    pub(super) update: Option<Update>,
    /// The merged packages with runtime and state tools.
    pub(super) runtime: &'a Tree,
    /// Kernel modules that are loaded from the root.
    pub(super) modules: &'a ModuleSet,
    /// Containers.
    pub(super) bundles: &'a [Bundle],
    /// The encoded device configuration.
    pub(super) config: Vec<u8>,
    /// What the image is made of, for [`PACKAGES_PATH`].
    pub(super) packages: String,
}

/// What an image that takes updates has more than others. It is on the verified image: nothing needs it before that is
/// there.
pub(super) struct Update {
    /// The updater.
    pub(super) program: Content,
    /// The first trusted root.
    pub(super) trust: Content,
}

/// The root file system, in its two parts: the services, the container runtime, the configuration and small containers
/// are in memory.
pub(super) fn root(cache: &Cache, manifest: &Manifest, parts: Parts<'_>) -> Result<Split> {
    let mut tree = Tree::new();
    for dir in MOUNT_POINTS {
        tree.dir(dir, 0o755)?;
    }
    for name in MERGED {
        tree.dir(&format!("usr/{name}"), 0o755)?;
        tree.symlink(name, &format!("usr/{name}"))?;
    }
    tree.file("usr/bin/coracle-services", 0o755, parts.services)?;
    if let Some(update) = parts.update {
        tree.file("usr/bin/coracle-update", 0o755, update.program)?;
        tree.file(TRUST_ROOT_PATH, 0o644, update.trust)?;
    }
    elf::pick(parts.runtime, device_programs(manifest), &mut tree)?;
    tree.merge(&TreePath::default(), &parts.modules.late_files)?;
    tree.file(DEVICE_PATH, 0o644, parts.config)?;
    tree.file(PACKAGES_PATH, 0o644, parts.packages.as_str())?;
    etc(&mut tree, manifest)?;
    for bundle in parts.bundles {
        tree.merge(&TreePath::default(), &bundle.tree)?;
    }
    for file in &manifest.files {
        put(cache, &mut tree, file)?;
    }
    tree.merge(&TreePath::default(), &parts.modules.early_files)?;
    let early = |path: &TreePath| parts.modules.early_files.get(path).is_some_and(is_no_directory);
    let mut runtime = Tree::new();
    elf::pick(parts.runtime, [RUNTIME_PROGRAM], &mut runtime)?;
    split(&tree, |path| {
        let top = path.as_str().split('/').next().unwrap_or_default();
        top == "etc"
            || MERGED.contains(&path.as_str())
            || path.as_str() == "usr/bin/coracle-services"
            || runtime.get(path).is_some_and(is_no_directory)
            || early(path)
            || in_memory_container(parts.bundles, path)
    })
}

fn is_no_directory(node: &Node) -> bool {
    !matches!(node.kind, NodeKind::Dir)
}

/// The initramfs: PID 1, the part of the root in memory, and what leads to the rest. It is two archives, one behind the
/// other, which the kernel unpacks over each other: first what seldom changes, then the containers and what is compiled
/// from the manifest, so that touching a container leaves most of it where it was.
pub(super) fn initramfs(init: Content, memory: &Tree, config: Vec<u8>) -> Result<[Tree; 2]> {
    let (mut base, mut image) = (Tree::new(), Tree::new());
    let of_image = |path: &TreePath| {
        path.as_str().starts_with(BUNDLES) || path == &TreePath::new(DEVICE_PATH).unwrap_or_default()
    };
    for (path, node) in memory.iter() {
        let archive = if of_image(path) { &mut image } else { &mut base };
        archive.insert(path.clone(), node.clone())?;
    }
    base.file("init", 0o755, init)?;
    // The kernel opens the console for PID 1 before anything is mounted, and PID 1's standard library may want the other.
    for (path, mode, major, minor) in [("dev/console", 0o600, 5, 1), ("dev/null", 0o666, 1, 3)] {
        let kind = NodeKind::CharDevice { major, minor };
        base.insert(TreePath::new(path)?, Node { meta: Meta::root(mode), kind })?;
    }
    image.file(EARLY_PATH, 0o644, config)?;
    Ok([base, image])
}

fn etc(tree: &mut Tree, manifest: &Manifest) -> Result<()> {
    let (name, version) = (manifest.image.name.as_str(), manifest.image.version.as_str());
    tree.file("etc/os-release", 0o644, os_release(name, version).as_str())?;
    tree.file("etc/hosts", 0o644, "127.0.0.1 localhost\n::1 localhost\n")?;
    // e2fsck and mke2fs ask for them; without answers they take their own defaults.
    tree.file("etc/mke2fs.conf", 0o644, MKE2FS_CONF)?;
    tree.symlink("etc/mtab", "../proc/self/mounts")?;
    tree.symlink("etc/resolv.conf", "../run/coracle/resolv.conf")?;
    tree.symlink("etc/machine-id", "../run/coracle/machine-id")
}

const MKE2FS_CONF: &str = "[defaults]
base_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr
default_mntopts = acl,user_xattr
enable_periodic_fsck = 0
blocksize = 4096
inode_size = 256
inode_ratio = 16384
[fs_types]
ext4 = {
	features = has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize
}
small = {
	inode_ratio = 4096
}
floppy = {
	inode_ratio = 8192
}
big = {
	inode_ratio = 32768
}
huge = {
	inode_ratio = 65536
}
";

/// What `/etc/os-release` and the boot artefact say about the image.
pub(super) fn os_release(name: &str, version: &str) -> String {
    format!(
        "ID=coracle\nNAME=Coracle\nPRETTY_NAME=\"Coracle {name} {version}\"\nIMAGE_ID={name}\nIMAGE_VERSION={version}\nVERSION_ID={version}\n"
    )
}

fn put(cache: &Cache, tree: &mut Tree, file: &File) -> Result<()> {
    let content = match &file.content {
        FileContent::Text(text) => Content::from(text.as_str()),
        FileContent::Source(input) => crate::files::keep(cache, &input.path)?,
    };
    let meta = Meta::root(file.mode.0).owned(file.uid, file.gid);
    tree.insert(TreePath::new(file.path.as_str())?, Node { meta, kind: NodeKind::File(content) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_release_names_image_and_version() {
        let text = os_release("hello", "1.2.3");
        assert!(text.contains("\nIMAGE_ID=hello\nIMAGE_VERSION=1.2.3\n"), "{text}");
    }
}
