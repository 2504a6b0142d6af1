//! From a manifest to a disk: the steps of a build, in order. Each is keyed by what goes into it and kept in the cache.

mod announce;
mod config;
mod elf;
mod local;
mod locking;
mod record;
mod requests;
mod root;
mod split;

pub use locking::{LockMode, SourceOptions};
pub use record::Record;
pub(crate) use root::PACKAGES_PATH;

use crate::{
    cache::Origin,
    container::{self, Bundle},
    context::Context,
    debian::{Package, unpack_all, vendor_packages},
    device,
    digest::{Digest, Hasher},
    error::{Doing as _, Error, Kind, Result},
    image::{
        cpio, disk, esp, ext4,
        slot::{Payload, Size},
        uki, verity,
    },
    kernel::{self, Kernel, ModuleSet, hardware},
    show,
    toolroot::{Group, ToolRoot},
    tree::{Content, Tree},
};
use coracle_format::slot::Arch;
use coracle_format::version::Version;
use coracle_manifests::{
    Manifest,
    manifest::{Arch as Declared, Control, KernelSource, Root, Source, Transport, Update},
};
use coracle_slots::{COPY_OFFSETS, Record as Slots};
use locking::Locked;
use split::Split;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Changes whenever the same inputs would give another image: cached steps of other versions are then left alone.
const STEPS_VERSION: &[u8] = b"coracle image steps 2";

/// The driver of the watchdog that the selector can start.
const WATCHDOG: &str = "i6300esb";
/// Panics, oopses, lockups, hung tasks and stalls become reboots.
const HANGS: &str = "panic=5 oops=panic softlockup_panic=1 nmi_watchdog=panic,1 sysctl.kernel.hung_task_panic=1 \
                     sysctl.kernel.panic_on_rcu_stall=1 rcupdate.rcu_cpu_stall_timeout=60 softdog.soft_panic=1";
/// Where the primary partition table is torn, the kernel believes the backup at the end of the disk.
const TABLES: &str = "gpt";
/// A panic is kept with 124 KiB of the log before it: as a rule all of a trial, with the kernel's command line.
const LAST_WORDS: &str = "pstore.kmsg_bytes=0x1f000 ramoops.record_size=0x20000";
/// The memory of the crash recorder, then the ring with the log's tail: `docs/explanation/boot.md`. Under Secure Boot the
/// kernel takes no addresses from us: the recorder then has a smaller memory by name, far below the top of the memory, which
/// firmware uses at every start.
const LAST_WORDS_X86_64: &str = "memmap=1M$0x8000000 ramoops.mem_address=0x8000000 ramoops.mem_size=0xe0000 \
                                 coracle.ring=0x80e0000:0x20000 reserve_mem=256K:128M:coracle";
/// A fixed address would be another machine's device. A coarse alignment keeps the place the same from one release to
/// the next.
const LAST_WORDS_AARCH64: &str = "reserve_mem=1M:16M:coracle ramoops.mem_name=coracle";

/// What to build, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The manifest.
    pub manifest: PathBuf,
    /// Output directory; `None`: `out/<name>-<arch>`.
    pub out: Option<PathBuf>,
    /// What may become of the lock.
    pub lock: LockMode,
    /// Where packages come from.
    pub source: SourceOptions,
    /// Whether a container tells when it started.
    pub probe: Probe,
}

/// Whether a container prints the boot clock before anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// None does: what is shipped.
    None,
    /// The first one does: what `coracle bench` boots.
    FirstContainer,
}

/// A built image.
#[derive(Debug)]
pub struct Built {
    /// The output directory.
    pub dir: PathBuf,
    /// The disk.
    pub disk: PathBuf,
    /// What it was built from.
    pub manifest: Manifest,
    /// What is known about it: `build.json`.
    pub record: Record,
    /// The program that prints the boot clock, for this architecture.
    pub probe: Content,
    lock: coracle_manifests::Lock,
}

impl Built {
    /// Its architecture.
    pub fn arch(&self) -> Arch {
        arch_of(&self.manifest)
    }

    /// The tool root with QEMU and the firmware for this image.
    pub fn qemu(&self, ctx: &Context, source: &SourceOptions) -> Result<ToolRoot> {
        let group = requests::qemu(self.manifest.image.arch);
        let locked = Locked::of(self.lock.clone(), &self.manifest, source);
        tool_root(ctx, &locked, group)
    }
}

/// Reads a manifest; all its faults are one error.
pub fn load(path: &Path) -> Result<Manifest> {
    Manifest::load(path)
        .map_err(|faults| Error::new(Kind::Usage, format!("{faults}\n\n{}", faults.render().trim_end())))
}

/// Builds the image, or finds that it is built already.
pub fn build(ctx: &Context, options: &Options) -> Result<Built> {
    let manifest = load(&options.manifest)?;
    let dir = options.out.clone().unwrap_or_else(|| default_out(&manifest));
    let mut locked = Locked::open(ctx, &manifest, &options.source, options.lock)?;
    let binaries = device::programs(ctx, &device::Source::find(locked.device()?)?, manifest.image.arch)?;
    let key = record::key(&manifest, &locked.lock, &binaries, options.probe)?;
    let _guard = lock_out(ctx, &dir)?;
    let disk = dir.join("disk.raw");
    let record = if let Some(record) = Record::current(&dir, &key)? {
        ctx.report.info(format!("{} is up to date", disk.display()));
        record
    } else {
        locked.settle_files(options.lock)?;
        if Record::read(&dir)?.is_some_and(|before| before.signed.is_some()) {
            ctx.report.warn(format!(
                "{} was signed for Secure Boot; the new one has to be signed again",
                disk.display()
            ));
        }
        Build { ctx, manifest: &manifest, locked: &locked, binaries: &binaries, probe: options.probe }
            .run(&dir, key)?
    };
    let lock = locked.into_lock();
    Ok(Built { dir, disk, manifest, record, probe: binaries.probe, lock })
}

/// Keeps other runs from writing to the same output directory.
pub(crate) fn lock_out(ctx: &Context, dir: &Path) -> Result<nix::fcntl::Flock<fs::File>> {
    ctx.cache.lock(&format!("out-{}", Digest::of(dir.as_os_str().as_encoded_bytes())))
}

/// Chooses the packages of a manifest anew; returns the lock and the one it replaced.
pub fn lock(
    ctx: &Context,
    manifest: &Manifest,
    source: &SourceOptions,
) -> Result<(coracle_manifests::Lock, Option<coracle_manifests::Lock>)> {
    locking::renew(ctx, manifest, source)
}

/// Keeps everything that the lock of a manifest names in `dir`, which then serves as a mirror.
pub fn vendor(ctx: &Context, manifest: &Manifest, source: &SourceOptions, dir: &Path) -> Result<()> {
    let locked = Locked::open(ctx, manifest, source, LockMode::Follow)?;
    let mut packages = Vec::new();
    for group in &locked.lock.group {
        packages.extend(locked.packages(&group.name)?);
    }
    packages.sort_by(|a, b| a.filename.cmp(&b.filename));
    packages.dedup_by(|a, b| a.sha256 == b.sha256);
    vendor_packages(ctx, &locking::mirrors(manifest, source)?, &packages, dir)
}

fn default_out(manifest: &Manifest) -> PathBuf {
    let image = &manifest.image;
    Path::new("out").join(format!("{}-{}", image.name.as_str(), image.arch.name()))
}

fn arch_of(manifest: &Manifest) -> Arch {
    match manifest.image.arch {
        Declared::X86_64 => Arch::X86_64,
        Declared::Aarch64 => Arch::Aarch64,
    }
}

fn tool_root(ctx: &Context, locked: &Locked<'_>, group: Group) -> Result<ToolRoot> {
    let packages = locked.packages(&requests::tools(group))?;
    let step = ctx.report.step(format!("tools for {}", group.name()));
    let (root, origin) = ToolRoot::of_packages(ctx, &packages, || locked.fetch(ctx, &packages))?;
    match origin {
        Origin::Cached => step.done("cached"),
        Origin::Made => step.done(format!("{} packages", packages.len())),
    }
    Ok(root)
}

/// A build under way.
struct Build<'a> {
    ctx: &'a Context,
    manifest: &'a Manifest,
    locked: &'a Locked<'a>,
    binaries: &'a device::Programs,
    probe: Probe,
}

/// The parts of the boot artefact.
struct Boot {
    bytes: Vec<u8>,
    kernel_bytes: u64,
    initramfs_bytes: u64,
    kernel_release: String,
}

impl Build<'_> {
    fn run(&self, dir: &Path, key: Digest) -> Result<Record> {
        self.fetch()?;
        let tools = tool_root(self.ctx, self.locked, Group::Build)?;
        let kernel = self.kernel()?;
        let modules = self.modules(&kernel)?;
        let bundles = self.bundles()?;
        let split = self.split(&modules, &bundles)?;
        let (root, root_key) = self.root(&tools, &split.image)?;
        let verity = self.verity((&root, &root_key))?;
        let boot = self.boot(&kernel, &split.memory, &modules, &verity)?;
        self.ctx.check()?;
        let payload = Payload {
            arch: arch_of(self.manifest),
            name: self.manifest.image.name.as_str(),
            version: self.manifest.image.version.as_str(),
            root: &root,
            verity: &verity,
            boot: &boot.bytes,
        };
        let step = self.ctx.report.step("write disk");
        fs::create_dir_all(dir).doing("create directory", dir)?;
        crate::bundle::remove(dir)?;
        let written = self.disk(&payload, &dir.join("disk.raw"))?;
        let record = Record::new(self, (&payload, &boot, &written), key)?;
        record.store(dir)?;
        step.done(format!(
            "{}  (payload {}, slot {})",
            dir.join("disk.raw").display(),
            show::bytes(payload.bytes()),
            show::bytes(payload.partition_bytes(self.slot_size())?)
        ));
        Ok(record)
    }

    /// Fetches every package the image is made of.
    fn fetch(&self) -> Result<()> {
        let groups = self.locked.lock.group.iter().filter(|group| !group.name.starts_with("tools."));
        let mut packages: Vec<Package> = Vec::new();
        for group in groups {
            packages.extend(self.locked.packages(&group.name)?);
        }
        packages.extend(self.locked.packages(&requests::tools(Group::Build))?);
        packages.sort_by_key(|a| a.sha256);
        packages.dedup_by(|a, b| a.sha256 == b.sha256);
        self.locked.fetch(self.ctx, &packages)
    }

    fn unpacked(&self, group: &str) -> Result<Tree> {
        unpack_all(self.ctx, &self.locked.packages(group)?)
    }

    fn kernel(&self) -> Result<Kernel<'_>> {
        let step = self.ctx.report.step("kernel");
        let kernel = match &self.manifest.kernel.source {
            KernelSource::Package(_) => {
                let mut hasher = Hasher::default();
                for package in self.locked.packages(requests::KERNEL)? {
                    hasher.field(&package.sha256.0);
                }
                Kernel::from_package(self.ctx, &hasher.digest(), || self.unpacked(requests::KERNEL))?
            }
            KernelSource::Own { image, modules } => {
                Kernel::from_own(self.ctx, &image.path, modules.as_ref().map(|input| input.path.as_path()))?
            }
        };
        step.done(format!("{}, {}", kernel.release(), show::bytes(kernel.image().len())));
        Ok(kernel)
    }

    fn modules(&self, kernel: &Kernel<'_>) -> Result<ModuleSet> {
        let step = self.ctx.report.step("kernel modules");
        let written = &self.manifest.kernel;
        let writable = self.manifest.containers.iter().any(|container| container.root == Root::Ephemeral);
        let request = kernel::Request {
            hardware: written.hardware.iter().map(|class| class.name().to_owned()).collect(),
            modules: written.modules.iter().map(|name| name.as_str().to_owned()).collect(),
            needed: if writable { vec!["overlay"] } else { Vec::new() },
            services: self.manifest.control.iter().flat_map(control_modules).copied().collect(),
        };
        let modules = kernel.modules(self.ctx, &request)?;
        step.done(format!(
            "{} early, {} late, of {}",
            modules.early.len(),
            modules.late.len(),
            kernel.module_count()
        ));
        Ok(modules)
    }

    fn bundles(&self) -> Result<Vec<Bundle>> {
        let arch = arch_of(self.manifest);
        let mut bundles = Vec::new();
        for declared in &self.manifest.containers {
            let step = self.ctx.report.step(format!("container {}", declared.name.as_str()));
            let packages = match &declared.source {
                Source::Packages(_) => {
                    let packages = self.locked.packages(&requests::container(declared.name.as_str()))?;
                    packages
                        .iter()
                        .map(|package| crate::debian::unpack(self.ctx, package))
                        .collect::<Result<Vec<_>>>()?
                }
                Source::Oci { .. } | Source::Rootfs(_) => Vec::new(),
            };
            let bundle = container::compile(self.ctx, declared, packages, arch).map_err(|error| {
                Error::new(error.kind(), format!("cannot prepare container {}", declared.name.as_str()))
                    .because(error)
            })?;
            step.done(format!("{} files", bundle.tree.len()));
            bundles.push(bundle);
        }
        split::place_containers(&mut bundles);
        if let (Probe::FirstContainer, Some(first)) = (self.probe, bundles.first_mut()) {
            announce::announce(first, &self.binaries.probe)?;
        }
        Ok(bundles)
    }

    /// The root file system: what is in memory, and what is on the image.
    fn split(&self, modules: &ModuleSet, bundles: &[Bundle]) -> Result<Split> {
        let epoch = self.locked.lock.epoch;
        let devices = bundles.iter().map(|bundle| bundle.device.clone()).collect();
        let runtime = self.unpacked(requests::RUNTIME)?;
        if let Some(warning) = requests::other_zstd(self.manifest, &self.locked.packages(requests::RUNTIME)?)
        {
            self.ctx.report.warn(warning);
        }
        let parts = root::Parts {
            services: self.binaries.services.clone(),
            update: self.manifest.update.as_ref().map(|update| self.update(update)).transpose()?,
            runtime: &runtime,
            modules,
            bundles,
            config: config::device(self.manifest, modules.late.clone(), devices, epoch)?,
            packages: record::package_list(&self.locked.lock),
        };
        root::root(&self.ctx.cache, self.manifest, parts)
    }

    /// The updater and whom it trusts.
    fn update(&self, update: &Update) -> Result<root::Update> {
        let trust = crate::files::keep(&self.ctx.cache, &update.root.path)?;
        Ok(root::Update { program: self.binaries.update.clone(), trust })
    }

    /// The root image's file, and the key that stands for its bytes.
    fn root(&self, tools: &ToolRoot, tree: &Tree) -> Result<(PathBuf, Digest)> {
        let step = self.ctx.report.step("root image");
        let epoch = self.locked.lock.epoch;
        let key = self.step_key("root", &[tree.identity()]);
        let (dir, origin) = self
            .ctx
            .cache
            .step(&key, |dir| ext4::build(self.ctx, tools, tree, epoch, &dir.join("root.img")).map(drop))?;
        let image = dir.join("root.img");
        let bytes = image.metadata().doing("inspect", &image)?.len();
        step.done(format!("{} files, {}{}", tree.len(), show::bytes(bytes), cached(origin)));
        Ok((image, key))
    }

    fn verity(&self, (root, key): (&Path, &Digest)) -> Result<verity::Verity> {
        let step = self.ctx.report.step("hash tree");
        let verity = verity::build(root, key)?;
        step.done(format!("{} blocks", verity.data_blocks));
        Ok(verity)
    }

    fn boot(
        &self,
        kernel: &Kernel<'_>,
        memory: &Tree,
        modules: &ModuleSet,
        verity: &verity::Verity,
    ) -> Result<Boot> {
        let step = self.ctx.report.step("boot artefact");
        let config = config::early(modules.early.clone())?;
        // Not compressed: the difference between two releases is taken of the files in it.
        let mut initrd = Vec::new();
        for tree in root::initramfs(self.binaries.init.clone(), memory, config)? {
            cpio::write(&tree, self.locked.lock.epoch, &mut initrd)?;
        }
        let linux = kernel.image().read()?;
        let stub = self.stub()?.read()?;
        let parts = uki::Parts {
            linux: &linux,
            initrd: &initrd,
            command_line: &self.command_line(&verity.argument(), kernel.drives_early(WATCHDOG, modules)),
            os_release: &root::os_release(
                self.manifest.image.name.as_str(),
                self.manifest.image.version.as_str(),
            ),
            uname: kernel.release(),
        };
        let bytes = uki::build(&stub, &parts)?;
        step.done(format!(
            "kernel {}, initramfs {}",
            show::bytes(kernel.image().len()),
            show::bytes(length(&initrd))
        ));
        Ok(Boot {
            bytes,
            kernel_bytes: kernel.image().len(),
            initramfs_bytes: length(&initrd),
            kernel_release: kernel.release().to_owned(),
        })
    }

    fn stub(&self) -> Result<Content> {
        let name = match arch_of(self.manifest) {
            Arch::X86_64 => "usr/lib/systemd/boot/efi/linuxx64.efi.stub",
            Arch::Aarch64 => "usr/lib/systemd/boot/efi/linuxaa64.efi.stub",
        };
        self.unpacked(requests::STUB)?.content(name)
    }

    /// The signed command line. Panics, oopses, lockups and hung tasks become reboots.
    fn command_line(&self, verity: &str, drives_watchdog: bool) -> String {
        let (console, memory) = match arch_of(self.manifest) {
            Arch::X86_64 => ("ttyS0", LAST_WORDS_X86_64),
            Arch::Aarch64 => ("ttyAMA0", LAST_WORDS_AARCH64),
        };
        let mut line = format!(
            "{verity} console={console} loglevel=6 printk.devkmsg=on {TABLES} {HANGS} {LAST_WORDS} {memory}"
        );
        // The selector may start this watchdog before the kernel: the release has its driver, and goes on feeding it.
        let feeds = config::watchdog(self.manifest) > 0;
        if feeds && drives_watchdog {
            line.push(' ');
            line.push_str(coracle_selector::WATCHDOG_WORD);
        }
        for args in [&self.manifest.kernel.args] {
            if !args.is_empty() {
                line.push(' ');
                line.push_str(args);
            }
        }
        line
    }

    fn disk(&self, payload: &Payload<'_>, out: &Path) -> Result<disk::Written> {
        let release = Digest::of(payload.boot);
        let seed = self.step_key("disk", &[release]);
        let selector = self.binaries.selector.read()?;
        let version = Version::parse(self.manifest.image.version.as_str()).map_or(0, Version::to_u64);
        let epoch = self.manifest.update.as_ref().map_or(0, |update| update.epoch);
        let record = Slots::shipped(release.0, version, epoch).encode();
        let mut meta = vec![0; usize::try_from(COPY_OFFSETS[1]).unwrap_or(0)];
        meta[..record.len()].copy_from_slice(&record);
        meta.extend_from_slice(&record);
        let contents = disk::Contents {
            seed: &seed,
            esp: &esp::build(payload.arch, &selector, &seed)?,
            meta: &meta,
            payload: *payload,
            slot_size: self.slot_size(),
        };
        disk::write(&contents, out)
    }

    fn slot_size(&self) -> Size {
        self.manifest.slot_size.map_or(Size::Default, |bytes| Size::Fixed(bytes.0))
    }

    fn step_key(&self, name: &str, parts: &[Digest]) -> Digest {
        let mut hasher = Hasher::default();
        hasher.field(STEPS_VERSION);
        hasher.field(name.as_bytes());
        hasher.update(&self.locked.lock.epoch.to_le_bytes());
        for package in self.locked.lock.packages_of(&requests::tools(Group::Build)) {
            hasher.field(package.sha256.as_bytes());
        }
        for part in parts {
            hasher.field(&part.0);
        }
        hasher.digest()
    }
}

/// The modules that the transports of the control service need.
fn control_modules(control: &Control) -> impl Iterator<Item = &'static &'static str> + use<> {
    let modules = |transport: &Transport| match transport {
        Transport::VirtioSerial => hardware::VIRTIO_SERIAL,
        Transport::Vsock => hardware::VSOCK,
    };
    control.transports.iter().flat_map(modules).collect::<Vec<_>>().into_iter()
}

fn cached(origin: Origin) -> &'static str {
    match origin {
        Origin::Cached => " (cached)",
        Origin::Made => "",
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
