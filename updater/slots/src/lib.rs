//! The slot record in the `meta` partition and every transition on it.
//!
//! One rule, one place: the selector, PID 1, the updater and the test harness all decide with this code. Nothing here
//! does I/O, allocates or reads a clock. The byte table is in `docs/formats/meta.md`.
//!
//! A record stands twice in `meta` ([`COPY_OFFSETS`]). A change is encoded with the next sequence number and written over
//! the *older* copy, then flushed: whatever a power cut tears, the other copy is whole.
#![no_std]
#![forbid(unsafe_code)]

mod bytes;
mod record;
mod transition;

pub use bytes::{COPY_BYTES, COPY_OFFSETS, Found, NotARecord, parse, parse_copies};
pub use record::{Record, Release, Slot, SlotState, Verdict};
pub use transition::{Choice, Reason, RefusedTransition, TRIAL_STARTS};
