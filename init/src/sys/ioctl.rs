//! ioctls.

use rustix::ioctl::{self, Opcode, Setter, Updater, opcode};
use std::fs::File;
use std::io;

/// Bytes of a device-mapper request: header and one target with its parameters.
pub const DM_BYTES: usize = 4096;
/// A device-mapper request; the kernel wants the 64-bit fields in place.
#[derive(Debug)]
#[repr(C, align(8))]
pub struct DmRequest(pub [u8; DM_BYTES]);

/// Bytes of the kernel's `struct dm_ioctl`, which is part of the request number.
pub const DM_HEADER_BYTES: usize = 312;

macro_rules! dm_command {
    ($(#[$doc:meta])* $name:ident, $number:literal) => {
        $(#[$doc])*
        pub fn $name(control: &File, request: &mut DmRequest) -> io::Result<()> {
            const REQUEST: Opcode = opcode::read_write::<[u8; DM_HEADER_BYTES]>(0xfd, $number);
            // SAFETY: the request number stands for a `struct dm_ioctl` that is read and written; its `data_size` field
            // is `DM_BYTES` (see `dm::request`), which is the size of the buffer, so the kernel stays inside of it.
            let update = unsafe { Updater::<REQUEST, DmRequest>::new(request) };
            // SAFETY: as above; `control` is only borrowed.
            unsafe { ioctl::ioctl(control, update) }.map_err(io::Error::from)
        }
    };
}

dm_command!(
    /// `DM_DEV_CREATE`
    dm_create, 3
);
dm_command!(
    /// `DM_DEV_REMOVE`
    dm_remove, 4
);
dm_command!(
    /// `DM_DEV_SUSPEND`; without the suspend flag it resumes.
    dm_resume, 6
);
dm_command!(
    /// `DM_TABLE_LOAD`
    dm_load, 9
);

/// Asks a watchdog for a timeout; returns the one it took.
pub fn set_watchdog_timeout(watchdog: &File, seconds: i32) -> io::Result<i32> {
    const REQUEST: Opcode = opcode::read_write::<i32>(b'W', 6);
    let mut value = seconds;
    // SAFETY: `WDIOC_SETTIMEOUT` reads and writes one int.
    let update = unsafe { Updater::<REQUEST, i32>::new(&mut value) };
    // SAFETY: as above; the descriptor is only borrowed.
    unsafe { ioctl::ioctl(watchdog, update) }?;
    Ok(value)
}

/// Asks for a warning this long before a watchdog's timeout.
pub fn set_watchdog_pretimeout(watchdog: &File, seconds: i32) -> io::Result<i32> {
    const REQUEST: Opcode = opcode::read_write::<i32>(b'W', 8);
    let mut value = seconds;
    // SAFETY: `WDIOC_SETPRETIMEOUT` reads and writes one int.
    let update = unsafe { Updater::<REQUEST, i32>::new(&mut value) };
    // SAFETY: as above; the descriptor is only borrowed.
    unsafe { ioctl::ioctl(watchdog, update) }?;
    Ok(value)
}

/// Lets a mounted ext4 file system grow to `blocks` of its own blocks.
pub fn grow_ext4(mount_point: &File, blocks: u64) -> io::Result<()> {
    const REQUEST: Opcode = opcode::write::<u64>(b'f', 16);
    // SAFETY: `EXT4_IOC_RESIZE_FS` reads one 64-bit number of blocks.
    let set = unsafe { Setter::<REQUEST, u64>::new(blocks) };
    // SAFETY: as above; the descriptor is only borrowed.
    unsafe { ioctl::ioctl(mount_point, set) }.map_err(io::Error::from)
}

/// What the kernel is told about one partition of a disk in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionChange {
    /// It is new.
    Add,
    /// It has another length.
    Resize,
}

#[repr(C)]
#[derive(Debug)]
struct BlkpgPartition {
    start: i64,
    length: i64,
    number: i32,
    device_name: [u8; 64],
    volume_name: [u8; 64],
}

#[repr(C)]
#[derive(Debug)]
struct BlkpgArgument {
    operation: i32,
    flags: i32,
    data_length: i32,
    data: *mut BlkpgPartition,
}

/// Tells the kernel about a partition of a disk whose other partitions are in use. Offsets in bytes.
pub fn change_partition(
    disk: &File,
    change: PartitionChange,
    number: i32,
    (start, length): (i64, i64),
) -> io::Result<()> {
    const REQUEST: Opcode = opcode::none(0x12, 105);
    let mut partition = BlkpgPartition { start, length, number, device_name: [0; 64], volume_name: [0; 64] };
    let argument = BlkpgArgument {
        operation: match change {
            PartitionChange::Add => 1,
            PartitionChange::Resize => 3,
        },
        flags: 0,
        data_length: i32::try_from(size_of::<BlkpgPartition>()).unwrap_or(0),
        data: &raw mut partition,
    };
    // SAFETY: `BLKPG` reads a `struct blkpg_ioctl_arg`, which `BlkpgArgument` mirrors field by field.
    let set = unsafe { Setter::<REQUEST, BlkpgArgument>::new(argument) };
    // SAFETY: the argument's pointer is to `partition`, a mirror of `struct blkpg_partition` that lives until the end
    // of this function, with its true size beside it.
    unsafe { ioctl::ioctl(disk, set) }.map_err(io::Error::from)
}
