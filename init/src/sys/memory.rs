//! Physical memory that the kernel keeps out of use.

use crate::cmdline;
use crate::fault::{Attempt, Fault};
use crate::ring::Store;
use rustix::mm::{MapFlags, ProtFlags, mmap};
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering};

const DEVICE: &str = "/dev/mem";

/// A mapped range of it. It stays mapped until the process ends.
#[derive(Debug)]
pub struct Memory(&'static [AtomicU8]);

impl Memory {
    /// Maps it past the processor's caches, so that a reset finds what was written. A kernel that is locked down
    /// (Secure Boot) refuses.
    pub fn map(range: cmdline::Ring) -> Result<Self, Fault> {
        let flags = nix::libc::O_SYNC;
        let device = OpenOptions::new().read(true).write(true).custom_flags(flags).open(DEVICE);
        let device = device.attempt("open", DEVICE)?;
        let bytes = usize::try_from(range.bytes).attempt("map", DEVICE)?;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at a place of the kernel's choice changes no memory of this program. What is behind it
        // belongs to nobody else: the command line keeps it out of use, and the kernel refuses memory that it uses.
        let start = unsafe {
            mmap(std::ptr::null_mut(), bytes, protection, MapFlags::SHARED, &device, range.address)
        };
        let start = start.attempt("map", DEVICE)?;
        let start = NonNull::new(start).ok_or("it is at address 0").attempt("map", DEVICE)?;
        // SAFETY: the mapping is `bytes` long, readable, writable and never unmapped; every byte is a valid `AtomicU8`,
        // which is what makes it harmless that whoever else maps it may write there.
        Ok(Self(unsafe { std::slice::from_raw_parts(start.as_ptr().cast(), bytes) }))
    }

    /// Everything in it.
    pub fn read(&self) -> Vec<u8> {
        self.0.iter().map(|byte| byte.load(Ordering::Relaxed)).collect()
    }
}

impl Store for Memory {
    fn bytes(&self) -> usize {
        self.0.len()
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        let places = self.0.iter().skip(at);
        for (place, byte) in places.zip(bytes) {
            place.store(*byte, Ordering::Relaxed);
        }
    }
}
