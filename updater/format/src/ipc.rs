//! Fixed-size datagrams between PID 1 and the services it supervises, on an inherited `SOCK_SEQPACKET` socketpair.
//!
//! A service finds its end as file descriptor [`SERVICE_FD`]. It sends heartbeats at least every
//! [`HEARTBEAT_SECONDS`] from its main loop, tells when it is ready, and names milestones of the boot; PID 1 tells what
//! has come up and when to stop. Anything that is not exactly one [`Message`] is dropped by the receiver.

use alloc::{borrow::ToOwned as _, string::String};

/// The descriptor a service inherits.
pub const SERVICE_FD: i32 = 3;
/// A healthy service sends a heartbeat at least this often.
pub const HEARTBEAT_SECONDS: u64 = 5;
/// PID 1 stops feeding the watchdog for a service that was silent this long.
pub const SILENCE_SECONDS: u64 = 20;
/// Bytes of every datagram.
pub const MESSAGE_BYTES: usize = 64;
/// Bytes of the text in a message.
pub const TEXT_BYTES: usize = MESSAGE_BYTES - 4;

/// One datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Service → PID 1: still turning.
    Heartbeat,
    /// Service → PID 1: what it is for is up (network: an address; clock: set; containers: all started once).
    Ready,
    /// Service → PID 1: a milestone for the boot chart, `container-web`; PID 1 logs it as a phase line.
    Milestone(String),
    /// PID 1 → service: the running release is committed (at once when it was before). Containers that wait for it start.
    Committed,
    /// PID 1 → service: the verified root image is mounted.
    SystemMounted,
    /// PID 1 → service: the state file system is mounted.
    StateMounted,
    /// PID 1 → service: the network has an address.
    NetworkUp,
    /// PID 1 → service: stop what you run and end.
    Stop,
}

impl Message {
    /// The datagram. Text longer than [`TEXT_BYTES`] is cut at a character boundary.
    pub fn encode(&self) -> [u8; MESSAGE_BYTES] {
        let (code, text) = match self {
            Self::Heartbeat => (1, ""),
            Self::Ready => (2, ""),
            Self::Milestone(text) => (3, text.as_str()),
            Self::StateMounted => (16, ""),
            Self::NetworkUp => (17, ""),
            Self::Stop => (18, ""),
            Self::SystemMounted => (19, ""),
            Self::Committed => (20, ""),
        };
        let mut out = [0; MESSAGE_BYTES];
        out[0] = code;
        let text = &text.as_bytes()[..text.floor_char_boundary(TEXT_BYTES)];
        out[4..4 + text.len()].copy_from_slice(text);
        out
    }

    /// The message in a datagram, `None` if it is not one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; MESSAGE_BYTES] = bytes.try_into().ok()?;
        let text = &bytes[4..];
        let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
        match bytes[0] {
            1 => Some(Self::Heartbeat),
            2 => Some(Self::Ready),
            3 => Some(Self::Milestone(core::str::from_utf8(&text[..end]).ok()?.to_owned())),
            16 => Some(Self::StateMounted),
            17 => Some(Self::NetworkUp),
            18 => Some(Self::Stop),
            19 => Some(Self::SystemMounted),
            20 => Some(Self::Committed),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_round_trip() {
        for message in [
            Message::Heartbeat,
            Message::Ready,
            Message::Milestone("container-web".to_owned()),
            Message::SystemMounted,
            Message::Committed,
            Message::StateMounted,
            Message::NetworkUp,
            Message::Stop,
        ] {
            assert_eq!(Message::decode(&message.encode()), Some(message));
        }
    }

    #[test]
    fn what_is_not_a_message_is_dropped() {
        assert_eq!(Message::decode(&[0; MESSAGE_BYTES]), None);
        assert_eq!(Message::decode(&[1; 3]), None);
        let mut bad_text = Message::Milestone("x".to_owned()).encode();
        bad_text[4] = 0xff;
        assert_eq!(Message::decode(&bad_text), None);
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let long = "é".repeat(40);
        let Some(Message::Milestone(text)) = Message::decode(&Message::Milestone(long).encode()) else {
            panic!("a milestone decodes to a milestone");
        };
        assert_eq!(text, "é".repeat(30));
    }
}
