//! What the `meta` partition keeps beside the slot record.

use super::{ignore, seal};
use coracle_slots::history::{self, ENTRY_BYTES, Entry, Event};
use coracle_slots::words::{self, LastWords, WORDS_BYTES};
use coracle_slots::{Slot, Text, Verdict};

pub(super) fn last_words(data: &[u8]) {
    let mut sealed = data.to_vec();
    seal::crc32(&mut sealed, 0, WORDS_BYTES - 4, WORDS_BYTES - 4);
    for bytes in [data, &sealed] {
        if let Some(found) = words::parse_copies(bytes, data) {
            ignore((found.words.log().len(), found.words.reason.as_str().len(), found.next_offset()));
            ignore(found.words.encode_after(Some(&found)));
        }
    }
}

pub(super) fn last_words_seeds() -> Vec<Vec<u8>> {
    let words = LastWords::new(Slot::B, [3; 32], Verdict::Panic, "system", "a reason").at_ms(4_200);
    vec![words.with_log(b"<4>[    1.0] a line\n").encode_after(None).to_vec()]
}

/// A ring of as many entries as the bytes make.
pub(super) fn history(data: &[u8]) {
    let mut sealed = data.to_vec();
    for entry in sealed.chunks_exact_mut(ENTRY_BYTES) {
        seal::crc32(entry, 0, ENTRY_BYTES - 4, ENTRY_BYTES - 4);
    }
    for bytes in [data, &sealed] {
        for entry in history::entries(bytes) {
            ignore(entry.encode());
        }
        let mut next = Entry::new(Event::Applied, Slot::A, [0; 32]);
        ignore((next.follow(history::newest(bytes).as_ref()), next.encode()));
    }
}

pub(super) fn history_seeds() -> Vec<Vec<u8>> {
    let mut entry = Entry::new(Event::Failed, Slot::B, [3; 32]);
    entry.version = Text::cut("1.0.0");
    entry.verdict = Some(Verdict::Deadline);
    vec![entry.encode().to_vec()]
}
