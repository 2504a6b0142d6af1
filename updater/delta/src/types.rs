//! Which words of a description of types are what: types and names are numbers that shift.
//!
//! The form is BTF, as the kernel documents it (Documentation/bpf/btf.rst).

use crate::{file::Old, forms::Form, limits::TYPES_BYTES_MAX, shifts::Shift};
use std::io;

const HEADER_BYTES: usize = 24;
const MAGIC: u16 = 0xeb9f;

/// What a word is.
#[derive(Clone, Copy)]
enum Word {
    Plain,
    Name,
    Type,
}

/// Two bits for every word from the beginning of the section on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Types {
    words: Vec<u8>,
}

impl Types {
    /// Of the description at `offset`; nothing of one that is damaged or too large.
    pub(crate) fn read(old: &mut dyn Old, offset: u64, bytes: u64) -> io::Result<Self> {
        let end = offset.saturating_add(bytes).min(old.length());
        let mut header = [0; HEADER_BYTES];
        if end.saturating_sub(offset) < 24 {
            return Ok(Self::default());
        }
        old.read_at(offset, &mut header)?;
        let word = |at: usize| {
            header
                .get(at..at + 4)
                .and_then(|word| word.first_chunk())
                .map_or(0, |word| u32::from_le_bytes(*word))
        };
        let (first, length) = (u64::from(word(4)) + u64::from(word(8)), u64::from(word(12)));
        let magic = u16::from_le_bytes([header[0], header[1]]);
        let is_whole = offset + first + length <= end && first.is_multiple_of(4);
        if magic != MAGIC || !is_whole || first + length > TYPES_BYTES_MAX {
            return Ok(Self::default());
        }
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(0);
        let mut this = Self { words: vec![0; size((first + length) / 16 + 1)] };
        let mut at = size(first / 4);
        let mut expected = Expected::default();
        let mut piece = vec![0; 1 << 16];
        let mut done = 0;
        while done < length {
            let bytes = (length - done).min(1 << 16);
            let piece = &mut piece[..size(bytes)];
            old.read_at(offset + first + done, piece)?;
            for word in piece.chunks_exact(4) {
                let word = word.first_chunk().map_or(0, |word| u32::from_le_bytes(*word));
                this.set(at, expected.next(word));
                at += 1;
            }
            done += bytes;
        }
        Ok(this)
    }

    fn set(&mut self, at: usize, word: Word) {
        let bits = match word {
            Word::Plain => 0,
            Word::Name => 1,
            Word::Type => 2,
        };
        if let Some(byte) = self.words.get_mut(at / 4) {
            *byte |= bits << (at % 4 * 2);
        }
    }

    /// The form of the word `place` bytes into the section.
    pub(crate) fn form(&self, place: usize) -> Option<Form> {
        let bits = self.words.get(place / 16)? >> (place / 4 % 4 * 2) & 3;
        match bits {
            _ if !place.is_multiple_of(4) => None,
            1 => Some(Form::Shift(Shift::Name)),
            2 => Some(Form::Shift(Shift::Type)),
            _ => None,
        }
    }
}

/// Where in a description a reader stands.
#[derive(Default)]
struct Expected {
    /// Words of the head of a type that were read.
    head: usize,
    kind: u32,
    members: u32,
    /// What is behind the head: so often this.
    times: u32,
    member: &'static [Word],
    at: usize,
}

impl Expected {
    /// What the next word is, which is this.
    fn next(&mut self, word: u32) -> Word {
        if self.times > 0 {
            let is = self.member[self.at];
            self.at += 1;
            if self.at == self.member.len() {
                (self.at, self.times) = (0, self.times - 1);
            }
            return is;
        }
        self.head = (self.head + 1) % 3;
        match self.head {
            1 => Word::Name,
            2 => {
                (self.kind, self.members) = (word >> 24 & 31, word & 0xffff);
                Word::Plain
            }
            _ => {
                (self.times, self.member) = behind(self.kind, self.members);
                if matches!(self.kind, 2 | 8..=14 | 17 | 18) { Word::Type } else { Word::Plain }
            }
        }
    }
}

/// What follows the head of a type, and how often.
const fn behind(kind: u32, members: u32) -> (u32, &'static [Word]) {
    use Word::{Name, Plain, Type};
    match kind {
        1 | 14 | 17 => (1, &[Plain]),
        3 => (1, &[Type, Type, Plain]),
        4 | 5 => (members, &[Name, Type, Plain]),
        6 => (members, &[Name, Plain]),
        13 => (members, &[Name, Type]),
        15 => (members, &[Type, Plain, Plain]),
        19 => (members, &[Name, Plain, Plain]),
        _ => (0, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(words: &[u32]) -> Vec<u8> {
        let bytes = u32::try_from(4 * words.len()).unwrap();
        let header = [0x0001_eb9f, 24, 0, bytes, bytes, 0];
        header.iter().chain(words).flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn names_and_types_are_told_from_sizes() {
        // A structure with two members, a pointer, a function's parameters, an array.
        let words = [
            1,
            0x0400_0002,
            16,
            5,
            7,
            0,
            6,
            8,
            64, // structure
            0,
            0x0200_0000,
            1, // pointer
            0,
            0x0d00_0001,
            3,
            9,
            2, // parameters
            0,
            0x0300_0000,
            0,
            4,
            5,
            6, // array
        ];
        let kinds = "n..nt.nt.n.tn.tntn..tt.";
        let bytes = section(&words);
        let mut old = bytes.as_slice();
        let types = Types::read(&mut old, 0, bytes.len().try_into().unwrap()).unwrap();
        let found: String = (0..words.len())
            .map(|word| match types.form(HEADER_BYTES + 4 * word) {
                Some(Form::Shift(Shift::Name)) => 'n',
                Some(Form::Shift(Shift::Type)) => 't',
                _ => '.',
            })
            .collect();
        assert_eq!(found, kinds);
        assert_eq!(types.form(HEADER_BYTES + 1), None);
    }

    #[test]
    fn a_damaged_description_says_nothing() {
        let mut bytes = section(&[1, 0x0200_0000, 1]);
        bytes[12..16].copy_from_slice(&1000_u32.to_le_bytes());
        let mut old = bytes.as_slice();
        let types = Types::read(&mut old, 0, bytes.len().try_into().unwrap()).unwrap();
        assert!((0..64).all(|place| types.form(place).is_none()));
    }
}
