//! Control of a machine from outside: the bytes on the channel between an operator's program and the control service.
//!
//! A session is hello, challenge, requests. Every request is signed by an operator's key over the challenge of this very
//! session and a running number, so none is worth anything a second time or on another machine. The channel is a stream
//! of bytes that may begin in the middle of what an earlier client left: [`Reader`] finds its way back by itself. The
//! byte tables are in `docs/formats/control.md`. No I/O, no clock, no keys here.

mod frame;
mod message;
mod request;

pub use frame::{FRAME_BYTES_MAX, HEADER_BYTES, PAYLOAD_BYTES_MAX, Reader, encode};
pub use message::{
    Challenge, Frame, Hello, NONCE_BYTES, Output, REQUEST_BYTES_MAX, Refusal, Signed, signed_bytes,
};
pub use request::{
    APPLY_BYTES_MAX, ApplyFrom, LogFrom, NAME_BYTES_MAX, PATH_BYTES_MAX, Request, TAIL_LINES_MAX,
    TEXT_BYTES_MAX,
};

/// Bytes of an Ed25519 public key.
pub const KEY_BYTES: usize = 32;
/// Bytes of an Ed25519 signature.
pub const SIGNATURE_BYTES: usize = 64;
/// What a key looks like in a manifest: this, then 64 lower-case hexadecimal digits.
pub const KEY_PREFIX: &str = "ed25519:";
/// A service that waits for something says so this often, so that a client can tell a busy machine from a dead one.
pub const ALIVE_SECONDS: u64 = 5;
/// A session without a request, and a stream without a byte of it, end after this long.
pub const IDLE_SECONDS: u64 = 60;
/// A frame that is incomplete this long after its first byte is not one: that byte is passed over.
pub const STALE_SECONDS: u64 = 2;

/// The key in `ed25519:<64 hexadecimal digits>`.
pub fn parse_key(text: &str) -> Option<[u8; KEY_BYTES]> {
    let digits = text.strip_prefix(KEY_PREFIX)?.as_bytes();
    let mut key = [0; KEY_BYTES];
    if digits.len() != 2 * KEY_BYTES {
        return None;
    }
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(key)
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
