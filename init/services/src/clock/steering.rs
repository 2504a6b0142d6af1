//! The kernel's clock: reading, stepping, and letting it run faster or slower.

use super::discipline::stepped;
use super::sample::Nanos;
use clock_steering::unix::UnixClock;
use clock_steering::{Clock as _, LeapIndicator};
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};
use std::io;
use std::time::Duration;

const SECOND: Nanos = 1_000_000_000;

/// The wall clock, nanoseconds since 1970.
pub(super) fn wall() -> Nanos {
    nanos(clock_gettime(ClockId::Realtime))
}

/// Nanoseconds since the start, suspended time included: what intervals are measured by.
pub(super) fn running() -> Nanos {
    nanos(clock_gettime(ClockId::Boottime))
}

fn nanos(time: Timespec) -> Nanos {
    time.tv_sec.saturating_mul(SECOND).saturating_add(time.tv_nsec)
}

/// Sets the clock forward or back by `offset`, but never below `floor`.
pub(super) fn step(offset: Nanos, floor: Nanos) -> io::Result<()> {
    set(stepped(wall(), offset, floor))
}

/// Raises the clock to `floor` if it is below. Says whether it was.
pub(super) fn raise_to(floor: Nanos) -> io::Result<bool> {
    let below = wall() < floor;
    if below {
        set(floor)?;
    }
    Ok(below)
}

fn set(time: Nanos) -> io::Result<()> {
    let time = Timespec { tv_sec: time.div_euclid(SECOND), tv_nsec: time.rem_euclid(SECOND) };
    Ok(clock_settime(ClockId::Realtime, time)?)
}

/// Lets the clock run faster (or slower) than its crystal by this many parts per billion.
pub(super) fn set_rate(ppb: i32) -> io::Result<()> {
    UnixClock::CLOCK_REALTIME.set_frequency(f64::from(ppb) / 1000.0).map(drop).map_err(io::Error::other)
}

/// Takes the clock over from the kernel's own control loops.
pub(super) fn take_over() -> io::Result<()> {
    UnixClock::CLOCK_REALTIME.disable_kernel_ntp_algorithm().map_err(io::Error::other)
}

/// Tells the kernel that the clock is right within `distance`. From then on it copies the time to the hardware clock
/// every eleven minutes, until it has not been told for hours.
pub(super) fn mark_synced(distance: Nanos) -> io::Result<()> {
    let error = Duration::from_nanos(distance.unsigned_abs());
    UnixClock::CLOCK_REALTIME
        .error_estimate_update(error, error)
        .and_then(|()| UnixClock::CLOCK_REALTIME.set_leap_seconds(LeapIndicator::NoWarning))
        .map_err(io::Error::other)
}
