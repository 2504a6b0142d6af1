//! Bytes that are likely to be references, told from the old file alone.
//!
//! | Code | Reference | Told by |
//! |---|---|---|
//! | x86-64 | `call`, `jmp`, `jcc` rel32 | the opcode before it |
//! | x86-64 | RIP-relative operand | a ModR/M byte `xx000101` behind a likely opcode |
//! | AArch64 | `b`, `bl` | bits 26 to 30 |
//! | AArch64 | `adrp`, and the `add`, `ldr`, `str` that completes it | opcode, register |
//! | any | 64-bit address | stands aligned and points into the file |
//! | any | 32-bit address, sign-extended (x86-64 kernels) | points into the file |
//! | any | 32-bit offset from where it stands | stands aligned, points into the file, is not small |
//!
//! Opcodes after the Intel SDM, volume 2, and the Arm ARM (DDI 0487), C4.

use crate::{
    forms::{Form, extend},
    sections::{Sections, Stretch, What},
    space::{Isa, Space},
};

/// Offsets shorter than this are taken for plain numbers.
const NEAR: u32 = 4096;
/// Numbers below this are not taken for addresses: where there is a template at address 0, and elsewhere.
const LOW_OF_TEMPLATE: u64 = 1 << 24;
const LOW: u64 = 1 << 16;
/// Instructions between `adrp` and what completes it, at most.
const ADRP_REACH: usize = 4;

/// A likely reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) form: Form,
    /// Its bytes in the old file.
    pub(crate) bytes: u64,
    /// Where it goes, as an address of the old file.
    pub(crate) target: u64,
}

/// Part of a file. Detection looks a few bytes around; what is outside of the view is outside of the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) bytes: &'a [u8],
    /// Where the bytes begin in the file.
    pub(crate) start: usize,
}

/// Bytes before and behind a place that detection may look at.
pub(crate) const MARGIN: usize = 4 * (ADRP_REACH + 1);

impl<'a> View<'a> {
    pub(crate) fn byte(&self, at: usize) -> u8 {
        at.checked_sub(self.start).and_then(|at| self.bytes.get(at)).copied().unwrap_or(0)
    }

    pub(crate) fn word(&self, at: usize) -> Option<u32> {
        let bytes = self.bytes.get(at.checked_sub(self.start)?..)?;
        bytes.first_chunk().copied().map(u32::from_le_bytes)
    }

    /// So many bytes; fewer at the end of the file.
    pub(crate) fn many(&self, at: usize, bytes: usize) -> &'a [u8] {
        let from = at.checked_sub(self.start).and_then(|at| self.bytes.get(at..)).unwrap_or_default();
        from.get(..bytes).unwrap_or(from)
    }

    pub(crate) fn long(&self, at: usize) -> Option<u64> {
        let bytes = self.bytes.get(at.checked_sub(self.start)?..)?;
        bytes.first_chunk().copied().map(u64::from_le_bytes)
    }

    pub(crate) fn three(&self, at: usize) -> Option<u64> {
        let bytes: &[u8; 3] = self.bytes.get(at.checked_sub(self.start)?..)?.first_chunk()?;
        Some(bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)))
    }

    /// The three bytes before a place; zeros before the file.
    fn three_before(&self, at: usize) -> [u8; 3] {
        let here = at.wrapping_sub(self.start);
        match here.checked_sub(3).and_then(|from| self.bytes.get(from..here)) {
            Some(&[third, second, last]) => [third, second, last],
            Some(_) | None => [3, 2, 1].map(|back| self.before(at, back)),
        }
    }

    pub(crate) fn before(&self, at: usize, back: usize) -> u8 {
        at.checked_sub(back).map_or(0, |at| self.byte(at))
    }
}

/// What finds references in a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finder<'a> {
    pub(crate) isa: Isa,
    pub(crate) space: &'a Space,
    pub(crate) sections: &'a Sections,
    /// Bytes of the file.
    pub(crate) length: u64,
}

impl Finder<'_> {
    /// Has the stretch hold a byte.
    pub(crate) fn turn(&self, stretch: &mut Stretch, at: usize) {
        let at = u64::try_from(at).unwrap_or(u64::MAX);
        if !stretch.holds(at) {
            *stretch = self.sections.stretch(at);
        }
    }

    /// Whether no reference can begin in the stretch.
    pub(crate) fn is_quiet(&self, stretch: &Stretch) -> bool {
        self.isa == Isa::None || stretch.what == What::Data
    }

    /// How many bytes of the stretch, of at most so many from a place on, can be no reference; more if none is there.
    pub(crate) fn quiet(&self, stretch: &Stretch, view: &View<'_>, (at, most): (usize, usize)) -> usize {
        if self.is_quiet(stretch) {
            return usize::MAX;
        }
        if stretch.what == What::Code && self.isa == Isa::X86_64 && !self.space.is_linked() {
            return (0..most).take_while(|ahead| !is_operand(view, at + ahead)).count();
        }
        self.sections.quiet(stretch, at)
    }

    /// The reference that begins at `at`, in that stretch, if one seems to.
    #[inline]
    pub(crate) fn word(&self, view: &View<'_>, at: usize, stretch: &Stretch) -> Option<Word> {
        if self.is_quiet(stretch) {
            return None;
        }
        let address = || u64::try_from(at).ok().and_then(|at| self.space.address(at));
        if !matches!(stretch.what, What::Any | What::Code | What::Plain) {
            return self.sections.word(view, at, address(), stretch.whole());
        }
        let word = view.word(at)?;
        if word == 0 {
            return None;
        }
        let is_code = stretch.what != What::Plain;
        let code = match self.isa {
            Isa::X86_64 if is_code && is_operand(view, at) => {
                address().and_then(|address| self.found(Form::Relative, word.into(), address))
            }
            Isa::Aarch64 if is_code => address().and_then(|address| self.arm(view, at, (word, address))),
            Isa::None | Isa::X86_64 | Isa::Aarch64 => None,
        };
        if code.is_some() || !self.space.is_linked() {
            return code;
        }
        // Code holds no offsets but those of its instructions.
        let address = if stretch.what == What::Code { None } else { address() };
        self.data(view, at, (word, address))
            .filter(|word| word.form != Form::Short || !self.is_before_relative(view, at, stretch.what))
    }

    fn is_inside(&self, target: u64) -> bool {
        self.space.offset(target, self.length).is_some()
    }

    fn found(&self, form: Form, bytes: u64, address: u64) -> Option<Word> {
        let target = form.target(bytes, address, 0);
        self.is_inside(target).then_some(Word { form, bytes, target })
    }

    /// Whether what begins at `at` in code reaches into the operand of an instruction.
    fn is_before_relative(&self, view: &View<'_>, at: usize, what: What) -> bool {
        let relative = |at: usize| {
            let address = self.space.address(u64::try_from(at).ok()?)?;
            let word = view.word(at).filter(|_| is_operand(view, at))?;
            self.found(Form::Relative, word.into(), address)
        };
        self.isa == Isa::X86_64 && what != What::Plain && (1..4).any(|ahead| relative(at + ahead).is_some())
    }

    fn arm(&self, view: &View<'_>, at: usize, (word, address): (u32, u64)) -> Option<Word> {
        if !at.is_multiple_of(4) {
            return None;
        }
        let bits = u64::from(word);
        if word & 0x7c00_0000 == 0x1400_0000 {
            return self.found(Form::Branch, bits, address);
        }
        if word & 0x9f00_0000 == 0x9000_0000 {
            let page = Form::Page.target(bits, address, 0);
            let within = (1..=ADRP_REACH).find_map(|next| {
                let (register, _, low) = completes(view.word(at + 4 * next)?)?;
                (register == word & 31).then_some(low)
            });
            let target = page | within.unwrap_or(0);
            return self.is_inside(target).then_some(Word { form: Form::Page, bytes: bits, target });
        }
        let (register, scale, low) = completes(word)?;
        let page = (1..=ADRP_REACH).find_map(|back| {
            let before = at.checked_sub(4 * back)?;
            let adrp = view
                .word(before)
                .filter(|word| word & 0x9f00_0000 == 0x9000_0000 && word & 31 == register)?;
            Some(Form::Page.target(adrp.into(), self.space.address(u64::try_from(before).ok()?)?, 0))
        })?;
        let target = page | low;
        self.is_inside(target).then_some(Word { form: Form::InPage(scale), bytes: bits, target })
    }

    fn data(&self, view: &View<'_>, at: usize, (word, address): (u32, Option<u64>)) -> Option<Word> {
        if !self.space.is_linked() {
            return None;
        }
        let low = if self.space.has_template() { LOW_OF_TEMPLATE } else { LOW };
        if at.is_multiple_of(8)
            && let Some(long) = view.long(at).filter(|long| *long > low)
            && self.is_inside(long)
        {
            return Some(Word { form: Form::Long, bytes: long, target: long });
        }
        let bits = u64::from(word);
        let short = extend(bits, 32);
        let is_plain = short < 1 << 32 && !at.is_multiple_of(4);
        if bits > low && !is_plain && self.is_inside(short) {
            return Some(Word { form: Form::Short, bytes: bits, target: short });
        }
        let address = address.filter(|_| at.is_multiple_of(4) && word.cast_signed().unsigned_abs() > NEAR)?;
        self.found(Form::Offset, bits, address)
    }
}

/// Whether the operand of an x86-64 instruction seems to begin at `at`.
fn is_operand(view: &View<'_>, at: usize) -> bool {
    operand_begins(view.three_before(at), usize::MAX)
}

/// The same behind these three bytes, of which `since` are no part of another operand.
pub(crate) const fn operand_begins([third, second, last]: [u8; 3], since: usize) -> bool {
    let is_short = since > 0 && matches!(last, 0xe8 | 0xe9);
    let is_jump = last & 0xf0 == 0x80 && second == 0x0f;
    is_short || since > 1 && (is_jump || last & 0xc7 == 5 && (third == 0x0f || takes_memory(second)))
}

/// Opcodes that often have a memory operand.
const fn takes_memory(opcode: u8) -> bool {
    matches!(
        opcode,
        0x01 | 0x03
            | 0x09
            | 0x0b
            | 0x10
            | 0x11
            | 0x21
            | 0x23
            | 0x28
            | 0x29
            | 0x2b
            | 0x31
            | 0x33
            | 0x38..=0x3b
            | 0x63
            | 0x69
            | 0x6b
            | 0x6f
            | 0x7f
            | 0x80
            | 0x81
            | 0x83..=0x8b
            | 0x8d
            | 0xc6
            | 0xc7
            | 0xf6
            | 0xf7
            | 0xfe
            | 0xff
    )
}

/// The base register, the scale and the offset in its page of an instruction that may complete an `adrp`.
fn completes(word: u32) -> Option<(u32, u32, u64)> {
    let (register, offset) = (word >> 5 & 31, u64::from(word >> 10 & 0xfff));
    let scale = if word & 0xffc0_0000 == 0x9100_0000 {
        0
    } else if word & 0x3b00_0000 == 0x3900_0000 {
        // Vectors of 16 bytes have size 0 and the upper bit of opc set.
        if word & 0x0480_0000 == 0x0480_0000 && word >> 30 == 0 { 4 } else { word >> 30 }
    } else {
        return None;
    };
    Some((register, scale, offset << scale & 0xfff))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{sections::Range, space::Segment};

    static NONE: std::sync::OnceLock<Sections> = std::sync::OnceLock::new();

    fn found(space: &Space, isa: Isa, view: &View<'_>, at: usize) -> Option<Word> {
        let finder = Finder { isa, space, sections: NONE.get_or_init(Sections::default), length: 1 << 20 };
        let mut stretch = Stretch::NONE;
        finder.turn(&mut stretch, at);
        finder.word(view, at, &stretch)
    }

    fn linked() -> Space {
        Space::new(vec![Segment { offset: 0, address: 0xffff_ffff_8100_0000, bytes: 1 << 20 }]).unwrap()
    }

    #[test]
    fn calls_and_operands_relative_to_the_instruction_are_found() {
        let space = linked();
        let code = [0x90, 0xe8, 0x10, 0x20, 0, 0, 0x48, 0x8d, 0x3d, 0, 1, 0, 0];
        let view = View { bytes: &code, start: 0 };
        let word = found(&space, Isa::X86_64, &view, 2).unwrap();
        assert_eq!((word.form, word.target), (Form::Relative, 0xffff_ffff_8100_2016));
        let word = found(&space, Isa::X86_64, &view, 9).unwrap();
        assert_eq!((word.form, word.target), (Form::Relative, 0xffff_ffff_8100_010d));
        assert_eq!(found(&space, Isa::X86_64, &view, 1), None);
        assert_eq!(found(&space, Isa::None, &view, 2), None);
    }

    #[test]
    fn addresses_in_data_are_found() {
        let space = linked();
        let long = 0xffff_ffff_8100_1234_u64.to_le_bytes();
        let view = View { bytes: &long, start: 8 };
        assert_eq!(found(&space, Isa::X86_64, &view, 8).unwrap().form, Form::Long);
        let short = 0x8100_1234_u32.to_le_bytes();
        let view = View { bytes: &short, start: 12 };
        let word = found(&space, Isa::X86_64, &view, 12).unwrap();
        assert_eq!((word.form, word.target), (Form::Short, 0xffff_ffff_8100_1234));
        let offset = 0x1_0000_u32.to_le_bytes();
        let view = View { bytes: &offset, start: 12 };
        let word = found(&space, Isa::X86_64, &view, 12).unwrap();
        assert_eq!((word.form, word.target), (Form::Offset, 0xffff_ffff_8101_000c));
    }

    #[test]
    fn addresses_are_found_behind_an_opcode_that_is_in_no_segment() {
        let space = linked();
        let mut bytes = vec![0xe8; 8];
        bytes.extend(0xffff_ffff_8100_1234_u64.to_le_bytes());
        let view = View { bytes: &bytes, start: 2 << 20 };
        let word = found(&space, Isa::X86_64, &view, (2 << 20) + 8).unwrap();
        assert_eq!((word.form, word.target), (Form::Long, 0xffff_ffff_8100_1234));
    }

    #[test]
    fn a_page_and_what_completes_it_go_to_one_place() {
        let space = linked();
        // adrp x0, #0x3000; add x0, x0, #0x128; bl #0x40
        let words = [0xf000_0000_u32, 0x9104_a000, 0x9400_0010];
        let code: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let view = View { bytes: &code, start: 0 };
        let found = [0, 4, 8].map(|at| found(&space, Isa::Aarch64, &view, at).unwrap());
        assert_eq!(found.map(|word| word.form), [Form::Page, Form::InPage(0), Form::Branch]);
        let targets = [0xffff_ffff_8100_3128, 0xffff_ffff_8100_3128, 0xffff_ffff_8100_0048];
        assert_eq!(found.map(|word| word.target), targets);
    }

    /// Bytes of all kinds, many of them small: as numbers of tables are, and opcodes now and then.
    fn bytes() -> Vec<u8> {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        (0..6000)
            .map(|at| match (at % 4, next()) {
                (0 | 1, byte) => byte,
                (_, byte) if byte < 40 => 0xe8,
                _ => 0,
            })
            .collect()
    }

    #[test]
    fn where_it_is_quiet_no_reference_begins() {
        let (space, bytes) = (Space::default(), bytes());
        let view = View { bytes: &bytes, start: 0 };
        let finder = Finder {
            isa: Isa::X86_64,
            space: &space,
            sections: NONE.get_or_init(Sections::default),
            length: 1 << 20,
        };
        let all = Range { offset: 0, bytes: 1 << 20 };
        for what in [
            What::Code,
            What::Sums,
            What::Types,
            What::Headers,
            What::Symbols { names: all },
            What::Relocations { place: all, is_code: true, symbols: all },
        ] {
            let mut stretch = Stretch::NONE;
            stretch.what = what;
            let (mut quiet, mut found) = (0, 0);
            for at in 0..5900 {
                let bytes = finder.quiet(&stretch, &view, (at, 50)).min(50);
                quiet += usize::from(bytes > 0);
                found += usize::from(finder.word(&view, at, &stretch).is_some());
                for ahead in 0..bytes {
                    assert_eq!(finder.word(&view, at + ahead, &stretch), None, "{what:?} {at} {ahead}");
                }
            }
            assert!(quiet > 1000, "{what:?} {quiet}");
            assert!(found > 10 || matches!(what, What::Types | What::Symbols { .. }), "{what:?} {found}");
        }
    }
}
