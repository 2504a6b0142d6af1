//! Keeps the tail of the kernel log where a reset cannot take it, so that the release that takes over can tell how far
//! one that hung had come.
//!
//! On machines where the command line names reserved memory it is kept there from the first moment on. Where there is
//! none, or a locked-down kernel does not let us at it, it is kept on the disk, in `meta`, during trials only: written
//! there without a flush, since a reset does not take what the disk has accepted.

use crate::cmdline;
use crate::fault::{Attempt, Fault};
use crate::journal::Journal;
use crate::kmsg::now_ms;
use crate::ring::{self, Found, Store, Writer};
use crate::running::{Opened, Running};
use crate::sys::memory::Memory;
use crate::sys::wait;
use coracle_slots::RING_BYTES;
use coracle_slots::RING_OFFSET;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use std::os::fd::AsFd;
use std::path::Path;

/// What the ring of the run before this one held.
const BEFORE: &str = "/run/coracle/log-before";
/// More than a ring holds.
const BEFORE_BYTES_MAX: usize = 2 << 20;
/// How long the slot record may take to be found, and how often it is looked for.
const RECORD_WAIT_MS: u64 = 120_000;
const RECORD_PAUSE_MS: u64 = 250;

/// Copies the log until it is killed.
pub(super) fn run() -> Result<(), Fault> {
    let line = std::fs::read_to_string("/proc/cmdline").attempt("read", "the kernel command line")?;
    let root_hash = cmdline::parse_verity(&line).attempt("trust", "the kernel command line")?.root_hash;
    if let Some(Ok(memory)) = cmdline::parse_ring(&line).map(Memory::map) {
        let before = ring::read(&memory.read());
        return copy(memory, before, root_hash);
    }
    match wait_for_trial() {
        Some(opened) => {
            let ring = OnDisk(opened);
            let before = ring.read();
            copy(ring, before, root_hash)
        }
        None => Ok(()),
    }
}

fn copy(store: impl Store, before: Option<Found>, root_hash: [u8; 32]) -> Result<(), Fault> {
    if let Some(before) = before {
        let bytes = [&before.root_hash, before.text.as_slice()].concat();
        coracle_block::replace_file(Path::new(BEFORE), &bytes, 0o600)?;
    }
    let mut journal = Journal::open()?;
    let mut writer = Writer::begin(store, root_hash);
    loop {
        writer.append(journal.lines().as_bytes());
        wait::readable(journal.as_fd(), u64::MAX);
    }
}

/// What the ring of the run before this one held, wherever it was kept.
pub(super) fn before(opened: &Opened) -> Option<Found> {
    let saved = coracle_block::read_limited(Path::new(BEFORE), BEFORE_BYTES_MAX).ok();
    let in_memory = saved.and_then(|bytes| {
        let (root_hash, text) = bytes.split_first_chunk()?;
        Some(Found { root_hash: *root_hash, text: text.to_vec() })
    });
    in_memory.or_else(|| read_disk(opened))
}

/// Waits until it is known what runs; the disk, if it is on trial.
fn wait_for_trial() -> Option<Opened> {
    let until = now_ms().saturating_add(RECORD_WAIT_MS);
    while now_ms() < until {
        if let Ok(running) = Running::read() {
            return running.trial.then(|| running.open().ok()).flatten();
        }
        wait::pause(RECORD_PAUSE_MS);
    }
    None
}

fn read_disk(opened: &Opened) -> Option<Found> {
    let mut bytes = vec![0; RING_BYTES];
    opened.disk.read_within(&opened.meta, RING_OFFSET, &mut bytes).ok()?;
    ring::read(&bytes)
}

/// The ring in `meta`.
#[derive(Debug)]
struct OnDisk(Opened);

impl OnDisk {
    fn read(&self) -> Option<Found> {
        read_disk(&self.0)
    }
}

impl Store for OnDisk {
    fn bytes(&self) -> usize {
        RING_BYTES
    }

    /// Asks the kernel to hand the bytes to the disk, but not to flush them.
    fn write(&mut self, at: usize, bytes: &[u8]) {
        let Opened { disk, meta, .. } = &self.0;
        let offset = RING_OFFSET.saturating_add(u64::try_from(at).unwrap_or(0));
        if disk.write_within(meta, offset, bytes).is_err() {
            // A disk that takes no log is the least of this machine's troubles; others report it.
            return;
        }
        let place = meta.offset.saturating_add(offset);
        if let (Ok(file), Ok(place), Ok(length)) =
            (disk.file(), i64::try_from(place), i64::try_from(bytes.len()))
            && posix_fadvise(file, place, length, PosixFadviseAdvice::POSIX_FADV_DONTNEED).is_err()
        {
            // The kernel writes it by itself some seconds later.
        }
    }
}
