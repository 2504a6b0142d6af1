//! The state file system: laid out and made on the first boot, then checked, mounted and grown on every boot.
//!
//! Every step may be cut off by a power failure and is completed by the next boot. Data are never formatted away; see
//! `docs/formats/disk.md`.

use super::identity::{self, Keep};
use super::signature::{self, Decision, Ext, HEAD_BYTES, LABEL, PARTITION};
use super::{fsck, plan};
use crate::fault::{Attempt, Fault};
use crate::kmsg::{self, Level};
use crate::phase::{self, KernelLog, Phase, Weight};
use crate::root::load_config;
use crate::sys::ioctl::{self, PartitionChange};
use crate::sys::random;
use coracle_block::{Access, Devices, Disk, Partition};
use coracle_format::device::SYSTEM;
use coracle_format::gpt::Table;
use coracle_format::guid::Guid;
use coracle_format::layout::Role;
use nix::mount::{MsFlags, mount};
use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::process::ExitCode;

/// Where it is mounted.
pub(super) const MOUNT_POINT: &str = "/state";
/// Its directories and their modes.
const DIRECTORIES: [(&str, u32); 3] =
    [("/state/volumes", 0o755), ("/state/log", 0o755), ("/state/lib", 0o700)];

/// What the steps have found so far.
#[derive(Debug, Default)]
struct Job {
    disk_name: String,
    disk: Option<Disk>,
    table: Option<Table>,
    state: Option<Partition>,
    /// Device node of the partition.
    device: String,
    fresh: bool,
}

const PHASES: [Phase<Job>; 6] = [
    Phase { name: "state-layout", weight: Weight::Needed, run: lay_out },
    Phase { name: "state-format", weight: Weight::Needed, run: format_if_unused },
    Phase { name: "state-check", weight: Weight::Needed, run: check },
    Phase { name: "state-mount", weight: Weight::Needed, run: mount_state },
    Phase { name: "state-grow", weight: Weight::Optional, run: grow },
    Phase { name: "state-directories", weight: Weight::Needed, run: make_directories },
];

const IDENTITY: [Phase<Keep>; 2] = [
    Phase {
        name: "identity",
        weight: Weight::Optional,
        run: |keep| load_config().and_then(|config| identity::set(&config, *keep)),
    },
    Phase {
        name: "random-seed",
        weight: Weight::Optional,
        run: |keep| match keep {
            Keep::OnState => identity::stir_seed(),
            Keep::InMemory => Ok(()),
        },
    },
];

/// Runs all steps. Without a usable state the machine goes on; what needs state does not start.
pub(super) fn run() -> ExitCode {
    let mut job = Job::default();
    let (mut keep, code) = match phase::run(&PHASES, &mut job, &mut KernelLog) {
        Ok(()) => (Keep::OnState, ExitCode::SUCCESS),
        Err(_) => (Keep::InMemory, ExitCode::FAILURE),
    };
    identity::publish(keep, &job.device);
    if let Err(failed) = phase::run(&IDENTITY, &mut keep, &mut KernelLog) {
        kmsg::log(Level::Error, &failed.fault.line());
    }
    code
}

fn missing() -> Fault {
    Fault::new("use", "the disk", "an earlier step did not run")
}

impl Job {
    fn parts(&self) -> Result<(&Disk, &Table, &Partition), Fault> {
        match (&self.disk, &self.table, &self.state) {
            (Some(disk), Some(table), Some(state)) => Ok((disk, table, state)),
            (_, _, _) => Err(missing()),
        }
    }
}

/// Opens the disk of the root, brings its table up to date, and tells the kernel.
fn lay_out(job: &mut Job) -> Result<(), Fault> {
    let devices = Devices::default();
    let root = std::fs::metadata(SYSTEM).attempt("look at", SYSTEM)?.dev();
    let pair = format!("{}:{}", nix::sys::stat::major(root), nix::sys::stat::minor(root));
    job.disk_name = devices.origin(&pair)?.disk;
    let disk = devices.open(&job.disk_name, Access::Write)?;
    let found = disk.inspect_table()?;
    let plan = plan::make(&found, disk.geometry().blocks, || random::bytes().map(Guid::from_random))?;
    if plan.write {
        disk.write_table(&plan.table)?;
    }
    for role in [Role::SlotB, Role::State] {
        tell_kernel(&devices, &job.disk_name, &disk, &plan.table, role)?;
    }
    let state = Disk::partition(&plan.table, Role::State).ok_or_else(missing)?;
    let node = devices.node(&Devices::partition_name(&job.disk_name, state.number));
    job.device = node.display().to_string();
    (job.disk, job.table, job.state) = (Some(disk), Some(plan.table), Some(state));
    Ok(())
}

/// Makes the kernel's view of one partition what the table says. The others are in use, so it cannot read it all anew.
fn tell_kernel(devices: &Devices, name: &str, disk: &Disk, table: &Table, role: Role) -> Result<(), Fault> {
    let Some(partition) = Disk::partition(table, role) else {
        return Ok(());
    };
    let change = match devices.kernel_partition(name, partition.number)? {
        None => PartitionChange::Add,
        Some((offset, _)) if offset != partition.offset => {
            return Err(Fault::new(
                "tell the kernel about",
                role.label(),
                "it knows another partition there",
            ));
        }
        Some((_, bytes)) if bytes == partition.bytes => return Ok(()),
        Some(_) => PartitionChange::Resize,
    };
    let tell = || {
        let number = i32::try_from(partition.number).map_err(std::io::Error::other)?;
        let offset = i64::try_from(partition.offset).map_err(std::io::Error::other)?;
        let bytes = i64::try_from(partition.bytes).map_err(std::io::Error::other)?;
        ioctl::change_partition(disk.file()?, change, number, (offset, bytes))
    };
    tell().attempt("tell the kernel about", role.label())
}

/// Makes a file system where nothing was ever kept. Order: file system, sync, only then the mark is cleared.
fn format_if_unused(job: &mut Job) -> Result<(), Fault> {
    let (disk, table, state) = job.parts()?;
    let attributes = table.find(Role::State).map_or(0, |partition| partition.attributes);
    let mut head = vec![0; HEAD_BYTES];
    disk.read_within(state, 0, &mut head)?;
    match signature::decide(attributes, &head) {
        Decision::Keep => return Ok(()),
        Decision::Refuse(kind) => {
            let why = format!("the {PARTITION} partition already holds {kind}, which is left alone");
            return Err(Fault::new("make a file system on", &job.device, why));
        }
        Decision::Adopt => kmsg::log(Level::Notice, "the state of an earlier installation is kept"),
        Decision::Format => {
            fsck::make(&job.device, LABEL)?;
            let made = File::open(&job.device).attempt("open", &job.device)?;
            made.sync_all().attempt("sync", &job.device)?;
            job.fresh = true;
        }
    }
    let (disk, table, _) = job.parts()?;
    let used = plan::in_use(table);
    disk.write_table(&used)?;
    job.table = Some(used);
    Ok(())
}

/// Runs the checker unless the file system is new, or says that it was unmounted in order: the checker itself would
/// look no further then, and to load it takes longer than everything else here.
fn check(job: &mut Job) -> Result<(), Fault> {
    let clean = read_ext(job)?.is_some_and(|ext| ext.is_clean);
    if job.fresh || clean { Ok(()) } else { fsck::check(&job.device) }
}

fn read_ext(job: &Job) -> Result<Option<Ext>, Fault> {
    let mut head = vec![0; HEAD_BYTES];
    let device = File::open(&job.device).attempt("open", &job.device)?;
    device.read_exact_at(&mut head, 0).attempt("read", &job.device)?;
    Ok(Ext::parse(&head))
}

/// Volumes may hold programs that a container brought there itself, so `noexec` would break what works elsewhere.
fn mount_state(job: &mut Job) -> Result<(), Fault> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOATIME;
    let options = Some("errors=remount-ro");
    mount(Some(job.device.as_str()), MOUNT_POINT, Some("ext4"), flags, options).attempt("mount", &job.device)
}

/// Lets the file system fill its partition.
fn grow(job: &mut Job) -> Result<(), Fault> {
    let (_, _, state) = job.parts()?;
    let ext = read_ext(job)?.ok_or("it has no ext superblock").attempt("measure", &job.device)?;
    let wanted = state.bytes / ext.block_bytes;
    if wanted <= ext.blocks {
        return Ok(());
    }
    let mount_point = File::open(MOUNT_POINT).attempt("open", MOUNT_POINT)?;
    ioctl::grow_ext4(&mount_point, wanted).attempt("grow", MOUNT_POINT)?;
    let line = format!("state has grown from {} to {wanted} blocks of {} bytes", ext.blocks, ext.block_bytes);
    kmsg::log(Level::Notice, &line);
    Ok(())
}

fn make_directories(_: &mut Job) -> Result<(), Fault> {
    for (path, mode) in DIRECTORIES {
        match DirBuilder::new().mode(mode).create(path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(Fault::new("make", path, error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}
