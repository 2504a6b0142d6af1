//! What a request sends behind itself.

use crate::error::{Error, Kind, Result};
use coracle_format::control::PAYLOAD_BYTES_MAX;
use std::io::Read;

/// The bytes that a request announced.
pub type Payload<'a> = Option<&'a mut dyn Read>;

/// Bytes that are kept until the machine has been heard: more than lies between the two at any time.
const KEPT_BYTES_MAX: usize = 16 << 20;

/// A payload on its way. A machine that has no session passes over what it is sent, so until it has been heard, all of it
/// may have to be sent again.
pub(super) struct Sending<'a> {
    payload: Payload<'a>,
    /// Bytes that are still to be read from it.
    unread: u64,
    /// What has been read, for as long as it may be wanted again; `None`: no longer, or it was too much.
    kept: Option<Vec<u8>>,
    /// Of that, bytes that have been sent.
    sent: usize,
}

impl<'a> Sending<'a> {
    /// So many bytes of a payload.
    pub(super) fn new(payload: Payload<'a>, bytes: u64) -> Self {
        Self { payload, unread: bytes, kept: Some(Vec::new()), sent: 0 }
    }

    /// The next piece; `None` when nothing is left.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>> {
        let again = self.kept.as_ref().and_then(|kept| kept.get(self.sent..)).unwrap_or_default();
        let again = &again[..again.len().min(PAYLOAD_BYTES_MAX)];
        if !again.is_empty() {
            let piece = again.to_vec();
            self.sent += piece.len();
            return Ok(Some(piece));
        }
        if self.unread == 0 {
            return Ok(None);
        }
        let piece = self.read()?;
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(&piece);
            self.sent = kept.len();
        }
        if self.sent > KEPT_BYTES_MAX {
            self.settle();
        }
        Ok(Some(piece))
    }

    fn read(&mut self) -> Result<Vec<u8>> {
        let mut piece = Vec::new();
        let limit = self.unread.min(u64::try_from(PAYLOAD_BYTES_MAX).unwrap_or(u64::MAX));
        if let Some(payload) = &mut self.payload {
            payload.take(limit).read_to_end(&mut piece).map_err(|source| {
                Error::new(Kind::Io, "cannot read what is to be sent to the machine").because(source)
            })?;
        }
        if piece.is_empty() {
            let message =
                format!("what is sent to the machine ended {} bytes before its announced end", self.unread);
            return Err(Error::new(Kind::Io, message).hint("was the file changed meanwhile?"));
        }
        self.unread = self.unread.saturating_sub(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        Ok(piece)
    }

    /// The machine takes it: nothing is sent again.
    pub(super) fn settle(&mut self) {
        (self.kept, self.sent) = (None, 0);
    }

    /// Begins again with the first byte, if that can be had; says whether.
    pub(super) fn rewind(&mut self) -> bool {
        self.sent = 0;
        self.kept.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest(sending: &mut Sending<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        while let Some(piece) = sending.next().unwrap() {
            assert!(!piece.is_empty() && piece.len() <= PAYLOAD_BYTES_MAX);
            out.extend(piece);
        }
        out
    }

    #[test]
    fn all_of_it_is_sent_again_until_the_machine_takes_it() {
        let bytes: Vec<u8> = (0..100_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        let mut payload = &bytes[..];
        let mut sending = Sending::new(Some(&mut payload), 100_000);
        sending.next().unwrap().unwrap();
        assert!(sending.rewind());
        assert!(rest(&mut sending) == bytes);
        assert!(sending.rewind());
        assert!(rest(&mut sending) == bytes);
        sending.settle();
        assert!(!sending.rewind());
        assert_eq!(sending.next().unwrap(), None);
    }

    #[test]
    fn what_is_too_much_to_keep_is_sent_once() {
        let bytes = u64::try_from(KEPT_BYTES_MAX).unwrap() + 100_000;
        let mut payload = std::io::repeat(7);
        let mut sending = Sending::new(Some(&mut payload), bytes);
        assert_eq!(u64::try_from(rest(&mut sending).len()).unwrap(), bytes);
        assert!(!sending.rewind());
    }

    #[test]
    fn a_payload_that_is_shorter_than_announced_is_an_error() {
        let mut payload = &b"abc"[..];
        let mut sending = Sending::new(Some(&mut payload), 5);
        assert_eq!(sending.next().unwrap().unwrap(), b"abc");
        let error = sending.next().unwrap_err();
        assert_eq!(error.to_string(), "what is sent to the machine ended 2 bytes before its announced end");
    }
}
