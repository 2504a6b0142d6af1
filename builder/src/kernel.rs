//! The kernel of an image: its release, its image file, and the modules that the named hardware needs.
//!
//! ```text
//! image      bzImage and Image: what they are, which release
//! modinfo    what one module says about itself
//! index      what a kernel has, made once per kernel
//! hardware   which modules drive which machine: the table
//! resolve    wishes to load order, pure
//! ```

pub mod hardware;
pub mod image;
mod index;
pub mod modinfo;
mod own;
mod resolve;

pub use image::{Format, format, version};

use crate::{
    cache::Origin as Made,
    context::Context,
    digest::{Digest, Hasher},
    error::{Doing, Error, Kind, Result},
    tree::{Content, Tree},
};
use coracle_format::device::Module;
use hardware::{BASE, RECORDERS, Stage, When, Wish};
use index::{Entry, Index};
use resolve::{Origin, Plan, Wanted};
use std::{collections::BTreeSet, fmt, fs::File, io::Write as _, path::Path};

/// The directory of module files on the device, in the initramfs and in the root alike.
pub const MODULE_DIR: &str = "/usr/lib/modules";
/// Changes whenever the same package would give another index.
const INDEX_VERSION: &[u8] = b"kernel-index-1";

/// What an image wants of its kernel.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Names of hardware classes, as [`hardware::CLASSES`] has them.
    pub hardware: Vec<String>,
    /// Modules that are always loaded, beside those.
    pub modules: Vec<String>,
    /// Modules that the image's own parts need before the root image is announced: `overlay` for writable roots.
    pub needed: Vec<&'static str>,
    /// Modules that drive what the image's own services use, where there is such a device.
    pub services: Vec<&'static str>,
}

/// The modules of an image.
#[derive(Clone, Debug)]
pub struct ModuleSet {
    /// What the initramfs loads, in load order.
    pub early: Vec<Module>,
    /// What the root loads, in load order. A module that the early stage loads for certain is not repeated.
    pub late: Vec<Module>,
    /// The files of the early modules, at their paths.
    pub early_files: Tree,
    /// The files of the late modules, at their paths.
    pub late_files: Tree,
}

/// A kernel.
pub struct Kernel<'a> {
    index: Index,
    image: Content,
    key: Digest,
    tree: Box<dyn Fn() -> Result<Tree> + 'a>,
}

impl fmt::Debug for Kernel<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kernel({})", self.index.release)
    }
}

impl<'a> Kernel<'a> {
    /// The kernel of a package with digest `key`. `tree` gives the package's files; it is called only when the cache
    /// does not have what is needed.
    pub fn from_package(ctx: &Context, key: &Digest, tree: impl Fn() -> Result<Tree> + 'a) -> Result<Self> {
        let image_of = |tree: &Tree| index::package_image(tree).map(|(_, content)| content);
        Self::indexed(ctx, key, tree, image_of)
    }

    /// The author's own kernel: a bzImage or Image, and a directory or tar archive with its modules.
    pub fn from_own(ctx: &Context, image: &Path, modules: Option<&Path>) -> Result<Self> {
        let path = image;
        let image = own::image(path)?;
        let tree = match modules {
            Some(path) => own::modules(ctx, path)?,
            None => Tree::new(),
        };
        let mut hasher = Hasher::default();
        hasher.field(&image.identity().0);
        hasher.field(&tree.identity().0);
        let image_of = |_: &Tree| Ok(image);
        Self::indexed(ctx, &hasher.digest(), move || Ok(tree.clone()), image_of).map_err(|error| {
            Error::new(error.kind(), format!("cannot use kernel {}", path.display())).because(error)
        })
    }

    fn indexed(
        ctx: &Context,
        source: &Digest,
        tree: impl Fn() -> Result<Tree> + 'a,
        image_of: impl FnOnce(&Tree) -> Result<Content>,
    ) -> Result<Self> {
        let mut hasher = Hasher::default();
        hasher.field(INDEX_VERSION);
        hasher.field(&source.0);
        let key = hasher.digest();
        let (dir, _) = ctx.cache.step(&key, |dir| {
            let tree = tree()?;
            let (image, release) = index::read_image(&image_of(&tree)?)?;
            write(&dir.join("image"), &image)?;
            write(&dir.join("image.sha256"), Digest::of(&image).to_string().as_bytes())?;
            index::make(ctx, &tree, &release)?.store(&dir.join("index.json"))
        })?;
        let digest_file = dir.join("image.sha256");
        let digest = std::fs::read_to_string(&digest_file).doing("read", &digest_file)?;
        let digest = digest.parse().map_err(|source| {
            Error::new(Kind::Io, format!("{} is damaged", digest_file.display())).because(source)
        })?;
        let image = dir.join("image");
        let bytes = image.metadata().doing("inspect", &image)?.len();
        Ok(Self {
            index: Index::load(&dir.join("index.json"))?,
            image: Content::file(&image, bytes, digest),
            key,
            tree: Box::new(tree),
        })
    }

    /// What `uname -r` shows.
    pub fn release(&self) -> &str {
        &self.index.release
    }

    /// The image file.
    pub fn image(&self) -> &Content {
        &self.image
    }

    /// How many modules the kernel has.
    pub fn module_count(&self) -> usize {
        self.index.modules.len()
    }

    /// Whether a driver is there as soon as PID 1 is: built in, as far as `modules.builtin` tells, or among the early
    /// modules of this set.
    pub fn drives_early(&self, driver: &str, modules: &ModuleSet) -> bool {
        self.index.builtin.contains(driver) || modules.early.iter().any(|module| module.name == driver)
    }

    /// The least set of modules that does what is asked.
    pub fn modules(&self, ctx: &Context, request: &Request) -> Result<ModuleSet> {
        let wanted = wanted(request)?;
        let Plan { early, late } = resolve::resolve(&self.index, &wanted, device_path)?;
        let names: BTreeSet<&str> = early.iter().chain(&late).map(|module| module.name.as_str()).collect();
        let dir = self.unpacked(ctx, &names)?;
        Ok(ModuleSet {
            early_files: self.files(&early, &dir)?,
            late_files: self.files(&late, &dir)?,
            early,
            late,
        })
    }

    /// The directory with the uncompressed files of these modules.
    fn unpacked(&self, ctx: &Context, names: &BTreeSet<&str>) -> Result<std::path::PathBuf> {
        let mut hasher = Hasher::default();
        hasher.field(b"kernel-modules-1");
        hasher.field(&self.key.0);
        for name in names {
            hasher.field(name.as_bytes());
        }
        let (dir, made) = ctx.cache.step(&hasher.digest(), |dir| {
            let tree = (self.tree)()?;
            for name in names {
                ctx.check()?;
                write(&dir.join(format!("{name}.ko")), &self.index.read(name, &tree)?)?;
            }
            Ok(())
        })?;
        if made == Made::Made {
            ctx.report.detail(format!("{} kernel modules unpacked", names.len()));
        }
        Ok(dir)
    }

    fn files(&self, modules: &[Module], dir: &Path) -> Result<Tree> {
        let mut tree = Tree::new();
        for module in modules {
            if let Some(Entry { bytes, digest: Some(digest), .. }) = self.index.modules.get(&module.name) {
                let file = dir.join(format!("{}.ko", module.name));
                tree.file(&module.path, 0o644, Content::file(&file, *bytes, *digest))?;
            }
        }
        Ok(tree)
    }
}

fn device_path(name: &str) -> String {
    format!("{MODULE_DIR}/{name}.ko")
}

/// The wishes of a request: what every machine needs, then the classes in the order of their table, then the modules.
fn wanted(request: &Request) -> Result<Vec<Wanted>> {
    for name in &request.hardware {
        if hardware::class(name).is_none() {
            let names: Vec<_> = hardware::CLASSES.iter().map(|class| class.name).collect();
            return Err(Error::new(Kind::Usage, format!("there is no hardware class {name:?}"))
                .hint(format!("the classes are {}", names.join(", "))));
        }
    }
    let of_table = |wish: &Wish| Wanted {
        name: wish.module.to_owned(),
        stage: wish.stage,
        when: wish.when,
        origin: Origin::Table,
    };
    let asked = |class: &&hardware::Class| request.hardware.iter().any(|name| name == class.name);
    let classes = hardware::CLASSES.iter().filter(asked).flat_map(|class| class.wishes);
    let mut wanted: Vec<Wanted> = BASE.iter().chain(classes).chain(RECORDERS).map(of_table).collect();
    wanted.extend(request.modules.iter().map(|name| Wanted {
        name: name.clone(),
        stage: Stage::Late,
        when: When::Always,
        origin: Origin::Manifest,
    }));
    wanted.extend(request.needed.iter().map(|name| Wanted {
        name: (*name).to_owned(),
        stage: Stage::Early,
        when: When::Always,
        origin: Origin::Table,
    }));
    wanted.extend(request.services.iter().map(|name| Wanted {
        name: (*name).to_owned(),
        stage: Stage::Late,
        when: When::Device,
        origin: Origin::Table,
    }));
    Ok(wanted)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = File::create_new(path).doing("create", path)?;
    file.write_all(bytes).doing("write", path)
}

#[cfg(test)]
mod tests;
