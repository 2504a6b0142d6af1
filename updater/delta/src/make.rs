//! The workstation's side: what to say about a file, then the same code as the reader.

use crate::{
    align::align,
    coder::Writer,
    file::{self, Failure, Lengths, Model, Plan},
    limits::FILE_BYTES_MAX,
    moves::{Copy, Moves},
    references::{References, Side},
    space::{Isa, Space},
};

/// How often copies are looked for again when it is known where references go.
const ROUNDS: usize = 2;

/// Both versions of a file.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    /// The old one.
    pub old: &'a [u8],
    /// The new one.
    pub new: &'a [u8],
}

impl Pair<'_> {
    fn lengths(&self) -> Lengths {
        let bytes = |file: &[u8]| u64::try_from(file.len()).unwrap_or(u64::MAX);
        Lengths { old: bytes(self.old), new: bytes(self.new) }
    }

    fn plan(&self) -> Plan {
        let (old, isa) = Space::of_file(self.old);
        let (new, isa_of_new) = Space::of_file(self.new);
        let isa = if isa == isa_of_new { isa } else { Isa::None };
        let mut copies = align(self.old, self.new);
        for _ in 0..if isa == Isa::None { 0 } else { ROUNDS } {
            copies = self.realign(isa, &old, &new, &copies);
        }
        Plan { isa, old, new, copies }
    }

    /// Copies of what is alike when references are told by their targets.
    fn realign(&self, isa: Isa, old: &Space, new: &Space, copies: &[Copy]) -> Vec<Copy> {
        let lengths = self.lengths();
        let before = Side { space: old, length: lengths.old };
        let after = Side { space: new, length: lengths.new };
        let (moves, stay) = (Moves::new(copies), Moves::default());
        let was = References::new(isa, before, after, &moves).absolute(self.old);
        let is = References::new(isa, after, after, &stay).absolute(self.new);
        align(&was, &is)
    }
}

/// A stream that makes every new file from its old one, in this order; the same pairs give the same bytes. `None` if a
/// file is too large. Uses about 12 times the bytes of the largest pair.
pub fn make(pairs: &[Pair<'_>]) -> Option<Vec<u8>> {
    let (mut writer, mut model) = (Writer::new(), Model::new());
    for pair in pairs {
        let lengths = pair.lengths();
        if lengths.old.max(lengths.new) > FILE_BYTES_MAX {
            return None;
        }
        one(&mut writer, &mut model, pair, lengths).ok()?;
    }
    Some(writer.finish())
}

fn one(writer: &mut Writer, model: &mut Model, pair: &Pair<'_>, lengths: Lengths) -> Result<(), Failure> {
    let plan = file::plan(writer, model, lengths, &pair.plan())?;
    let mut old = pair.old;
    file::bytes(writer, model, (&mut old, lengths), &plan, (Some(pair.new), &mut |_| Ok(())))
}
