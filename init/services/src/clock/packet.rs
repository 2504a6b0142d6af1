//! SNTP messages (RFC 4330, RFC 5905): the request, and what of an answer can be believed. No I/O.

use super::sample::{Nanos, Sample};
use std::fmt;

/// Bytes of a message without extensions.
pub(super) const MESSAGE_BYTES: usize = 48;
/// The largest answer read.
pub(super) const LARGEST_BYTES: usize = 1024;
/// Leap indicator 0, version 4, mode 3 (client).
const CLIENT: u8 = 0x23;
const MODE_SERVER: u8 = 4;
const LEAP_UNSYNCHRONISED: u8 = 3;
const LARGEST_STRATUM: u8 = 15;
/// Seconds from 1900, where NTP's first era starts, to 1970.
const UNIX_OFFSET: i64 = 2_208_988_800;
const ERA_SECONDS: i64 = 1 << 32;
const SECOND: Nanos = 1_000_000_000;
/// How far the server may be from a reference clock, and we from the server, in its own and our measurement.
const LARGEST_DISTANCE: Nanos = 5 * SECOND;

/// The request. The nonce stands where a client's own time would: the server returns it, nobody else knows it, and our
/// time is nobody's business.
pub(super) fn request(nonce: u64) -> [u8; MESSAGE_BYTES] {
    let mut out = [0; MESSAGE_BYTES];
    out[0] = CLIENT;
    out[40..].copy_from_slice(&nonce.to_be_bytes());
    out
}

/// Why an answer is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Too short or too long.
    Length,
    /// Not an answer of a server.
    Mode,
    /// Not to the question that was asked.
    Nonce,
    /// The server does not want to be asked (so often).
    Kiss,
    /// The server's own clock is not set.
    Unsynchronised,
    /// Times are missing or do not go forward.
    Times,
    /// Too far from a reference clock to be of use.
    Distance,
    /// Before the moment at which this image was made.
    BeforeFloor,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "its answer has the wrong length",
            Self::Mode => "it does not answer as a server",
            Self::Nonce => "its answer is to another question",
            Self::Kiss => "it does not want to be asked",
            Self::Unsynchronised => "its own clock is not set",
            Self::Times => "its times do not go forward",
            Self::Distance => "it is too far from a reference clock",
            Self::BeforeFloor => "its time is before this image was made",
        })
    }
}

impl Refused {
    /// Whether what came is somebody else's doing, so that the server's answer is still to be waited for.
    pub(super) const fn is_noise(self) -> bool {
        match self {
            Self::Length | Self::Mode | Self::Nonce => true,
            Self::Kiss | Self::Unsynchronised | Self::Times | Self::Distance | Self::BeforeFloor => false,
        }
    }
}

/// When a request was sent and its answer received, by the local clock, and what identifies it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exchange {
    pub(super) nonce: u64,
    pub(super) sent: Nanos,
    pub(super) received: Nanos,
}

/// What an answer says about the local clock. `floor` is the earliest believable time, in seconds since 1970.
pub(super) fn judge(bytes: &[u8], exchange: Exchange, floor: i64) -> Result<Sample, Refused> {
    let message: &[u8; MESSAGE_BYTES] = match bytes.first_chunk() {
        Some(message) if bytes.len() <= LARGEST_BYTES => message,
        Some(_) | None => return Err(Refused::Length),
    };
    let (leap, version, mode) = (message[0] >> 6, message[0] >> 3 & 7, message[0] & 7);
    if mode != MODE_SERVER || !(3..=4).contains(&version) {
        return Err(Refused::Mode);
    }
    if u64::from_be_bytes(field(message, 24)) != exchange.nonce {
        return Err(Refused::Nonce);
    }
    let stratum = message[1];
    if stratum == 0 {
        return Err(Refused::Kiss);
    }
    if leap == LEAP_UNSYNCHRONISED || stratum > LARGEST_STRATUM {
        return Err(Refused::Unsynchronised);
    }
    let arrived = timestamp(field(message, 32), floor).ok_or(Refused::Times)?;
    let left = timestamp(field(message, 40), floor).ok_or(Refused::Times)?;
    let delay = exchange.received - exchange.sent - (left - arrived);
    if left < arrived || delay < 0 {
        return Err(Refused::Times);
    }
    let root_delay = short(field(message, 4));
    let root_dispersion = short(field(message, 8));
    let distance = i64::midpoint(root_delay, delay) + root_dispersion;
    if distance > LARGEST_DISTANCE {
        return Err(Refused::Distance);
    }
    if left < floor.saturating_mul(SECOND) {
        return Err(Refused::BeforeFloor);
    }
    Ok(Sample {
        offset: i64::midpoint(arrived - exchange.sent, left - exchange.received),
        delay,
        distance,
        stratum,
    })
}

fn field<const N: usize>(message: &[u8; MESSAGE_BYTES], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&message[at..at + N]);
    out
}

/// A timestamp as nanoseconds since 1970, in the era that puts it nearest to the floor. `None` if it is not set.
fn timestamp(bytes: [u8; 8], floor: i64) -> Option<Nanos> {
    let both = u64::from_be_bytes(bytes);
    let seconds = i64::try_from(both >> 32).ok()?;
    let fraction = i64::try_from(both & 0xffff_ffff).ok()?;
    if seconds == 0 && fraction == 0 {
        return None;
    }
    let first = floor.saturating_sub(ERA_SECONDS / 2);
    let since = (seconds - UNIX_OFFSET).saturating_sub(first);
    let unix = first.saturating_add(since.rem_euclid(ERA_SECONDS));
    unix.checked_mul(SECOND)?.checked_add((fraction * SECOND) >> 32)
}

/// An unsigned 16.16 number of seconds as nanoseconds.
fn short(bytes: [u8; 4]) -> Nanos {
    (i64::from(u32::from_be_bytes(bytes)) * SECOND) >> 16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FLOOR: i64 = 1_700_000_000;
    const NOW: i64 = 1_760_000_000;
    const MS: Nanos = 1_000_000;

    fn exchange() -> Exchange {
        Exchange { nonce: 0x1122_3344_5566_7788, sent: NOW * SECOND, received: NOW * SECOND + 20 * MS }
    }

    fn ntp(unix_nanos: Nanos) -> [u8; 8] {
        let seconds = u32::try_from((unix_nanos / SECOND + UNIX_OFFSET) % ERA_SECONDS).unwrap();
        let fraction = u32::try_from(((unix_nanos % SECOND) << 32) / SECOND).unwrap();
        let mut out = [0; 8];
        out[..4].copy_from_slice(&seconds.to_be_bytes());
        out[4..].copy_from_slice(&fraction.to_be_bytes());
        out
    }

    /// A server two seconds ahead, ten milliseconds away, that took none to answer.
    fn answer() -> [u8; MESSAGE_BYTES] {
        let mut out = [0; MESSAGE_BYTES];
        out[0] = 0x24;
        out[1] = 2;
        out[24..32].copy_from_slice(&exchange().nonce.to_be_bytes());
        let time = ntp((NOW + 2) * SECOND + 10 * MS);
        out[32..40].copy_from_slice(&time);
        out[40..48].copy_from_slice(&time);
        out
    }

    #[test]
    fn offset_and_delay_come_from_the_four_times() {
        let sample = judge(&answer(), exchange(), FLOOR).unwrap();
        assert!((sample.offset - 2 * SECOND).abs() < 10, "{sample:?}");
        assert_eq!((sample.delay, sample.stratum), (20 * MS, 2));
        assert_eq!(sample.distance, 10 * MS);
    }

    #[test]
    fn every_rule_is_kept() {
        let refused = |change: &dyn Fn(&mut [u8; MESSAGE_BYTES])| {
            let mut bytes = answer();
            change(&mut bytes);
            judge(&bytes, exchange(), FLOOR).unwrap_err()
        };
        assert_eq!(refused(&|b| b[0] = 0x23), Refused::Mode);
        assert_eq!(refused(&|b| b[0] = 0x25), Refused::Mode);
        assert_eq!(refused(&|b| b[0] = 0x0c), Refused::Mode);
        assert_eq!(refused(&|b| b[0] = 0xe4), Refused::Unsynchronised);
        assert_eq!(refused(&|b| b[1] = 0), Refused::Kiss);
        assert_eq!(refused(&|b| b[1] = 16), Refused::Unsynchronised);
        assert_eq!(refused(&|b| b[31] ^= 1), Refused::Nonce);
        assert_eq!(refused(&|b| b[32..40].fill(0)), Refused::Times);
        assert_eq!(refused(&|b| b[40..48].fill(0)), Refused::Times);
        assert_eq!(refused(&|b| b[5] = 20), Refused::Distance);
        assert_eq!(refused(&|b| b[9] = 6), Refused::Distance);
        // Left before it arrived, and stayed longer than the round trip took.
        assert_eq!(refused(&|b| b[35] += 1), Refused::Times);
        assert_eq!(refused(&|b| b[43] += 1), Refused::Times);
        let short = &answer()[..47];
        assert_eq!(judge(short, exchange(), FLOOR), Err(Refused::Length));
        let long = [0; LARGEST_BYTES + 1];
        assert_eq!(judge(&long, exchange(), FLOOR), Err(Refused::Length));
    }

    #[test]
    fn a_time_before_the_floor_is_refused() {
        let floor = NOW + 100;
        assert_eq!(judge(&answer(), exchange(), floor), Err(Refused::BeforeFloor));
    }

    #[test]
    fn times_of_the_second_era_are_understood() {
        // 2036-02-07 06:28:16 UTC is the first second of NTP's second era.
        let era: i64 = 2_085_978_496;
        let parsed = timestamp(ntp((era + 5) * SECOND), FLOOR);
        assert_eq!(parsed, Some((era + 5) * SECOND));
    }

    #[test]
    fn the_request_tells_nothing_but_its_nonce() {
        let bytes = request(7);
        assert_eq!(bytes[0], 0x23);
        assert!(bytes[1..47].iter().all(|byte| *byte == 0));
        assert_eq!(bytes[47], 7);
    }

    proptest! {
        #[test]
        fn no_answer_makes_the_judge_panic_or_accept_a_time_before_the_floor(
            mut bytes in proptest::collection::vec(any::<u8>(), 48..80),
            floor in 0_i64..8_000_000_000,
        ) {
            bytes[0] = 0x24;
            bytes[24..32].copy_from_slice(&exchange().nonce.to_be_bytes());
            if let Ok(sample) = judge(&bytes, exchange(), floor) {
                prop_assert!(sample.delay >= 0 && sample.distance <= LARGEST_DISTANCE);
                prop_assert!(exchange().received + sample.offset + SECOND >= floor * SECOND);
            }
        }
    }
}
