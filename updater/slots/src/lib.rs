//! What the `meta` partition keeps: the slot record and every transition on it, last words, and the history.
//!
//! One rule, one place: the selector, PID 1, the updater and the test harness all decide with this code. Nothing here
//! does I/O, allocates or reads a clock. The byte tables are in `docs/formats/meta.md`.
//!
//! A record stands twice in `meta` ([`COPY_OFFSETS`]). A change is encoded with the next sequence number and written over
//! the *older* copy, then flushed: whatever a power cut tears, the other copy is whole.
#![no_std]
#![forbid(unsafe_code)]

mod blocked;
mod bytes;
mod choice;
mod fields;
pub mod history;
mod record;
mod text;
mod transition;
pub mod words;

pub use blocked::BLOCKED_MAX;
pub use bytes::{COPY_BYTES, COPY_OFFSETS, Found, NotARecord, parse, parse_copies};
pub use choice::{Choice, PAUSE_SECONDS, PAUSE_SECONDS_MAX, Reason, TRIAL_STARTS};
pub use record::{Floors, Held, Record, Release, Slot, SlotState, Verdict};
pub use text::Text;
pub use transition::{MISSES_MAX, Obstacle, RefusedTransition};

/// Where the ring with the tail of the kernel log stands in the `meta` partition, on machines without reserved memory
/// for it: `docs/formats/meta.md`.
pub const RING_OFFSET: u64 = 256 << 10;
/// Bytes of that ring.
pub const RING_BYTES: usize = 128 << 10;
