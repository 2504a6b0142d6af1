//! A ring that keeps the end of a text through a reset. Pure; where it stands is somebody else's business.
//!
//! | bytes | what |
//! |---|---|
//! | 0–63, 64–127 | two headers; the one with the higher count that is whole holds |
//! | 128– | the text, going round |
//!
//! A header: magic `CORARING`, count (u64), bytes of text ever written (u64), root hash of the release that writes
//! (32 bytes), zeros, CRC-32 of bytes 0–59. Integers are little-endian.

use crc::{CRC_32_ISO_HDLC, Crc, NoTable};

/// Bytes of one header.
const HEADER_BYTES: usize = 64;
/// Where the text begins.
const TEXT_AT: usize = 2 * HEADER_BYTES;
const MAGIC: [u8; 8] = *b"CORARING";
const CRC: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC);

/// Bytes that keep what is written to them.
pub trait Store {
    /// How many there are.
    fn bytes(&self) -> usize;
    /// Writes inside of them.
    fn write(&mut self, at: usize, bytes: &[u8]);
}

/// What a ring held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The root hash of the release that wrote it.
    pub root_hash: [u8; 32],
    /// Its text, oldest first; the first line may be cut.
    pub text: Vec<u8>,
}

/// Writes a ring.
#[derive(Debug)]
pub struct Writer<S> {
    store: S,
    root_hash: [u8; 32],
    count: u64,
    written: u64,
}

impl<S: Store> Writer<S> {
    /// Begins anew: what the ring held is gone.
    pub fn begin(store: S, root_hash: [u8; 32]) -> Self {
        let mut this = Self { store, root_hash, count: 0, written: 0 };
        // The other header may be of an earlier run, with a higher count.
        this.store.write(0, &[0; TEXT_AT]);
        this.seal();
        this
    }

    /// Adds to the text.
    pub fn append(&mut self, text: &[u8]) {
        let room = self.store.bytes().saturating_sub(TEXT_AT);
        let text = &text[text.len().saturating_sub(room)..];
        if room == 0 || text.is_empty() {
            return;
        }
        let at = place(self.written, room);
        let (first, rest) = text.split_at(text.len().min(room - at));
        self.store.write(TEXT_AT + at, first);
        self.store.write(TEXT_AT, rest);
        self.written = self.written.saturating_add(length(text));
        self.seal();
    }

    fn seal(&mut self) {
        self.count = self.count.saturating_add(1);
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(&MAGIC);
        header[8..16].copy_from_slice(&self.count.to_le_bytes());
        header[16..24].copy_from_slice(&self.written.to_le_bytes());
        header[24..56].copy_from_slice(&self.root_hash);
        let checksum = CRC.checksum(&header[..60]);
        header[60..].copy_from_slice(&checksum.to_le_bytes());
        self.store.write(if self.count.is_multiple_of(2) { 0 } else { HEADER_BYTES }, &header);
    }
}

/// What the ring in these bytes holds, if it is one.
pub fn read(ring: &[u8]) -> Option<Found> {
    let headers = ring.as_chunks::<HEADER_BYTES>().0.iter().take(2);
    let (_, written, root_hash) = headers.filter_map(parse).max_by_key(|(count, _, _)| *count)?;
    let text = ring.get(TEXT_AT..)?;
    let text = match usize::try_from(written) {
        Ok(length) if length <= text.len() => text[..length].to_vec(),
        Ok(_) | Err(_) => {
            let at = place(written, text.len());
            [&text[at..], &text[..at]].concat()
        }
    };
    Some(Found { root_hash, text })
}

fn parse(header: &[u8; HEADER_BYTES]) -> Option<(u64, u64, [u8; 32])> {
    let number = |at: usize| header[at..at + 8].try_into().ok().map(u64::from_le_bytes);
    let whole = header[..8] == MAGIC && header[60..] == CRC.checksum(&header[..60]).to_le_bytes();
    whole.then_some((number(8)?, number(16)?, header[24..56].try_into().ok()?))
}

fn place(written: u64, room: usize) -> usize {
    let room = u64::try_from(room).unwrap_or(1).max(1);
    usize::try_from(written % room).unwrap_or(0)
}

fn length(text: &[u8]) -> u64 {
    u64::try_from(text.len()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Store for &mut [u8] {
        fn bytes(&self) -> usize {
            self.len()
        }

        fn write(&mut self, at: usize, bytes: &[u8]) {
            self[at..at + bytes.len()].copy_from_slice(bytes);
        }
    }

    proptest! {
        #[test]
        fn the_end_of_what_was_written_is_kept(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..12),
            room in 1_usize..400
        ) {
            let mut bytes = vec![0xa5; TEXT_AT + room];
            let mut writer = Writer::begin(bytes.as_mut_slice(), [7; 32]);
            for part in &parts {
                writer.append(part);
            }
            let found = read(&bytes).unwrap();
            let all = parts.concat();
            prop_assert!(all.ends_with(&found.text));
            prop_assert!(found.text.len() >= all.len().min(room.saturating_sub(parts.iter().map(Vec::len).max().unwrap_or(0))));
            prop_assert_eq!(found.root_hash, [7; 32]);
        }

        #[test]
        fn arbitrary_bytes_are_no_ring(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert_eq!(read(&bytes), None);
        }
    }

    #[test]
    fn a_torn_header_leaves_the_one_before() {
        let mut bytes = vec![0; TEXT_AT + 64];
        let mut writer = Writer::begin(bytes.as_mut_slice(), [7; 32]);
        writer.append(b"one\n");
        writer.append(b"two\n");
        // The third seal went to the second header.
        bytes[HEADER_BYTES + 10] ^= 1;
        assert_eq!(read(&bytes).unwrap().text, b"one\n");
    }

    #[test]
    fn a_new_run_does_not_show_the_text_of_the_one_before() {
        let mut bytes = vec![0; TEXT_AT + 64];
        let mut writer = Writer::begin(bytes.as_mut_slice(), [7; 32]);
        writer.append(b"old\n");
        Writer::begin(bytes.as_mut_slice(), [8; 32]);
        assert_eq!(read(&bytes), Some(Found { root_hash: [8; 32], text: Vec::new() }));
    }
}
