//! UEFI's side of the selector. The one place with `unsafe`: protocols of the boot disk and of PCI devices are opened
//! beside the firmware's own drivers (exclusive opening would disconnect them, and hangs on some firmware), and the
//! `uefi` crate has no protocol for PCI devices.
#![expect(unsafe_code, reason = "UEFI opens shared protocols only by an unsafe call")]

use alloc::{format, vec, vec::Vec};
use coracle_format::gpt::Geometry;
use coracle_selector::{
    Disk, DiskError, Firmware, Start,
    i6300esb::{self, Space, Width, Write},
};
use core::{ffi::c_void, ptr, time::Duration};
use uefi::{
    Handle, Result, Status,
    boot::{self, LoadImageSource, OpenProtocolAttributes, OpenProtocolParams, ScopedProtocol, SearchType},
    proto::{
        ProtocolPointer,
        device_path::{DevicePath, DeviceSubType, DeviceType, build::DevicePathBuilder},
        loaded_image::LoadedImage,
        media::block::BlockIO,
        unsafe_protocol,
    },
};

/// Blocks are moved in pieces of at most this many bytes: some firmware refuses larger transfers.
const TRANSFER_BYTES: usize = 1 << 20;

/// The firmware and the boot disk.
pub(crate) struct Uefi {
    disk: BootDisk,
}

impl Uefi {
    /// Opens the disk that the running program was loaded from.
    pub(crate) fn open() -> Result<Self> {
        let image = open::<LoadedImage>(boot::image_handle())?;
        let partition = image.device().ok_or(Status::NOT_FOUND)?;
        let path = open::<DevicePath>(partition)?;
        let mut buffer = Vec::new();
        let mut builder = DevicePathBuilder::with_vec(&mut buffer);
        for node in path.node_iter() {
            if node.full_type() == (DeviceType::MEDIA, DeviceSubType::MEDIA_HARD_DRIVE) {
                break;
            }
            builder = builder.push(&node).ok().ok_or(Status::BUFFER_TOO_SMALL)?;
        }
        let mut disk_path: &DevicePath = builder.finalize().ok().ok_or(Status::BUFFER_TOO_SMALL)?;
        let handle = boot::locate_device_path::<BlockIO>(&mut disk_path)?;
        Ok(Self { disk: BootDisk { io: open::<BlockIO>(handle)?, handle } })
    }
}

fn open<P: ProtocolPointer + ?Sized>(handle: Handle) -> Result<ScopedProtocol<P>> {
    let params = OpenProtocolParams { handle, agent: boot::image_handle(), controller: None };
    // SAFETY: the handles are the firmware's own, of devices of the machine and of this program; nothing is disconnected
    // or unloaded before the selector hands over, so they stay valid for as long as the protocol is held.
    unsafe { boot::open_protocol(params, OpenProtocolAttributes::GetProtocol) }
}

impl Uefi {
    fn miss(&mut self, whose: &str, why: Status) {
        self.say(&format!("coracle: no {whose} watchdog ({why:?})"));
    }

    /// Tells the machine's watchdog what to do, if there is one.
    fn tell_watchdog(&mut self, writes: &[Write]) {
        let devices = boot::locate_handle_buffer(SearchType::from_proto::<PciIo>());
        for handle in devices.iter().flat_map(|devices| devices.iter()) {
            let Ok(mut device) = open::<PciIo>(*handle) else { continue };
            if device.id() != Some(i6300esb::ID) {
                continue;
            }
            let told = device.write_all(writes);
            if told.is_error() {
                self.miss("machine", told);
            }
        }
    }
}

impl Firmware for Uefi {
    fn disk(&mut self) -> &mut dyn Disk {
        &mut self.disk
    }

    fn start(&mut self, image: &[u8]) -> Start {
        let Ok(path) = open::<DevicePath>(self.disk.handle) else {
            return Start::Refused("the boot disk has no device path".into());
        };
        let source = LoadImageSource::FromBuffer { buffer: image, file_path: Some(&path) };
        Start::Refused(match boot::load_image(boot::image_handle(), source) {
            Err(error) => format!("the firmware refuses it ({:?})", error.status()),
            Ok(handle) => match boot::start_image(handle) {
                Err(error) => format!("it came back ({:?})", error.status()),
                Ok(()) => "it came back".into(),
            },
        })
    }

    fn arm_watchdog(&mut self, timeout: Duration) {
        let seconds = usize::try_from(timeout.as_secs()).unwrap_or(usize::MAX);
        if let Err(error) = boot::set_watchdog_timer(seconds, 0x1_0000, None) {
            self.miss("firmware", error.status());
        }
    }

    fn arm_kernel_watchdog(&mut self) {
        self.tell_watchdog(&i6300esb::START);
    }

    fn disarm_kernel_watchdog(&mut self) {
        self.tell_watchdog(&[i6300esb::STOP]);
    }

    fn say(&mut self, line: &str) {
        uefi::println!("{line}");
    }

    fn pause(&mut self, duration: Duration) {
        boot::stall(duration);
    }
}

/// Reads or writes the configuration space: width, offset, how many, where they are.
type ConfigCall = unsafe extern "efiapi" fn(*mut PciIo, u32, u32, usize, *mut c_void) -> Status;
/// Reads or writes a memory window: width, window, offset, how many, where they are.
type MemoryCall = unsafe extern "efiapi" fn(*mut PciIo, u32, u8, u64, usize, *mut c_void) -> Status;

/// `EFI_PCI_IO_PROTOCOL`, up to what is needed of it.
#[repr(C)]
#[unsafe_protocol("4cf5b200-68b8-4ca5-9eec-b23e3f50029a")]
struct PciIo {
    poll_and_memory_read: [usize; 3],
    memory_write: MemoryCall,
    ports: [usize; 2],
    config_read: ConfigCall,
    config_write: ConfigCall,
    copy_to_location: [usize; 7],
    attributes: unsafe extern "efiapi" fn(*mut PciIo, u32, u64, *mut u64) -> Status,
}

impl PciIo {
    /// `EfiPciIoWidthUint32`.
    const LONG: u32 = 2;
    /// `EfiPciIoAttributeOperationEnable`.
    const ENABLE: u32 = 2;
    /// `EFI_PCI_IO_ATTRIBUTE_MEMORY`.
    const MEMORY: u64 = 0x200;

    /// Vendor and device.
    fn id(&mut self) -> Option<u32> {
        let mut id = 0_u32;
        // SAFETY: the protocol is the firmware's and open; it puts one value of 32 bits into `id`.
        let status = unsafe { (self.config_read)(self, Self::LONG, 0, 1, (&raw mut id).cast()) };
        status.is_success().then_some(id)
    }

    /// Writes until something fails.
    fn write_all(&mut self, writes: &[Write]) -> Status {
        // SAFETY: the protocol is the firmware's and open; an operation that changes attributes returns none.
        let mut status = unsafe { (self.attributes)(self, Self::ENABLE, Self::MEMORY, ptr::null_mut()) };
        for write in writes {
            if status.is_error() {
                break;
            }
            status = self.write(*write);
        }
        status
    }

    fn write(&mut self, Write { space, width, at, mut value }: Write) -> Status {
        let width = match width {
            Width::Byte => 0,
            Width::Word => 1,
            Width::Long => Self::LONG,
        };
        let value = (&raw mut value).cast();
        match space {
            // SAFETY: the protocol is the firmware's and open; it reads one value of at most 32 bits, little-endian as
            // both architectures are.
            Space::Config => unsafe { (self.config_write)(self, width, at.into(), 1, value) },
            // SAFETY: the same; the firmware checks that `at` lies in the device's first window.
            Space::Memory => unsafe { (self.memory_write)(self, width, 0, at.into(), 1, value) },
        }
    }
}

struct BootDisk {
    io: ScopedProtocol<BlockIO>,
    handle: Handle,
}

impl BootDisk {
    fn block(&self) -> u64 {
        u64::from(self.io.media().block_size().max(1))
    }

    /// Runs `each` over the whole blocks that cover `length` bytes at `offset`, in pieces: (first block, buffer, range of
    /// the buffer that was asked for, position in the caller's bytes).
    fn pieces(
        &mut self,
        offset: u64,
        length: usize,
        mut each: impl FnMut(&mut Self, u64, &mut [u8], core::ops::Range<usize>, usize) -> uefi::Result,
    ) -> core::result::Result<(), DiskError> {
        let block = self.block();
        let mut done = 0;
        while done < length {
            let at = offset.checked_add(as_u64(done)).ok_or(DiskError("offset overflows"))?;
            let skip = as_usize(at % block);
            let wanted = (length - done).min(TRANSFER_BYTES);
            let covered = (skip + wanted).next_multiple_of(as_usize(block));
            let mut buffer = vec![0; covered];
            each(self, at / block, &mut buffer, skip..skip + wanted, done)
                .ok()
                .ok_or(DiskError("the firmware reports a disk error"))?;
            done += wanted;
        }
        Ok(())
    }
}

impl Disk for BootDisk {
    fn geometry(&self) -> Geometry {
        let media = self.io.media();
        Geometry { block_bytes: media.block_size(), blocks: media.last_block().saturating_add(1) }
    }

    fn read(&mut self, offset: u64, out: &mut [u8]) -> core::result::Result<(), DiskError> {
        self.pieces(offset, out.len(), |disk, lba, buffer, range, at| {
            let media = disk.io.media().media_id();
            disk.io.read_blocks(media, lba, buffer)?;
            out[at..at + range.len()].copy_from_slice(&buffer[range]);
            Ok(())
        })
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> core::result::Result<(), DiskError> {
        self.pieces(offset, bytes.len(), |disk, lba, buffer, range, at| {
            let media = disk.io.media().media_id();
            if range.len() != buffer.len() {
                disk.io.read_blocks(media, lba, buffer)?;
            }
            buffer[range.clone()].copy_from_slice(&bytes[at..at + range.len()]);
            disk.io.write_blocks(media, lba, buffer)
        })
    }

    fn flush(&mut self) -> core::result::Result<(), DiskError> {
        self.io.flush_blocks().ok().ok_or(DiskError("the firmware cannot flush the disk"))
    }
}

fn as_u64(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

fn as_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
