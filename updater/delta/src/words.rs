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
    sections::{Sections, What},
    shifts::Shift,
    space::{Isa, Space},
    tables::Kind,
};

/// Offsets shorter than this are taken for plain numbers.
const NEAR: u32 = 4096;
/// Numbers below this are not taken for addresses: where there is a template at address 0, and elsewhere.
const LOW_OF_TEMPLATE: u64 = 1 << 24;
const LOW: u64 = 1 << 16;
/// Instructions between `adrp` and what completes it, at most.
const ADRP_REACH: usize = 4;

/// How a reference is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// 32 bits, from the byte behind them.
    Relative,
    /// 32 bits, from where they stand.
    Offset,
    /// 32 bits, sign-extended.
    Short,
    /// 64 bits.
    Long,
    /// AArch64: 26 bits of words from where they stand.
    Branch,
    /// AArch64: 21 bits of pages.
    Page,
    /// AArch64: the lowest 12 bits, in units of this power of two.
    InPage(u32),
    /// A number from the beginning of a section, of a table of a relocatable file.
    Field {
        field: Field,
        /// Where the section begins in the old file.
        from: u64,
        /// The number goes to so many bytes before the place that it is told by.
        behind: u64,
    },
    /// 32 bits that become what they became elsewhere.
    Shift(Shift),
}

/// What a number of a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    /// Where a relocation is applied.
    Place,
    /// The number of the symbol that a relocation takes.
    Symbol,
    /// What a relocation adds to the symbol.
    Addend,
    /// Where a name begins.
    Name,
    /// Where a symbol or a section is.
    Value,
    /// How long a symbol or a section is.
    Length,
    /// Of a table that was told.
    Number(Kind),
}

impl Field {
    /// A small number.
    pub(crate) const fn number(self) -> usize {
        match self {
            Self::Place => 0,
            Self::Symbol => 1,
            Self::Addend => 2,
            Self::Name => 3,
            Self::Value => 4,
            Self::Length => 5,
            Self::Number(Kind::Addresses) => 6,
            Self::Number(Kind::Distances) => 7,
            Self::Number(Kind::Inverted) => 8,
            Self::Number(Kind::Entries) => 9,
        }
    }

    const fn bytes(self) -> usize {
        match self {
            Self::Symbol | Self::Name => 4,
            Self::Place | Self::Addend | Self::Value | Self::Length => 8,
            Self::Number(kind) => kind.bytes(),
        }
    }

    /// What one more stands for, in bytes.
    pub(crate) const fn unit(self) -> u64 {
        match self {
            Self::Symbol => 24,
            Self::Number(Kind::Entries) => 4,
            Self::Place | Self::Addend | Self::Name | Self::Value | Self::Length | Self::Number(_) => 1,
        }
    }

    /// Whether numbers may ascend in a table: what is next is then told by where all of them went.
    pub(crate) const fn is_ordered(self) -> bool {
        matches!(self, Self::Addend | Self::Number(Kind::Addresses | Kind::Distances | Kind::Inverted))
    }

    /// The number in the bytes of a word, and the other way.
    fn number_of(self, word: u64) -> u64 {
        match self {
            Self::Number(Kind::Entries) => (word & 0xff_ffff).swap_bytes() >> 40,
            Self::Number(Kind::Addresses) => extend(word, 32),
            Self::Number(Kind::Inverted) => !word & 0xffff_ffff,
            Self::Symbol | Self::Name | Self::Number(Kind::Distances) => word & 0xffff_ffff,
            Self::Place | Self::Addend | Self::Value | Self::Length => word,
        }
    }
}

impl Form {
    /// Bytes.
    pub(crate) const fn bytes(self) -> usize {
        match self {
            Self::Field { field, .. } => field.bytes(),
            Self::Long => 8,
            Self::Relative
            | Self::Offset
            | Self::Short
            | Self::Shift(_)
            | Self::Branch
            | Self::Page
            | Self::InPage(_) => 4,
        }
    }

    /// A small number for contexts, never 0.
    pub(crate) const fn class(self) -> usize {
        match self {
            Self::Relative => 1,
            Self::Offset => 2,
            Self::Short => 3,
            Self::Long => 4,
            Self::Branch => 5,
            Self::Page => 6,
            Self::InPage(_) => 7,
            Self::Field { field, .. } => 8 + field.number(),
            Self::Shift(shift) => 18 + shift.number(),
        }
    }

    /// The word at `address` with its reference going to `target`. Numbers of tables are told from where their section
    /// begins, instead of from where they stand.
    pub(crate) fn place(self, word: u64, address: u64, target: u64) -> u64 {
        let low = |value: u64| value & 0xffff_ffff;
        match self {
            Self::Relative => low(target.wrapping_sub(address).wrapping_sub(4)),
            Self::Offset => low(target.wrapping_sub(address)),
            Self::Short => low(target),
            Self::Long => target,
            Self::Branch => word & !0x03ff_ffff | target.wrapping_sub(address) >> 2 & 0x03ff_ffff,
            Self::Page => {
                let pages = (target >> 12).wrapping_sub(address >> 12);
                word & !0x60ff_ffe0 | (pages & 3) << 29 | (pages >> 2 & 0x7_ffff) << 5
            }
            Self::InPage(scale) => word & !0x003f_fc00 | (target & 0xfff) >> scale << 10 & 0x003f_fc00,
            Self::Field { field, behind, .. } => {
                let number = target.wrapping_sub(behind).wrapping_sub(address) / field.unit();
                if field == Field::Number(Kind::Addresses) { low(number) } else { field.number_of(number) }
            }
            Self::Shift(_) => word,
        }
    }

    /// Where the reference of the word at `address` goes; `old` is where it went before, for forms that do not tell all.
    pub(crate) fn target(self, word: u64, address: u64, old: u64) -> u64 {
        match self {
            Self::Relative => address.wrapping_add(4).wrapping_add(extend(word, 32)),
            Self::Offset => address.wrapping_add(extend(word, 32)),
            Self::Short => extend(word, 32),
            Self::Long => word,
            Self::Branch => address.wrapping_add(extend(word, 26) << 2),
            Self::Page => {
                let pages = extend(word >> 29 & 3 | (word >> 5 & 0x7_ffff) << 2, 21);
                ((address >> 12).wrapping_add(pages) << 12) | old & 0xfff
            }
            Self::InPage(scale) => old & !0xfff | (word >> 10 & 0xfff) << scale & 0xfff,
            Self::Field { field, behind, .. } => {
                address.wrapping_add(field.number_of(word).wrapping_mul(field.unit())).wrapping_add(behind)
            }
            Self::Shift(_) => old,
        }
    }
}

/// The lowest `bits` of a word, sign-extended.
fn extend(word: u64, bits: u32) -> u64 {
    ((word << (64 - bits)).cast_signed() >> (64 - bits)).cast_unsigned()
}

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

impl View<'_> {
    pub(crate) fn byte(&self, at: usize) -> u8 {
        at.checked_sub(self.start).and_then(|at| self.bytes.get(at)).copied().unwrap_or(0)
    }

    pub(crate) fn word(&self, at: usize) -> Option<u32> {
        let bytes = self.bytes.get(at.checked_sub(self.start)?..)?;
        bytes.first_chunk().copied().map(u32::from_le_bytes)
    }

    pub(crate) fn long(&self, at: usize) -> Option<u64> {
        let bytes = self.bytes.get(at.checked_sub(self.start)?..)?;
        bytes.first_chunk().copied().map(u64::from_le_bytes)
    }

    pub(crate) fn three(&self, at: usize) -> Option<u64> {
        let bytes: &[u8; 3] = self.bytes.get(at.checked_sub(self.start)?..)?.first_chunk()?;
        Some(bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)))
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
    /// The reference that begins at `at`, if one seems to.
    pub(crate) fn word(&self, view: &View<'_>, at: usize) -> Option<Word> {
        if self.isa == Isa::None {
            return None;
        }
        let address = u64::try_from(at).ok().and_then(|at| self.space.address(at));
        let part = self.sections.at(u64::try_from(at).ok()?);
        if !matches!(part.1, What::Any | What::Code | What::Plain) {
            return self.sections.word(view, at, address, part);
        }
        let word = view.word(at)?;
        if word == 0 {
            return None;
        }
        let code = match (self.isa, address.filter(|_| part.1 != What::Plain)) {
            (Isa::X86_64, Some(address)) => self.x86(view, at, (word, address)),
            (Isa::Aarch64, Some(address)) => self.arm(view, at, (word, address)),
            (Isa::None | Isa::X86_64 | Isa::Aarch64, _) => None,
        };
        // Code holds no offsets but those of its instructions.
        let data = || self.data(view, at, (word, address.filter(|_| part.1 != What::Code)));
        code.or_else(data)
            .filter(|word| word.form != Form::Short || !self.is_before_relative(view, at, part.1))
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
            self.x86(view, at, (view.word(at)?, address))
        };
        self.isa == Isa::X86_64 && what != What::Plain && (1..4).any(|ahead| relative(at + ahead).is_some())
    }

    fn x86(&self, view: &View<'_>, at: usize, (word, address): (u32, u64)) -> Option<Word> {
        let [last, second, third] = [1, 2, 3].map(|back| view.before(at, back));
        let branch = matches!(last, 0xe8 | 0xe9) || (second == 0x0f && last & 0xf0 == 0x80);
        let relative = last & 0xc7 == 5 && (third == 0x0f || takes_memory(second));
        if branch || relative { self.found(Form::Relative, word.into(), address) } else { None }
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
    use crate::space::Segment;
    use proptest::prelude::*;

    static NONE: std::sync::OnceLock<Sections> = std::sync::OnceLock::new();

    fn finder(space: &Space, isa: Isa) -> Finder<'_> {
        Finder { isa, space, sections: NONE.get_or_init(Sections::default), length: 1 << 20 }
    }

    fn linked() -> Space {
        Space::new(vec![Segment { offset: 0, address: 0xffff_ffff_8100_0000, bytes: 1 << 20 }]).unwrap()
    }

    #[test]
    fn calls_and_operands_relative_to_the_instruction_are_found() {
        let space = linked();
        let code = [0x90, 0xe8, 0x10, 0x20, 0, 0, 0x48, 0x8d, 0x3d, 0, 1, 0, 0];
        let view = View { bytes: &code, start: 0 };
        let word = finder(&space, Isa::X86_64).word(&view, 2).unwrap();
        assert_eq!((word.form, word.target), (Form::Relative, 0xffff_ffff_8100_2016));
        let word = finder(&space, Isa::X86_64).word(&view, 9).unwrap();
        assert_eq!((word.form, word.target), (Form::Relative, 0xffff_ffff_8100_010d));
        assert_eq!(finder(&space, Isa::X86_64).word(&view, 1), None);
        assert_eq!(finder(&space, Isa::None).word(&view, 2), None);
    }

    #[test]
    fn addresses_in_data_are_found() {
        let space = linked();
        let long = 0xffff_ffff_8100_1234_u64.to_le_bytes();
        let view = View { bytes: &long, start: 8 };
        assert_eq!(finder(&space, Isa::X86_64).word(&view, 8).unwrap().form, Form::Long);
        let short = 0x8100_1234_u32.to_le_bytes();
        let view = View { bytes: &short, start: 12 };
        let word = finder(&space, Isa::X86_64).word(&view, 12).unwrap();
        assert_eq!((word.form, word.target), (Form::Short, 0xffff_ffff_8100_1234));
        let offset = 0x1_0000_u32.to_le_bytes();
        let view = View { bytes: &offset, start: 12 };
        let word = finder(&space, Isa::X86_64).word(&view, 12).unwrap();
        assert_eq!((word.form, word.target), (Form::Offset, 0xffff_ffff_8101_000c));
    }

    #[test]
    fn a_page_and_what_completes_it_go_to_one_place() {
        let space = linked();
        // adrp x0, #0x3000; add x0, x0, #0x128; bl #0x40
        let words = [0xf000_0000_u32, 0x9104_a000, 0x9400_0010];
        let code: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let view = View { bytes: &code, start: 0 };
        let found = [0, 4, 8].map(|at| finder(&space, Isa::Aarch64).word(&view, at).unwrap());
        assert_eq!(found.map(|word| word.form), [Form::Page, Form::InPage(0), Form::Branch]);
        let targets = [0xffff_ffff_8100_3128, 0xffff_ffff_8100_3128, 0xffff_ffff_8100_0048];
        assert_eq!(found.map(|word| word.target), targets);
    }

    proptest! {
        #[test]
        fn placing_a_target_and_reading_it_agree(at in 0..1_u64 << 19, to in 0..1_u64 << 20, word in any::<u32>()) {
            let base = 0xffff_ffff_8100_0000;
            let (address, target) = (base + (at << 2), base + (to << 2));
            for form in [Form::Relative, Form::Offset, Form::Short, Form::Long, Form::Branch, Form::Page, Form::InPage(2)] {
                let placed = form.place(word.into(), address, target);
                prop_assert_eq!(form.target(placed, address, target), target, "{:?}", form);
                prop_assert_eq!(form.place(placed, address, target), placed);
            }
        }
    }
}
