//! The kernel command line: PID 1 takes from it the root of trust of the root file system, the place of the ring that
//! keeps the log's tail, and parameters of modules.

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

/// What the crash recorder is told where a fixed address is not allowed; the builder's command line reserves it.
const MEMORY_BY_NAME: &str = "mem_name=coracle";
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
    let mut values = words(cmdline).filter_map(|word| word.strip_prefix(VERITY_ARG)?.strip_prefix('='));
    let value = values.next().ok_or(NoVerity::Missing)?;
    if values.next().is_some() {
        return Err(NoVerity::Twice);
    }
    parse_value(value).ok_or(NoVerity::Malformed)
}

/// The parameters that the command line has for a module: `name.parameter=value`, a dash in the name as good as an
/// underscore.
pub fn module_params(cmdline: &str, module: &str) -> String {
    let own = |word: &&str| {
        let name = word.split_once('.').map(|(name, _)| name.replace('-', "_"));
        name.as_deref() == Some(module)
    };
    let words = words(cmdline).filter(own).filter_map(|word| Some(word.split_once('.')?.1));
    words.collect::<Vec<_>>().join(" ")
}

/// The same parameters for a kernel that is locked down (Secure Boot) and takes no physical address from us: the memory
/// that it has reserved under our name instead. `None` if there is no address among them.
pub fn params_by_name(params: &str) -> Option<String> {
    let address = |word: &&str| word.starts_with("mem_address=") || word.starts_with("mem_size=");
    let mut rest: Vec<&str> = params.split(' ').filter(|word| !word.is_empty() && !address(word)).collect();
    rest.push(MEMORY_BY_NAME);
    params.split(' ').any(|word| word.starts_with("mem_address=")).then(|| rest.join(" "))
}

/// The ring that keeps the tail of the kernel log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    /// Physical address.
    pub address: u64,
    /// Length.
    pub bytes: u64,
}

const RING_ARG: &str = "coracle.ring=";
/// A ring is at most this long.
const RING_BYTES_MAX: u64 = 1 << 20;

/// Where the ring is: `coracle.ring=<address>:<bytes>`, hexadecimal. `None` without one, or if it makes no sense.
pub fn parse_ring(cmdline: &str) -> Option<Ring> {
    let hex = |text: &str| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    let value = words(cmdline).find_map(|word| word.strip_prefix(RING_ARG))?;
    let (address, bytes) = value.split_once(':')?;
    let ring = Ring { address: hex(address)?, bytes: hex(bytes)? };
    let fine = ring.address.is_multiple_of(4096)
        && (4096..=RING_BYTES_MAX).contains(&ring.bytes)
        && ring.bytes.is_multiple_of(4096)
        && ring.address.checked_add(ring.bytes).is_some();
    fine.then_some(ring)
}

/// What is for the kernel and for us: everything before `--`.
fn words(cmdline: &str) -> impl Iterator<Item = &str> {
    cmdline.split_ascii_whitespace().take_while(|word| *word != "--")
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
    fn an_address_gives_way_to_the_name_of_the_memory() {
        let params = "record_size=0x20000 mem_address=0x8000000 mem_size=0xe0000";
        assert_eq!(params_by_name(params).as_deref(), Some("record_size=0x20000 mem_name=coracle"));
        assert_eq!(params_by_name("mem_name=coracle"), None);
        assert_eq!(params_by_name(""), None);
    }

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
    fn a_module_gets_its_own_parameters() {
        let line = "ramoops.mem_size=0x1000 a ram-oops.x=1 ramoops.ecc=1 -- ramoops.late=1";
        assert_eq!(module_params(line, "ramoops"), "mem_size=0x1000 ecc=1");
        assert_eq!(module_params(line, "ram_oops"), "x=1");
        assert_eq!(module_params(line, "ext4"), "");
    }

    #[test]
    fn a_ring_has_whole_pages_and_a_sane_size() {
        let ring = Ring { address: 0x80e_0000, bytes: 0x2_0000 };
        assert_eq!(parse_ring("quiet coracle.ring=0x80e0000:0x20000"), Some(ring));
        for bad in ["", "0x80e0000", "0x80e0001:0x20000", "0x80e0000:0x0", "0xfffffffffffff000:0x2000", "1:2"]
        {
            assert_eq!(parse_ring(&format!("coracle.ring={bad}")), None, "{bad}");
        }
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
