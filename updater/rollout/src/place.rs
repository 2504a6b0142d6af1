//! Where a machine stands among all of them: a number that neither it nor anybody else chooses, another one for every
//! release.

use sha2::{Digest as _, Sha256};

/// Everybody, in the unit of shares: one ten thousandth.
pub const EVERYBODY: u16 = 10_000;

/// What a machine is told apart by: the GUID of its disk, as it stands in the partition table. It is made at random at
/// the first start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MachineId(pub [u8; 16]);

/// What makes the order of the machines another one for every release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Seed(pub [u8; 16]);

impl Seed {
    /// The place of a machine, 0 to 9999: the first eight bytes of SHA-256 over the seed and the machine's id, as a
    /// big-endian number, modulo [`EVERYBODY`].
    pub fn place(self, machine: MachineId) -> u16 {
        let digest = Sha256::new().chain_update(self.0).chain_update(machine.0).finalize();
        let first = digest.iter().take(8).fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        // What is left is below 10 000.
        u16::try_from(first % u64::from(EVERYBODY)).unwrap_or(0)
    }

    /// The seed that 32 hexadecimal digits in lower case state.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: &[u8; 32] = text.as_bytes().try_into().ok()?;
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut seed = [0; 16];
        for (byte, pair) in seed.iter_mut().zip(digits.as_chunks::<2>().0) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(seed))
    }
}

impl std::fmt::Display for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn machines(count: u32) -> impl Iterator<Item = MachineId> {
        (0..count).map(|number| {
            let mut id = [0x5a; 16];
            id[..4].copy_from_slice(&number.to_le_bytes());
            MachineId(id)
        })
    }

    #[test]
    fn the_place_of_a_machine_never_changes() {
        // From another implementation of SHA-256.
        assert_eq!(Seed([0; 16]).place(MachineId([0; 16])), 9175);
        assert_eq!(Seed([1; 16]).place(MachineId([2; 16])), 1100);
    }

    #[test]
    fn every_tenth_of_the_places_has_about_a_tenth_of_the_machines() {
        let mut tenths = [0_u32; 10];
        machines(20_000).for_each(|machine| tenths[usize::from(Seed([7; 16]).place(machine) / 1000)] += 1);
        assert!(tenths.iter().all(|tenth| (1850..2150).contains(tenth)), "{tenths:?}");
    }

    #[test]
    fn another_release_has_another_order_of_machines() {
        let first = |seed: u8| {
            machines(10_000)
                .filter(move |machine| Seed([seed; 16]).place(*machine) < 1000)
                .collect::<Vec<_>>()
        };
        let (one, two) = (first(1), first(2));
        let both = one.iter().filter(|machine| two.contains(machine)).count();
        // A tenth of a tenth, if the orders have nothing to do with each other.
        assert!((60..140).contains(&both), "{both} of {} are early twice", one.len());
    }

    proptest! {
        #[test]
        fn a_seed_survives_text_and_back_and_every_place_is_below_everybody(seed: [u8; 16], id: [u8; 16]) {
            let seed = Seed(seed);
            prop_assert_eq!(Seed::parse(&seed.to_string()), Some(seed));
            prop_assert!(seed.place(MachineId(id)) < EVERYBODY);
        }

        #[test]
        fn any_text_is_a_seed_or_none(text in "[0-9a-fA-F]{30,34}") {
            prop_assert_eq!(Seed::parse(&text).is_some(), text.len() == 32 && text.to_lowercase() == text);
        }
    }
}
