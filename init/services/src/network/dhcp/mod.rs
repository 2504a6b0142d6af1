//! DHCPv4 (RFC 2131): frames, messages, the judgement of leases and the client's state machine, all without I/O; and the
//! sockets.

pub(super) mod client;
pub(super) mod frame;
pub(super) mod lease;
pub(super) mod message;
pub(super) mod socket;

/// Milliseconds of `CLOCK_BOOTTIME`: leases run on while the machine sleeps.
pub(super) type Millis = u64;
