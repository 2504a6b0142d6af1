//! The kernel command line: the only argument PID 1 takes from it is the root of trust of the root file system.

use crate::hex;
use coracle_format::device::VERITY_ARG;

/// What the command line says about the root file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verity {
    /// Root hash (SHA-256).
    pub root_hash: [u8; 32],
    /// Salt of the hash tree, at most [`SALT_BYTES_MAX`] bytes.
    pub salt: Vec<u8>,
    /// Blocks of the root file system.
    pub data_blocks: u64,
}

/// The longest salt that is accepted.
pub const SALT_BYTES_MAX: usize = 32;
/// The most blocks a root may have: 16 TiB. Offsets computed from it cannot overflow.
const DATA_BLOCKS_MAX: u64 = 1 << 32;

/// Why the command line does not say which root to trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoVerity {
    /// The argument is missing.
    Missing,
    /// The argument is there twice: which one was meant cannot be known.
    Twice,
    /// The argument is not `<root hash>:<salt>:<data blocks>`.
    Malformed,
}

impl std::fmt::Display for NoVerity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing => write!(f, "{VERITY_ARG} is missing"),
            Self::Twice => write!(f, "{VERITY_ARG} is given twice"),
            Self::Malformed => write!(f, "{VERITY_ARG} is not <root hash>:<salt>:<data blocks>"),
        }
    }
}

impl std::error::Error for NoVerity {}

/// Finds and parses the argument. What comes after `--` is not for the kernel and does not count.
pub fn parse_verity(cmdline: &str) -> Result<Verity, NoVerity> {
    let mut values = cmdline
        .split_ascii_whitespace()
        .take_while(|word| *word != "--")
        .filter_map(|word| word.strip_prefix(VERITY_ARG)?.strip_prefix('='));
    let value = values.next().ok_or(NoVerity::Missing)?;
    if values.next().is_some() {
        return Err(NoVerity::Twice);
    }
    parse_value(value).ok_or(NoVerity::Malformed)
}

fn parse_value(value: &str) -> Option<Verity> {
    let mut parts = value.split(':');
    let root_hash = hex::decode(parts.next()?)?.try_into().ok()?;
    let salt = hex::decode(parts.next()?)?;
    let digits = parts.next()?;
    let data_blocks = digits.parse().ok()?;
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    let fine = plain && salt.len() <= SALT_BYTES_MAX && (1..=DATA_BLOCKS_MAX).contains(&data_blocks);
    (fine && parts.next().is_none()).then_some(Verity { root_hash, salt, data_blocks })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HASH: &str = "0101010101010101010101010101010101010101010101010101010101010101";

    #[test]
    fn the_argument_is_found_among_others() {
        let line = format!("quiet coracle.verity={HASH}:a0b1:2048 loglevel=6\n");
        let expected = Verity { root_hash: [1; 32], salt: vec![0xa0, 0xb1], data_blocks: 2048 };
        assert_eq!(parse_verity(&line), Ok(expected));
    }

    #[test]
    fn a_second_argument_is_not_chosen_between() {
        let line = format!("coracle.verity={HASH}:00:1 coracle.verity={HASH}:00:2");
        assert_eq!(parse_verity(&line), Err(NoVerity::Twice));
    }

    #[test]
    fn what_follows_the_double_dash_does_not_count() {
        assert_eq!(parse_verity(&format!("-- coracle.verity={HASH}:00:1")), Err(NoVerity::Missing));
        assert_eq!(parse_verity("coracle.verityx=1"), Err(NoVerity::Missing));
    }

    #[test]
    fn malformed_values_are_refused() {
        let long_salt = "00".repeat(33);
        for value in [
            String::new(),
            format!("{HASH}:00"),
            format!("{HASH}:00:0"),
            format!("{HASH}:00:+1"),
            format!("{HASH}:00:1:2"),
            format!("{HASH}:{long_salt}:1"),
            format!("{}:00:1", &HASH[2..]),
            format!("{HASH}:00:4294967297"),
        ] {
            assert_eq!(parse_verity(&format!("coracle.verity={value}")), Err(NoVerity::Malformed), "{value}");
        }
    }

    proptest! {
        #[test]
        fn no_command_line_makes_it_panic(line in ".*") {
            let first = parse_verity(&line);
            prop_assert_eq!(first, parse_verity(&line));
        }
    }
}
