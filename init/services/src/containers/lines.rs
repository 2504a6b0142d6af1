//! Bytes of a container's output into lines that are safe to show: bounded, valid UTF-8, no control characters.

use std::borrow::Cow;
use std::io::BufRead as _;

/// Longest line, before what is unsafe in it is escaped; longer ones are split.
pub(super) const LINE_BYTES: usize = 2048;

/// Collects bytes until they make a line.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    partial: Vec<u8>,
    /// The line that `partial` belongs to has been shown in part.
    is_continued: bool,
}

impl Splitter {
    /// Calls `each` with every line that `bytes` completes, without its end. What is in a line is still to be escaped.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8])) {
        while !bytes.is_empty() {
            // One byte more than a line may have: its end.
            let room = bytes.len().min(LINE_BYTES + 1 - self.partial.len());
            let (mut now, _) = bytes.split_at(room);
            // Reading from memory cannot fail.
            let taken = now.read_until(b'\n', &mut self.partial).unwrap_or(room);
            bytes = &bytes[taken..];
            if self.partial.last() == Some(&b'\n') {
                self.partial.pop();
                self.finish_line(&mut each);
            } else if self.partial.len() > LINE_BYTES {
                self.split(&mut each);
            }
        }
    }

    /// Ends the last line, if there is a beginning of one.
    pub(super) fn finish(&mut self, mut each: impl FnMut(&[u8])) {
        if !self.partial.is_empty() {
            self.finish_line(&mut each);
        }
    }

    fn finish_line(&mut self, each: &mut impl FnMut(&[u8])) {
        let line = self.partial.strip_suffix(b"\r").unwrap_or(&self.partial);
        // Of a line that was split nothing but its end may be left.
        if !(line.is_empty() && self.is_continued) {
            each(line);
        }
        self.partial.clear();
        self.is_continued = false;
    }

    /// A full buffer without an end of line: out with it, but not through the middle of a character.
    fn split(&mut self, each: &mut impl FnMut(&[u8])) {
        let line = &self.partial[..LINE_BYTES];
        let cut = LINE_BYTES - incomplete_tail(line);
        each(&line[..cut]);
        self.partial.drain(..cut);
        self.is_continued = true;
    }
}

/// How many bytes at the end are the beginning of a character that is not complete.
fn incomplete_tail(bytes: &[u8]) -> usize {
    match bytes.utf8_chunks().last() {
        Some(last) if last.invalid().len() < 4 => {
            let tail = last.invalid();
            // A tail that more bytes could complete ends the input; one that they could not is just wrong.
            match str::from_utf8(tail) {
                Err(error) if error.error_len().is_none() => tail.len(),
                Ok(_) | Err(_) => 0,
            }
        }
        Some(_) | None => 0,
    }
}

/// The text with everything escaped (`\x1b`, `\u{202e}`) that could steer a terminal or is no UTF-8.
pub(super) fn escape(bytes: &[u8]) -> Cow<'_, str> {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t');
    match str::from_utf8(bytes) {
        Ok(text) if bytes.iter().all(is_plain) => Cow::Borrowed(text),
        Ok(_) | Err(_) => Cow::Owned(escape_all(bytes)),
    }
}

fn escape_all(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            push_escaped(&mut text, character);
        }
        for byte in chunk.invalid() {
            push_hex(&mut text, *byte);
        }
    }
    text
}

fn push_escaped(text: &mut String, character: char) {
    match u8::try_from(u32::from(character)) {
        Ok(byte) if character.is_control() && character != '\t' => push_hex(text, byte),
        Err(_) if reorders(character) => text.extend(character.escape_unicode()),
        Ok(_) | Err(_) => text.push(character),
    }
}

/// Line separators and the characters that change the direction of text: they can make a line look like another.
fn reorders(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn push_hex(text: &mut String, byte: u8) {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('?');
    text.extend(['\\', 'x', digit(byte >> 4), digit(byte & 15)]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(pieces: &[&[u8]]) -> Vec<String> {
        let mut splitter = Splitter::default();
        let mut out = Vec::new();
        for piece in pieces {
            splitter.feed(piece, |line| out.push(escape(line).into_owned()));
        }
        splitter.finish(|line| out.push(escape(line).into_owned()));
        out
    }

    #[test]
    fn lines_are_put_together_from_pieces() {
        assert_eq!(lines(&[b"one\r\ntw", b"o\n\nthr", b"ee"]), ["one", "two", "", "three"]);
    }

    #[test]
    fn control_characters_cannot_reach_a_terminal() {
        assert_eq!(
            escape("a\tb\u{1b}[2J\u{7f}\u{9b}\u{202e}é".as_bytes()),
            "a\tb\\x1b[2J\\x7f\\x9b\\u{202e}é"
        );
        assert_eq!(escape(b"\xff\xc3\n\0"), "\\xff\\xc3\\x0a\\x00");
    }

    #[test]
    fn long_lines_are_split_between_characters() {
        let long = "é".repeat(LINE_BYTES);
        let mut text = "a".to_owned();
        text.push_str(&long);
        let out = lines(&[text.as_bytes()]);
        assert_eq!(out.len(), 3);
        assert!(!out.concat().contains('\\'));
        assert_eq!(out.concat(), text);
    }

    #[test]
    fn a_line_of_just_the_longest_length_is_one_line() {
        let text = "x".repeat(LINE_BYTES);
        assert_eq!(lines(&[text.as_bytes(), b"\nnext\n"]), [&text, "next"]);
    }

    proptest! {
        #[test]
        fn output_is_bounded_and_safe_however_it_arrives(
            bytes in proptest::collection::vec(any::<u8>(), 0..3 * LINE_BYTES),
            cuts in proptest::collection::vec(1_usize..900, 1..20),
        ) {
            let mut pieces = Vec::new();
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (piece, tail) = rest.split_at(rest.len().min(*cut));
                pieces.push(piece);
                rest = tail;
            }
            let whole = lines(&[&bytes]);
            prop_assert_eq!(&lines(&pieces), &whole);
            for line in whole {
                prop_assert!(line.len() <= 4 * LINE_BYTES);
                prop_assert!(!line.chars().any(|c| c.is_control() && c != '\t'));
            }
        }

        #[test]
        fn plain_lines_pass_unchanged(text in "[ -~é€]{0,300}") {
            prop_assume!(!text.is_empty());
            prop_assert_eq!(lines(&[text.as_bytes(), b"\n"]), [text]);
        }
    }
}
