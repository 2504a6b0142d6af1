//! Which partitions a Coracle disk has, how they are recognised and how large they are.
//!
//! See `docs/formats/disk.md`. Every partition starts and ends on a multiple of [`ALIGNMENT`].

use crate::guid::Guid;

/// Partitions start and end on multiples of this many bytes.
pub const ALIGNMENT: u64 = 1 << 20;
/// The EFI system partition: room for FAT32, which the UEFI specification asks for on fixed disks.
pub const ESP_BYTES: u64 = 48 << 20;
/// The `meta` partition: two raw copies of the slot record.
pub const META_BYTES: u64 = 1 << 20;
/// The smallest slot. Slots are the regret of every older system: they never grow later.
pub const SLOT_BYTES_MIN: u64 = 256 << 20;
/// The largest slot the default policy chooses.
pub const SLOT_BYTES_MAX: u64 = 2 << 30;
/// The smallest `state` partition first boot accepts.
pub const STATE_BYTES_MIN: u64 = 64 << 20;

/// The partition type of a stick that brings a channel: it holds an archive (`docs/formats/channel.md`) and no file system.
pub const STICK_TYPE: Guid = Guid::from_fields(0x5f0c_1e6a, 0x3b5d, 0x4c0e, 0x9a51, 0x7374_6963_6b01);

/// The size of a slot for a payload of `payload` bytes: four times the payload, at least [`SLOT_BYTES_MIN`], at most
/// [`SLOT_BYTES_MAX`] unless one payload alone needs more, a multiple of [`ALIGNMENT`].
pub fn slot_bytes(payload: u64) -> u64 {
    let wanted = payload.saturating_mul(4).clamp(SLOT_BYTES_MIN, SLOT_BYTES_MAX);
    wanted.max(payload).div_ceil(ALIGNMENT).saturating_mul(ALIGNMENT)
}

/// What a partition is for. The type GUID of the partition entry says it; labels are for people only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// EFI system partition, holding the selector.
    Esp,
    /// The slot record.
    Meta,
    /// Slot A.
    SlotA,
    /// Slot B.
    SlotB,
    /// The only writable file system.
    State,
}

impl Role {
    /// All roles in the order of their partition numbers.
    pub const ALL: [Self; 5] = [Self::Esp, Self::Meta, Self::SlotA, Self::SlotB, Self::State];

    /// The partition type GUID. The ESP's is UEFI's (2.10, table 5-7), the others are Coracle's own.
    pub const fn type_guid(self) -> Guid {
        match self {
            Self::Esp => Guid::from_fields(0xc12a_7328, 0xf81f, 0x11d2, 0xba4b, 0x00a0_c93e_c93b),
            Self::Meta => Guid::from_fields(0x5f0c_1e6a, 0x3b5d, 0x4c0e, 0x9a51, 0x6d65_7461_0001),
            Self::SlotA => Guid::from_fields(0x5f0c_1e6a, 0x3b5d, 0x4c0e, 0x9a51, 0x736c_6f74_000a),
            Self::SlotB => Guid::from_fields(0x5f0c_1e6a, 0x3b5d, 0x4c0e, 0x9a51, 0x736c_6f74_000b),
            Self::State => Guid::from_fields(0x5f0c_1e6a, 0x3b5d, 0x4c0e, 0x9a51, 0x7374_6174_0001),
        }
    }

    /// The role of a partition type GUID, if it is one of ours.
    pub fn of_type(guid: Guid) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.type_guid() == guid)
    }

    /// The partition label, and the word used in messages and listings.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Esp => "esp",
            Self::Meta => "meta",
            Self::SlotA => "slot-a",
            Self::SlotB => "slot-b",
            Self::State => "state",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_hold_four_payloads_within_the_bounds() {
        assert_eq!(slot_bytes(1), 256 << 20);
        assert_eq!(slot_bytes(100 << 20), 400 << 20);
        assert_eq!(slot_bytes(1 << 30), 2 << 30);
        assert_eq!(slot_bytes((3 << 30) + 1), (3 << 30) + (1 << 20));
    }

    #[test]
    fn every_role_is_found_by_its_type() {
        for role in Role::ALL {
            assert_eq!(Role::of_type(role.type_guid()), Some(role));
        }
        assert_eq!(Role::of_type(Guid::ZERO), None);
        assert_eq!(Role::of_type(STICK_TYPE), None);
    }
}
