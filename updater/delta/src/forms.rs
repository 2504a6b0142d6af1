//! How references are written, and numbers of tables.

use crate::{shifts::Shift, tables::Kind};

/// Bytes of an entry of a table of symbols.
const SYMBOL_BYTES: u64 = 24;

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
            Self::Symbol => SYMBOL_BYTES,
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
pub(crate) fn extend(word: u64, bits: u32) -> u64 {
    ((word << (64 - bits)).cast_signed() >> (64 - bits)).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
