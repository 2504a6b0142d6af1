//! What a kernel has: its image and every module with what it says about itself. Made once per kernel, then kept as one
//! small file.

use super::{
    image,
    modinfo::{self, Modinfo, Packing},
};
use crate::{
    context::Context,
    digest::Digest,
    error::{Doing, Error, Kind, Result},
    parallel,
    report::Unit,
    tree::{Content, NodeKind, Tree, TreePath},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Write as _,
    path::Path,
};

/// Most modules of one kernel. Debian's generic kernel has some 4,500.
const MODULES_MAX: usize = 20_000;
/// Largest `modules.builtin` or `modules.builtin.modinfo`.
const BUILTIN_LIMIT_BYTES: u64 = 16 << 20;
/// Where a package has its modules: one directory per release.
const MODULE_DIRS: [&str; 3] = ["usr/lib/modules/", "lib/modules/", ""];

/// What a kernel has.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Index {
    /// `uname -r`.
    pub(super) release: String,
    /// Modules by name.
    pub(super) modules: BTreeMap<String, Entry>,
    /// Names of what is built in.
    pub(super) builtin: BTreeSet<String>,
    /// Aliases of what is built in.
    pub(super) builtin_aliases: BTreeSet<String>,
}

/// One module.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Its path in the tree it came from.
    pub(super) path: String,
    /// Length without compression.
    pub(super) bytes: u64,
    /// Digest without compression.
    pub(super) digest: Option<Digest>,
    /// Modules it takes symbols from.
    pub(super) depends: Vec<String>,
    /// Modules or aliases that should be loaded before it.
    pub(super) pre: Vec<String>,
    /// Modules or aliases that should be loaded after it.
    pub(super) post: Vec<String>,
    /// Aliases.
    pub(super) aliases: Vec<String>,
}

/// Finds the one module directory of a tree: its path with a slash at the end, and the release.
fn module_dir(tree: &Tree) -> Result<Option<(String, String)>> {
    let mut found = BTreeSet::new();
    for (path, _) in tree.iter() {
        let path = path.as_str();
        let rest = MODULE_DIRS.iter().find_map(|dir| Some((dir, path.strip_prefix(dir)?)));
        if let Some((dir, rest)) = rest
            && let Some((release, file)) = rest.split_once('/')
            && (file.starts_with("kernel/") || file == "modules.builtin")
        {
            found.insert((format!("{dir}{release}/"), release.to_owned()));
        }
    }
    if found.len() > 1 {
        let names: Vec<_> = found.iter().map(|(dir, _)| dir.as_str()).collect();
        let message = format!("modules of several kernels where one is expected: {}", names.join(", "));
        return Err(Error::new(Kind::Hostile, message));
    }
    Ok(found.pop_first())
}

/// The kernel image of a package for the modules of `release`.
pub(super) fn package_image(tree: &Tree) -> Result<(TreePath, Content)> {
    let mut images = tree.iter().filter_map(|(path, node)| {
        let name = path.as_str().strip_prefix("boot/")?;
        match &node.kind {
            NodeKind::File(content) if name.starts_with("vmlinuz-") || name.starts_with("Image-") => {
                Some((path.clone(), content.clone()))
            }
            NodeKind::File(_)
            | NodeKind::Dir
            | NodeKind::Symlink(_)
            | NodeKind::HardLink(_)
            | NodeKind::CharDevice { .. } => None,
        }
    });
    match (images.next(), images.next()) {
        (Some(image), None) => Ok(image),
        (None, _) => Err(Error::new(Kind::NotFound, "the kernel package has no boot/vmlinuz-*")
            .hint("name a linux-image package that is not a dependency package")),
        (Some(_), Some(_)) => Err(Error::new(Kind::Hostile, "the kernel package has several images")),
    }
}

/// Reads a kernel image, checks it, and returns it with its release.
pub(super) fn read_image(content: &Content) -> Result<(Vec<u8>, String)> {
    if content.len() > image::IMAGE_LIMIT_BYTES {
        let message = format!("the kernel image is larger than {} bytes", image::IMAGE_LIMIT_BYTES);
        return Err(Error::new(Kind::TooLarge, message));
    }
    let bytes = content.read()?;
    let release = image::version(&bytes)?;
    Ok((bytes, release))
}

/// Makes the index of the modules in `tree` for a kernel of `release`.
pub(super) fn make(ctx: &Context, tree: &Tree, release: &str) -> Result<Index> {
    let mut index = Index { release: release.to_owned(), ..Index::default() };
    let Some((dir, of)) = module_dir(tree)? else {
        return Ok(index);
    };
    if of != release {
        let message = format!("the modules are for kernel {of}, the image is {release}");
        return Err(Error::new(Kind::Hostile, message).hint("give image and modules of one build"));
    }
    builtin(tree, &dir, &mut index)?;
    let files = module_files(tree, &dir)?;
    let step = ctx.report.step(format!("index modules of {release}"));
    let total = u64::try_from(files.len()).unwrap_or(0);
    let read = in_parallel(ctx, &files, |done| {
        step.progress(u64::try_from(done).unwrap_or(0), total, Unit::Items);
    })?;
    for (name, entry) in read {
        if let Some(other) = index.modules.insert(name.clone(), entry) {
            let message = format!("two modules are called {name}: one is {}", other.path);
            return Err(Error::new(Kind::Hostile, message));
        }
    }
    step.done(format!("{total} modules"));
    Ok(index)
}

struct ModuleFile<'a> {
    name: String,
    packing: Packing,
    path: &'a TreePath,
    content: &'a Content,
}

fn module_files<'a>(tree: &'a Tree, dir: &str) -> Result<Vec<ModuleFile<'a>>> {
    let mut files = Vec::new();
    for (path, node) in tree.iter() {
        if let NodeKind::File(content) = &node.kind
            && path.as_str().starts_with(dir)
            && let Some((name, packing)) = modinfo::module_file(path.as_str())
        {
            files.push(ModuleFile { name, packing, path, content });
        }
    }
    if files.len() > MODULES_MAX {
        let message = format!("{} modules: the limit is {MODULES_MAX}", files.len());
        return Err(Error::new(Kind::Hostile, message));
    }
    Ok(files)
}

fn in_parallel(
    ctx: &Context,
    files: &[ModuleFile<'_>],
    progress: impl Fn(usize),
) -> Result<Vec<(String, Entry)>> {
    let mut results = Vec::with_capacity(files.len());
    let work = |file: &ModuleFile<'_>| ctx.check().and_then(|()| read_module(file));
    parallel::in_order(parallel::threads(files.len()), files, work, |read| {
        results.push(read);
        progress(results.len());
        Ok(())
    })?;
    Ok(results)
}

fn read_module(file: &ModuleFile<'_>) -> Result<(String, Entry)> {
    let elf = modinfo::unpack(&file.name, file.packing, file.content.open()?)?;
    let info = modinfo::parse(&file.name, &elf)?;
    if info.name != file.name {
        let message = format!("module file {} calls itself {}", file.path, info.name);
        return Err(Error::new(Kind::Hostile, message));
    }
    let Modinfo { name, depends, pre, post, aliases } = info;
    let entry = Entry {
        path: file.path.as_str().to_owned(),
        bytes: u64::try_from(elf.len()).unwrap_or(u64::MAX),
        digest: Some(Digest::of(&elf)),
        depends,
        pre,
        post,
        aliases,
    };
    Ok((name, entry))
}

/// Reads `modules.builtin` and `modules.builtin.modinfo`, if they are there.
fn builtin(tree: &Tree, dir: &str, index: &mut Index) -> Result<()> {
    let read = |name: &str| -> Result<Vec<u8>> {
        let path = TreePath::new(&format!("{dir}{name}"))?;
        let Some(NodeKind::File(content)) = tree.get(&path).map(|node| &node.kind) else {
            return Ok(Vec::new());
        };
        if content.len() > BUILTIN_LIMIT_BYTES {
            return Err(Error::new(Kind::Hostile, format!("{path} is larger than 16 MiB")));
        }
        content.read()
    };
    let list = read("modules.builtin")?;
    let names = str::from_utf8(&list).unwrap_or_default().lines();
    index.builtin.extend(names.filter_map(modinfo::module_file).map(|(name, _)| name));
    for (key, value) in modinfo::fields(&read("modules.builtin.modinfo")?) {
        if let Some((_, "alias")) = key.rsplit_once('.') {
            index.builtin_aliases.insert(value.to_owned());
        }
    }
    Ok(())
}

impl Index {
    /// Writes it to a file.
    pub(super) fn store(&self, path: &Path) -> Result<()> {
        let bytes = serde_json::to_vec(self)
            .map_err(|source| Error::new(Kind::Internal, "cannot encode the module index").because(source))?;
        let mut file = File::create_new(path).doing("create", path)?;
        file.write_all(&bytes).doing("write", path)
    }

    /// Reads what [`Index::store`] wrote.
    pub(super) fn load(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).doing("read module index", path)?;
        serde_json::from_slice(&bytes).map_err(|source| {
            Error::new(Kind::Io, format!("module index {} is damaged", path.display()))
                .because(source)
                .hint("remove its directory: it will be made again")
        })
    }

    /// The bytes of a module, uncompressed, out of the tree that the index was made of.
    pub(super) fn read(&self, name: &str, tree: &Tree) -> Result<Vec<u8>> {
        let gone = || Error::new(Kind::Internal, format!("module {name} is not in its kernel's tree"));
        let entry = self.modules.get(name).ok_or_else(gone)?;
        let Some(NodeKind::File(content)) = tree.get(&TreePath::new(&entry.path)?).map(|node| &node.kind)
        else {
            return Err(gone());
        };
        let (_, packing) = modinfo::module_file(&entry.path).ok_or_else(gone)?;
        let bytes = modinfo::unpack(name, packing, content.open()?)?;
        if Some(Digest::of(&bytes)) != entry.digest {
            let message = format!("module {name} has changed since it was indexed");
            return Err(Error::new(Kind::Digest, message));
        }
        Ok(bytes)
    }
}
