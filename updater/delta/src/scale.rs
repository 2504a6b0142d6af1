//! How much memory a stream may ask for.

use crate::{
    coder::Coder,
    file::{Failure, Result},
    limits::{COPIES_MAX, SMALL_STREAM_BYTES_MAX},
    told::{CONTEXTS, FEW_CONTEXTS},
};

/// How large tables are. What fits into little memory can be applied beside another stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// Of any stream.
    Small,
    /// Only of one of more than [`SMALL_STREAM_BYTES_MAX`].
    Large,
}

impl Scale {
    /// The first bit of a stream, which has so many bytes if it is read.
    pub(crate) fn code(self, coder: &mut impl Coder, bytes: usize) -> Result<Self> {
        if !coder.code(1 << 15, self == Self::Large) {
            return Ok(Self::Small);
        }
        if bytes > SMALL_STREAM_BYTES_MAX {
            Ok(Self::Large)
        } else {
            Err(Failure::Corrupt("size of its tables"))
        }
    }

    /// Contexts of a byte.
    pub(crate) const fn contexts(self) -> usize {
        match self {
            Self::Small => FEW_CONTEXTS,
            Self::Large => CONTEXTS,
        }
    }

    /// Base-2 logarithm of the lines of each kind of context.
    pub(crate) const fn line_bits(self) -> u32 {
        match self {
            Self::Small => 14,
            Self::Large => 16,
        }
    }

    /// Base-2 logarithm of the new bytes that are remembered.
    pub(crate) const fn repeat_bits(self) -> u32 {
        match self {
            Self::Small => 20,
            Self::Large => 22,
        }
    }

    /// Copies in one file at most.
    pub(crate) const fn copies_max(self) -> usize {
        match self {
            Self::Small => COPIES_MAX / 4,
            Self::Large => COPIES_MAX,
        }
    }

    /// Base-2 logarithm of the places in them that are found again.
    pub(crate) const fn place_bits(self) -> u32 {
        match self {
            Self::Small => 16,
            Self::Large => 18,
        }
    }
}
