//! Releases that fail on purpose, made of good ones: something is laid over the initramfs before the bundle is signed.
//! The device knows nothing of it: to the machine this is a release like any other.

use crate::{Release, Variant, context, image_of, packages, scratch, signing};
use anyhow::{Context as _, Result};
use coracle::{
    build::Built,
    context::Context,
    digest::Digest,
    image::{
        cpio,
        inspect::Disk,
        sparse,
        uki::{self, Uki},
    },
    tree::{Tree, TreePath},
};
use coracle_format::{
    layout::Role,
    slot::{Arch, Descriptor},
};
use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt as _,
    path::Path,
};

/// Where the overlay has its shell: nothing of the image is there.
const SHELL: &str = "spoil/busybox";
/// A first program of its own, which the command line names.
const BESIDE: &str = "spoil/init";

/// What is wrong with a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoil {
    /// PID 1 ends at once.
    InitEnds,
    /// PID 1 does nothing at all: no driver is loaded, no watchdog armed.
    InitSleeps,
    /// PID 1 arms the hardware watchdog, as the real one does first, and then does nothing.
    InitHangs,
    /// The container runtime is not a program.
    NoRuntime,
    /// The health gate stops itself with SIGSTOP.
    GateStopped,
    /// The health gate ends without a word.
    GateEnds,
    /// The health gate lives, says so, and never decides anything.
    GateWaits,
    /// PID 1 is frozen when the containers run.
    InitFreezes,
    /// The kernel stands still when the containers run, and nothing has recorded why.
    KernelStops,
    /// The kernel crashes before anything was started.
    KernelPanics,
}

impl Spoil {
    /// The files laid over those of the initramfs.
    fn overlay(self, tree: &mut Tree) -> Result<()> {
        let (path, mode, text) = match self {
            Self::InitEnds => ("init", 0o755, script("exit 1")),
            Self::InitSleeps => ("init", 0o755, script(SLEEP)),
            Self::InitHangs => ("init", 0o755, script(HANG)),
            Self::KernelPanics => ("init", 0o755, script(PANIC)),
            Self::NoRuntime => ("usr/bin/crun", 0o644, String::new()),
            Self::GateStopped => ("usr/bin/coracle-update", 0o755, script("kill -STOP $$")),
            Self::GateEnds => ("usr/bin/coracle-update", 0o755, script("exit 0")),
            Self::GateWaits => ("usr/bin/coracle-update", 0o755, script(&heartbeats())),
            Self::InitFreezes => (BESIDE, 0o755, script(&beside(FREEZE))),
            Self::KernelStops => (BESIDE, 0o755, script(&beside(STOP))),
        };
        for dir in ["usr", "usr/bin"].iter().take_while(|dir| path.starts_with(**dir)) {
            tree.dir(dir, 0o755)?;
        }
        tree.file(path, mode, text.into_bytes())?;
        Ok(())
    }
}

const SLEEP: &str = "echo 'spoiled: there is no driver, and there will be none'
while :; do /spoil/busybox sleep 1000; done";

/// The modules as the real init loads them, then the device held open for ever.
const HANG: &str = "b=/spoil/busybox
$b mkdir -p /dev; $b mount -t devtmpfs dev /dev
for m in watchdog i6300esb; do for f in $($b find / -xdev -name \"$m.ko\"); do $b insmod $f; done; done
exec 3> /dev/watchdog0
echo > /dev/console 'spoiled: the watchdog is armed, nothing feeds it'
while :; do $b sleep 1000; done";

const PANIC: &str = "b=/spoil/busybox
$b mkdir -p /proc; $b mount -t proc proc /proc
echo c > /proc/sysrq-trigger";

/// Starts something beside PID 1 that waits for the containers, and becomes the real one.
fn beside(act: &str) -> String {
    format!(
        "b=/spoil/busybox
(
$b mkdir /spoil/proc; $b mount -t proc proc /spoil/proc; $b mknod /spoil/kmsg c 1 11
until $b dmesg | $b grep -q 'phase=container-ledger ok'; do $b sleep 1; done
echo '<5>{SPOILED}' > /spoil/kmsg
$b sleep 3
{act}
) &
exec /init"
    )
}

/// What a release that is spoiled while it runs says before.
pub const SPOILED: &str = "spoiled: this is the end";

/// Nothing that PID 1 does can thaw it.
const FREEZE: &str =
    "$b mkdir /spoil/cgroup; $b mount -t cgroup2 cgroup /spoil/cgroup; $b mkdir /spoil/cgroup/ice
echo 1 > /spoil/cgroup/ice/cgroup.procs
echo 1 > /spoil/cgroup/ice/cgroup.freeze";

/// A kernel that has crashed and does not restart: only a watchdog ends that.
const STOP: &str = "$b rmmod ramoops
echo 0 > /spoil/proc/sys/kernel/panic
echo c > /spoil/proc/sysrq-trigger";

/// A service that does nothing but send heartbeats: a message is 64 bytes, the first one says what it is.
fn heartbeats() -> String {
    format!("while /spoil/busybox printf '\\1{}' >&3; do /spoil/busybox sleep 2; done", "\\0".repeat(63))
}

fn script(text: &str) -> String {
    format!("#!/{SHELL} sh\n{text}\n")
}

impl Variant {
    /// Builds the release, and spoils it.
    pub fn spoiled(&self, spoil: Spoil) -> Result<Release> {
        let mut image = self.image()?;
        let ctx = context()?;
        let dir = scratch(&format!("ledger-{}-{}-spoiled", self.arch.name(), self.name))?;
        let disk = dir.join("disk.raw");
        sparse::duplicate(&image.disk, &disk, fs::metadata(&image.disk)?.len())?;
        change_boot(&disk, |boot, arch| artefact(&ctx, boot, spoil, arch))
            .with_context(|| format!("cannot spoil {}", self.name))?;
        let record = "build.json";
        fs::copy(image.dir.join(record), dir.join(record)).context("cannot keep the build's record")?;
        (image.dir, image.disk) = (dir, disk);
        let bundle = signing::bundle(&image, signing::Who::Us)?;
        Ok(Release { image, bundle, name: self.name })
    }

    /// Builds the image alone.
    pub(crate) fn image(&self) -> Result<Built> {
        image_of(&self.manifest()?, &format!("ledger-{}-{}", self.arch.name(), self.name))
    }
}

/// Replaces the boot artefact in slot A of a disk with what `change` makes of it; the digest of the new one. The slot
/// record is left as it is.
pub fn change_boot(path: &Path, change: impl FnOnce(&[u8], Arch) -> Result<Vec<u8>>) -> Result<[u8; 32]> {
    let disk = Disk::open(path)?;
    let slot = disk.slot(Role::SlotA)?.context("the disk has nothing in slot A")?;
    let range = disk.range(disk.table.find(Role::SlotA).context("the disk has no slot A")?);
    let boot = change(&slot.boot()?, slot.descriptor.arch)?;
    let mut descriptor = slot.descriptor;
    descriptor.boot.bytes = u64::try_from(boot.len())?;
    descriptor.boot_digest = Digest::of(&boot).0;
    let at = Descriptor::offset_in(range.bytes).context("the slot is too small")?;
    let file = OpenOptions::new().write(true).open(path)?;
    file.write_all_at(&boot, range.offset + descriptor.boot.offset)?;
    file.write_all_at(&descriptor.encode(), range.offset + at)?;
    Ok(descriptor.boot_digest)
}

/// A boot artefact that is spoiled.
pub fn artefact(ctx: &Context, old: &[u8], spoil: Spoil, arch: Arch) -> Result<Vec<u8>> {
    overlaid(ctx, old, arch, |tree| spoil.overlay(tree))
}

/// A boot artefact with a shell and what `overlay` adds as a further archive of its initramfs: the kernel unpacks one
/// over the other.
pub fn overlaid(
    ctx: &Context,
    old: &[u8],
    arch: Arch,
    overlay: impl FnOnce(&mut Tree) -> Result<()>,
) -> Result<Vec<u8>> {
    let uki = Uki::parse(old)?;
    let mut tree = Tree::new();
    tree.dir("spoil", 0o755)?;
    tree.file(SHELL, 0o755, packages::busybox_of(ctx, arch)?)?;
    overlay(&mut tree)?;
    let mut initrd = uki.initrd()?.to_vec();
    initrd.resize(initrd.len().next_multiple_of(4), 0);
    cpio::write(&tree, 0, &mut initrd)?;
    let mut command_line = uki.command_line()?.to_owned();
    if tree.get(&TreePath::new(BESIDE)?).is_some() {
        command_line.extend([" rdinit=/", BESIDE]);
    }
    let release = String::from_utf8(uki.section(".osrel").unwrap_or_default().to_vec())?;
    let parts = uki::Parts {
        linux: uki.linux()?,
        initrd: &initrd,
        command_line: &command_line,
        os_release: release.trim_end_matches('\0'),
        uname: uki.uname()?,
    };
    Ok(uki::build(&packages::stub(ctx, arch)?, &parts)?)
}

/// Flips one byte of a root image's superblock, which mounting it must read.
pub fn damage_root(disk: &Path, slot: Role) -> Result<()> {
    let opened = Disk::open(disk)?;
    let partition = opened.table.find(slot).context("no such slot")?;
    let at = opened.range(partition).offset + 1024;
    let file = OpenOptions::new().read(true).write(true).open(disk)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[byte[0] ^ 1], at)?;
    Ok(())
}
